"""The 60,000 images and the checkpoint beside the project, all the way: skipped without them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from pruning_core.paths import Cache
from pruning_core.results import points
from pruning_core.spec import DataSpec, IterativeSpec, ModelSpec, OneShotSpec, Spec
from pruning_core.stage import outline
from pruning_core.store import Store
from tests.workers import planned, run

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
IMAGES, WEIGHTS = SHARED / "cifar10-images.zip", SHARED / "mobilenet_v2-cifar10.safetensors"
pytestmark = pytest.mark.skipif(not IMAGES.is_file(), reason="../shared/data is not here.")
SMALL = Spec(
    data=DataSpec(name="images", path=str(IMAGES), train_size=300, test_size=200),
    model=ModelSpec(width=0.35),
    baseline_epochs=1,
    one_shot=OneShotSpec(amounts=(0.5,)),
    iterative=IterativeSpec(iterations=1),
)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    """One cache, so that the images are decoded once."""
    made = Cache(tmp_path_factory.mktemp("cache"))
    made.prepare()
    return made


def test_a_small_comparison_on_a_subset_runs_through(cache: Cache) -> None:
    assert run(cache, SMALL).state == "done"
    frame = points(outline(planned(cache, SMALL)), Store(cache))
    expected = ["baseline", "one_shot", "one_shot_matched", "iterative"]
    assert sorted(frame["strategy"]) == sorted(expected)
    assert set(frame["test_images"]) == {200}


def test_the_checkpoint_reproduces_its_recorded_accuracy(cache: Cache) -> None:
    """As own weights with 0 baseline epochs, on all test images."""
    told = json.loads(WEIGHTS.with_suffix(".json").read_text())
    spec = replace(
        SMALL,
        data=replace(SMALL.data, train_size=100, test_size=0),
        model=ModelSpec(weights=str(WEIGHTS), stem_stride=told["stem_stride"]),
        baseline_epochs=0,
        one_shot=OneShotSpec(amounts=(0.0,), epochs=0),
        iterative=IterativeSpec(enabled=False),
    )
    assert run(cache, spec).state == "done"
    frame = points(outline(planned(cache, spec)), Store(cache))
    recorded = next(value for name, value in told.items() if "accuracy" in name)
    assert set(frame["test_images"]) == {10_000}
    assert frame["accuracy"].tolist() == [pytest.approx(recorded, abs=0.001)] * 2
