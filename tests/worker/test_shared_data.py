"""The 60,000 images and the checkpoint beside the project, all the way: skipped without them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from pruning_core.common.paths import Cache
from pruning_core.planning.exports import export_stage
from pruning_core.planning.stage import outline
from pruning_core.results.models import points
from pruning_core.settings.data import DataSpec, ModelSpec
from pruning_core.settings.spec import Spec
from pruning_core.settings.strategies import IterativeSpec, OneShotSpec
from pruning_core.storage.jobs import Queue
from pruning_core.storage.store import Store
from tests.helpers import project
from tests.helpers.workers import planned, run, serve

SHARED = project.SHARED / "data"
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
    expected = ["baseline", "one_shot", "one_shot_equal_budget", "iterative"]
    assert sorted(frame["strategy"]) == sorted(expected)
    assert set(frame["test_images"]) == {200}


def untrained(train: int, test: int, amount: float) -> Spec:
    """The checkpoint as it is and one cut of it by one threshold; nothing is trained."""
    told = json.loads(WEIGHTS.with_suffix(".json").read_text())
    return replace(
        SMALL,
        data=replace(SMALL.data, train_size=train, test_size=test),
        model=ModelSpec(weights=str(WEIGHTS), stem_stride=told["stem_stride"]),
        baseline_epochs=0,
        one_shot=OneShotSpec(amounts=(amount,), epochs=0),
        iterative=IterativeSpec(enabled=False),
        pruning=replace(SMALL.pruning, allocation="global"),
    )


def test_the_checkpoint_reproduces_its_recorded_accuracy(cache: Cache) -> None:
    """As own weights with 0 baseline epochs, on all test images."""
    told = json.loads(WEIGHTS.with_suffix(".json").read_text())
    spec = untrained(100, 0, 0.0)
    assert run(cache, spec).state == "done"
    frame = points(outline(planned(cache, spec)), Store(cache))
    recorded = next(value for name, value in told.items() if "accuracy" in name)
    assert set(frame["test_images"]) == {10_000}
    assert frame["accuracy"].tolist() == [pytest.approx(recorded, abs=0.001)] * 2


@pytest.fixture(scope="module")
def made(cache: Cache) -> dict[str, dict[str, Any]]:
    """The checkpoint, and 90 % of all its weights gone, as files: what each stage found."""
    spec = untrained(600, 1000, 0.9)
    assert run(cache, spec).state == "done"
    dense, cut = (point.key for point in planned(cache, spec).models)
    wanted = {"dense int8": export_stage(dense, "onnx_int8")}
    wanted |= {name: export_stage(cut, f"bitmask_{name}") for name in ("fp32", "fp16", "int8")}
    Queue(cache.queue).add(list(wanted.values()))
    serve(cache)
    store = Store(cache)
    found = {name: store.read(stage.key) for name, stage in wanted.items()}
    return {**found, "dense": store.read(dense), "cut": store.read(cut)}


@pytest.mark.parametrize(("name", "most"), [("fp32", 1.10e6), ("fp16", 0.65e6), ("int8", 0.5e6)])
def test_nine_tenths_gone_is_a_small_file_near_its_floor(
    made: dict[str, dict[str, Any]], name: str, most: float
) -> None:
    assert made["cut"]["weights_zeros"] == round(0.9 * 2_202_560)
    assert made[name]["bytes"] < most
    assert made[name]["bytes"] < 1.1 * sum(made[name]["entropy_bound"].values())


def test_the_dense_checkpoint_in_8_bits(made: dict[str, dict[str, Any]]) -> None:
    assert made["dense int8"]["bytes"] < 2.8e6
    assert made["dense"]["accuracy"] - made["dense int8"]["accuracy"] < 0.01
