"""Sensitivity analysis by layer: one layer at a time, without training, the model restored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pruning_core.common.errors import SpecError
from pruning_core.common.paths import Cache
from pruning_core.engine.analysis.sensitivity import DEFAULTS, layer_curve
from pruning_core.engine.training.evaluate import Evaluation
from pruning_core.planning.plan import plan
from pruning_core.planning.sensitivity import sensitivity_only
from pruning_core.planning.stage import Stage
from pruning_core.results.sensitivity import read_sensitivity
from pruning_core.settings.sensitivity import SensitivitySpec
from pruning_core.settings.spec import Spec, from_json, to_json
from pruning_core.storage.job_progress import job_progress
from pruning_core.storage.jobs import Queue
from pruning_core.storage.store import Store
from tests.helpers.inspections import Facts
from tests.helpers.workers import TINY, serve


def weight() -> nn.Parameter:
    return nn.Parameter(torch.arange(1.0, 11.0).reshape(2, 5))


def accuracy_by_zeros(value: Tensor, accuracies: dict[int, float]) -> Callable[[], Evaluation]:
    """An evaluation of 1,000 images whose accuracy depends on the zeros in the weight."""

    def evaluate() -> Evaluation:
        zeros = int((value == 0).sum())
        return Evaluation(np.arange(1000) < round(1000 * accuracies[zeros]), 0.0)

    return evaluate


def test_each_row_has_its_sparsity_and_the_weight_is_restored() -> None:
    value, before = weight(), weight()
    evaluate = accuracy_by_zeros(value, {0: 0.9, 3: 0.85, 5: 0.7})
    rows = layer_curve("w", value, value.detach().abs(), (0.3, 0.5), 0.1, evaluate)
    assert [row["sparsity"] for row in rows] == [0.0, 0.3, 0.5]
    assert [row["removed"] for row in rows] == [0, 3, 5]
    assert [row["accuracy"] for row in rows] == [0.9, 0.85, 0.7]
    assert all(row["low"] < row["accuracy"] < row["high"] for row in rows)
    assert torch.equal(value, before)


@pytest.mark.parametrize(("granularity", "removed"), [("filter", 5), ("block:2", 4)])
def test_layers_are_pruned_with_the_granularity_of_the_run(granularity: str, removed: int) -> None:
    """Of two filters of five weights, half is one filter; of five blocks of two, two blocks."""
    value = weight()
    evaluate = accuracy_by_zeros(value, {0: 0.9, removed: 0.7})
    pruning = {**DEFAULTS, "granularity": granularity, "filter_norm": "2"}
    rows = layer_curve("w", value, value.detach().abs(), (0.5,), 0.1, evaluate, pruning)
    assert [(row["sparsity"], row["removed"]) for row in rows] == [(0.0, 0), (0.5, removed)]


def test_the_curve_stops_once_accuracy_reaches_chance() -> None:
    value = weight()
    evaluate = accuracy_by_zeros(value, {0: 0.9, 3: 0.105})
    rows = layer_curve("w", value, value.detach().abs(), (0.3, 0.5, 0.9), 0.1, evaluate)
    assert [row["sparsity"] for row in rows] == [0.0, 0.3]


def test_a_sparsity_that_removes_nothing_is_left_out() -> None:
    """Weights that are zero already, and a sparsity that rounds to no weight."""
    value = weight()
    with torch.no_grad():
        value[0, :2] = 0.0
    evaluate = accuracy_by_zeros(value, {2: 0.9, 5: 0.8})
    rows = layer_curve("w", value, value.detach().abs(), (0.01, 0.2, 0.5), 0.1, evaluate)
    assert [(row["sparsity"], row["removed"]) for row in rows] == [(0.0, 0), (0.5, 3)]


def test_zeros_of_an_earlier_pruning_count_whatever_their_score() -> None:
    value = weight()
    with torch.no_grad():
        value[0, :2] = 0.0
    scores, initial = 11 - weight().detach(), value.detach() != 0
    evaluate = accuracy_by_zeros(value, {2: 0.9, 3: 0.85, 5: 0.8})
    rows = layer_curve("w", value, scores, (0.1, 0.3, 0.5), 0.1, evaluate, initial=initial)
    assert [(row["sparsity"], row["removed"]) for row in rows] == [(0.0, 0), (0.3, 1), (0.5, 3)]


def test_the_weight_is_restored_after_an_error() -> None:
    value = weight()

    def broken() -> Evaluation:
        if bool((value == 0).any()):
            raise RuntimeError("out of memory")
        return Evaluation(np.ones(10, dtype=bool), 0.0)

    with pytest.raises(RuntimeError):
        layer_curve("w", value, value.detach().abs(), (0.5,), 0.1, broken)
    assert torch.equal(value, weight())


SPEC = replace(
    TINY, sensitivity=SensitivitySpec(sparsities=(0.5, 0.9), images=20), baseline_epochs=1
)


def sensitivity_stages(spec: Spec, store: Store) -> list[Stage]:
    return [stage for stage in plan(spec, store).stages if stage.kind == "sensitivity"]


def test_an_analysis_alone_has_the_stages_of_a_run_with_the_same_baseline(cache: Cache) -> None:
    queue, store, spec = Queue(cache.queue), Store(cache), sensitivity_only(SPEC)
    job = queue.submit(spec, "sensitivity")
    serve(cache)
    assert job_progress(queue, job).state == "done"
    frame = read_sensitivity(spec, store)
    layers = frame["layer"].unique()
    assert len(layers) == len(sensitivity_stages(spec, store)) == 53
    assert set(frame["sparsity"]) <= {0.0, 0.5, 0.9}
    assert (frame["validation_images"] == 20).all()
    dense = frame[frame["sparsity"] == 0.0]["accuracy"]
    assert dense.nunique() == 1, "each layer is restored before the next one is pruned"
    within = replace(SPEC, sensitivity=replace(SPEC.sensitivity, enabled=True))
    assert {s.key for s in sensitivity_stages(within, store)} == {
        s.key for s in sensitivity_stages(spec, store)
    }


def test_only_settings_that_matter_change_the_key(cache: Cache) -> None:
    def keys(**pruning: object) -> set[str]:
        spec = replace(sensitivity_only(SPEC), pruning=replace(SPEC.pruning, **pruning))  # type: ignore[arg-type]
        return {stage.key for stage in sensitivity_stages(spec, Facts(spec))}  # type: ignore[arg-type]

    assert keys() == keys(filter_norm="1", filter_dim=1)
    filters = keys(granularity="filter", criterion="taylor")
    assert filters == keys(granularity="filter", criterion="taylor", filter_norm="1")
    assert keys(granularity="filter") != keys(granularity="filter", filter_norm="1") != filters
    blocks = keys(granularity="block:2") | keys(granularity="block:4")
    assert len(keys() | blocks) == 3 * len(keys())


def test_excluded_layers_are_left_out_and_validation_images_are_used(cache: Cache) -> None:
    queue, store = Queue(cache.queue), Store(cache)
    spec = sensitivity_only(
        replace(SPEC, pruning=replace(SPEC.pruning, layers="core"), baseline_epochs=0)
    )
    spec = replace(spec, sensitivity=replace(spec.sensitivity, images=0))
    queue.submit(spec, "sensitivity")
    for _ in range(2):
        serve(cache)
    assert len(sensitivity_stages(spec, store)) == 34
    frame, baseline = read_sensitivity(spec, store), store.read(plan(spec, store).models[0].key)
    assert set(frame["validation_images"]) == {24}
    dense = frame[frame["sparsity"] == 0.0]["accuracy"]
    assert set(dense) == {baseline["validation_accuracy"]}


@pytest.mark.parametrize(
    "wrong",
    [{"sparsities": (0.5, 0.3)}, {"sparsities": ()}, {"sparsities": (0.0, 0.5)}, {"images": -1}],
)
def test_wrong_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(SpecError, match="sensitivity"):
        SensitivitySpec(**wrong)  # type: ignore[arg-type]


def test_the_settings_survive_json() -> None:
    spec = sensitivity_only(SPEC)
    assert from_json(to_json(spec)) == spec
