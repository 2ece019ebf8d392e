"""Runs with the 60,000 images and the checkpoint beside the project; skipped without them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from pruning_core.common.paths import Cache
from pruning_core.planning.exports import export_stage
from pruning_core.planning.stage import outline
from pruning_core.results.models import results_frame
from pruning_core.settings.data import DataSpec, ModelSpec
from pruning_core.settings.spec import Spec
from pruning_core.settings.strategies import IterativeSpec, OneShotSpec
from pruning_core.storage.jobs import Queue
from pruning_core.storage.store import Store
from tests.helpers import project
from tests.helpers.stages import run_here
from tests.helpers.workers import planned, serve

SHARED = project.SHARED / "data"
IMAGES, WEIGHTS = SHARED / "cifar10-images.zip", SHARED / "mobilenet_v2-cifar10.safetensors"
pytestmark = pytest.mark.skipif(not IMAGES.is_file(), reason="../shared/data is not here.")
SMALL = Spec(
    data=DataSpec(name="images", path=str(IMAGES), train_size=120, test_size=100),
    model=ModelSpec(width=0.35),
    baseline_epochs=1,
    one_shot=OneShotSpec(amounts=(0.5,)),
    iterative=IterativeSpec(iterations=1),
    baseline_replicas=1,
)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    """One cache, so that the images are decoded once."""
    cache = Cache(tmp_path_factory.mktemp("cache"))
    cache.prepare()
    return cache


def test_a_small_comparison_on_a_subset_runs_through(cache: Cache) -> None:
    run_here(cache, SMALL)
    frame = results_frame(outline(planned(cache, SMALL)), Store(cache))
    expected = ["baseline", "one_shot", "one_shot_equal_budget", "iterative"]
    assert sorted(frame["strategy"]) == sorted(expected)
    assert set(frame["test_images"]) == {100}


def untrained(train: int, test: int, *amounts: float) -> Spec:
    """The checkpoint and globally pruned models of it, without training."""
    recorded = json.loads(WEIGHTS.with_suffix(".json").read_text())
    return replace(
        SMALL,
        data=replace(SMALL.data, train_size=train, test_size=test),
        model=ModelSpec(weights=str(WEIGHTS), stem_stride=recorded["stem_stride"]),
        baseline_epochs=0,
        one_shot=OneShotSpec(amounts=amounts, epochs=0),
        iterative=IterativeSpec(enabled=False),
        pruning=replace(SMALL.pruning, allocation="global"),
    )


def baseline_result(cache: Cache, spec: Spec) -> dict[str, Any]:
    """The result of the dense baseline of a spec; no model is pruned."""
    plan = planned(cache, spec)
    Queue(cache.queue).add([stage for stage in plan.stages if stage.kind != "pruned"])
    serve(cache)
    if plan.complete:
        return Store(cache).read(plan.models[0].key)
    assert planned(cache, spec) != plan, "an inspection has failed"
    return baseline_result(cache, spec)


def test_the_checkpoint_reproduces_its_recorded_accuracy(cache: Cache) -> None:
    """As initial weights, with 0 baseline epochs, on all test images."""
    recorded = json.loads(WEIGHTS.with_suffix(".json").read_text())
    result = baseline_result(cache, untrained(100, 0, 0.9))
    accuracy = next(value for name, value in recorded.items() if "accuracy" in name)
    assert result["test_images"] == 10_000
    assert result["accuracy"] == pytest.approx(accuracy, abs=0.001)


@pytest.fixture(scope="module")
def results(cache: Cache) -> dict[str, dict[str, Any]]:
    """The results of the checkpoint and of its model with 90 % sparsity, and of their files."""
    spec = untrained(600, 500, 0.0, 0.9)
    run_here(cache, spec)
    dense, zero, pruned = (model.key for model in planned(cache, spec).models)
    wanted = {"dense int8": export_stage(dense, "onnx_int8")}
    wanted |= {name: export_stage(pruned, f"bitmask_{name}") for name in ("fp32", "fp16", "int8")}
    Queue(cache.queue).add(list(wanted.values()))
    serve(cache)
    store = Store(cache)
    files = {name: store.read(stage.key) for name, stage in wanted.items()}
    models = {"dense": dense, "0 %": zero, "pruned": pruned}
    return {**files, **{name: store.read(key) for name, key in models.items()}}


def test_a_model_with_sparsity_0_is_the_dense_one(results: dict[str, dict[str, Any]]) -> None:
    assert results["0 %"]["correct"] == results["dense"]["correct"]


@pytest.mark.parametrize(("name", "most"), [("fp32", 1.10e6), ("fp16", 0.65e6), ("int8", 0.5e6)])
def test_90_percent_sparsity_is_a_small_file_near_its_order0_entropy(
    results: dict[str, dict[str, Any]], name: str, most: float
) -> None:
    assert results["pruned"]["weights_zeros"] == round(0.9 * 2_202_560)
    assert results[name]["bytes"] < most
    assert results[name]["bytes"] < 1.1 * sum(results[name]["order0_entropy"].values())


def test_the_dense_checkpoint_in_int8(results: dict[str, dict[str, Any]]) -> None:
    assert results["dense int8"]["bytes"] < 2.8e6
    assert results["dense"]["accuracy"] - results["dense int8"]["accuracy"] < 0.01
