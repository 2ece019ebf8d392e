"""The sensitivity scan: each layer alone, without training, and the model as it was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pruning_core.common.errors import SpecError
from pruning_core.common.paths import Cache
from pruning_core.engine.analysis.sensitivity import WEIGHTS, layer_curve
from pruning_core.engine.training.evaluate import Evaluation
from pruning_core.planning.plan import plan
from pruning_core.planning.sensitivity import sensitivity_only
from pruning_core.planning.stage import Stage
from pruning_core.results.sensitivity import read_scan
from pruning_core.settings.sensitivity import SensitivitySpec
from pruning_core.settings.spec import Spec, from_json, to_json
from pruning_core.storage.job_progress import standing
from pruning_core.storage.jobs import Queue
from pruning_core.storage.store import Store
from tests.helpers.inspections import Facts
from tests.helpers.workers import TINY, serve


def weight() -> nn.Parameter:
    return nn.Parameter(torch.arange(1.0, 11.0).reshape(2, 5))


def seen(value: Tensor, shares: dict[int, float]) -> Callable[[], Evaluation]:
    """A look that finds a share of 1,000 images right, by the number of zeros in the weight."""

    def look() -> Evaluation:
        zeros = int((value == 0).sum())
        return Evaluation(np.arange(1000) < round(1000 * shares[zeros]), 0.0)

    return look


def test_each_row_is_of_the_cut_it_names_and_the_weight_is_as_before() -> None:
    value, before = weight(), weight()
    look = seen(value, {0: 0.9, 3: 0.85, 5: 0.7})
    rows = layer_curve("w", value, value.detach().abs(), (0.3, 0.5), 0.1, look)
    assert [row["sparsity"] for row in rows] == [0.0, 0.3, 0.5]
    assert [row["removed"] for row in rows] == [0, 3, 5]
    assert [row["accuracy"] for row in rows] == [0.9, 0.85, 0.7]
    assert all(row["low"] < row["accuracy"] < row["high"] for row in rows)
    assert torch.equal(value, before)


def test_it_cuts_in_the_pieces_of_the_run() -> None:
    """Of two filters of five weights, half is one filter."""
    value = weight()
    look = seen(value, {0: 0.9, 5: 0.7})
    pruning = {**WEIGHTS, "granularity": "filter", "filter_norm": "2"}
    rows = layer_curve("w", value, value.detach().abs(), (0.5,), 0.1, look, pruning)
    assert [(row["sparsity"], row["removed"]) for row in rows] == [(0.0, 0), (0.5, 5)]


def test_it_stops_where_accuracy_is_gone() -> None:
    value = weight()
    look = seen(value, {0: 0.9, 3: 0.105})
    rows = layer_curve("w", value, value.detach().abs(), (0.3, 0.5, 0.9), 0.1, look)
    assert [row["sparsity"] for row in rows] == [0.0, 0.3]


def test_a_mask_that_changes_nothing_is_no_measurement() -> None:
    """Of weights that are zero already, and of a share that rounds to no weight."""
    value = weight()
    with torch.no_grad():
        value[0, :2] = 0.0
    look = seen(value, {2: 0.9, 5: 0.8})
    rows = layer_curve("w", value, value.detach().abs(), (0.01, 0.2, 0.5), 0.1, look)
    assert [(row["sparsity"], row["removed"]) for row in rows] == [(0.0, 0), (0.5, 3)]


def test_the_weight_comes_back_where_looking_fails() -> None:
    value = weight()

    def broken() -> Evaluation:
        if bool((value == 0).any()):
            raise RuntimeError("out of memory")
        return Evaluation(np.ones(10, dtype=bool), 0.0)

    with pytest.raises(RuntimeError):
        layer_curve("w", value, value.detach().abs(), (0.5,), 0.1, broken)
    assert torch.equal(value, weight())


SCAN = replace(
    TINY, sensitivity=SensitivitySpec(sparsities=(0.5, 0.9), images=20), baseline_epochs=1
)


def scans(spec: Spec, store: Store) -> list[Stage]:
    return [stage for stage in plan(spec, store).stages if stage.kind == "sensitivity"]


def test_a_scan_is_a_job_whose_stages_every_run_on_its_baseline_shares(cache: Cache) -> None:
    queue, store, spec = Queue(cache.queue), Store(cache), sensitivity_only(SCAN)
    job = queue.submit(spec, "sensitivity")
    serve(cache)
    assert standing(queue, job).state == "done"
    found = read_scan(spec, store)
    layers = found["layer"].unique()
    assert len(layers) == len(scans(spec, store)) == 53
    assert set(found["sparsity"]) <= {0.0, 0.5, 0.9}
    assert (found["images"] == 20).all()
    dense = found[found["sparsity"] == 0.0]["accuracy"]
    assert dense.nunique() == 1, "every layer is put back before the next one is cut"
    within = replace(SCAN, sensitivity=replace(SCAN.sensitivity, enabled=True))
    assert {s.key for s in scans(within, store)} == {s.key for s in scans(spec, store)}


def test_only_the_pieces_that_are_read_make_another_scan(cache: Cache) -> None:
    def keys(**pruning: object) -> set[str]:
        spec = replace(sensitivity_only(SCAN), pruning=replace(SCAN.pruning, **pruning))  # type: ignore[arg-type]
        return {stage.key for stage in scans(spec, Facts(spec))}  # type: ignore[arg-type]

    assert keys() == keys(filter_norm="1", filter_dim=1)
    filters = keys(granularity="filter", criterion="taylor")
    assert filters == keys(granularity="filter", criterion="taylor", filter_norm="1")
    assert keys(granularity="filter") != keys(granularity="filter", filter_norm="1") != filters


def test_spared_layers_are_not_scanned_and_it_looks_at_validation_images(cache: Cache) -> None:
    queue, store = Queue(cache.queue), Store(cache)
    spec = sensitivity_only(
        replace(SCAN, pruning=replace(SCAN.pruning, layers="core"), baseline_epochs=0)
    )
    spec = replace(spec, sensitivity=replace(spec.sensitivity, images=0))
    queue.submit(spec, "sensitivity")
    for _ in range(2):
        serve(cache)
    assert len(scans(spec, store)) == 34
    found, baseline = read_scan(spec, store), store.read(plan(spec, store).models[0].key)
    assert set(found["images"]) == {24}
    dense = found[found["sparsity"] == 0.0]["accuracy"]
    assert set(dense) == {baseline["validation_accuracy"]}


@pytest.mark.parametrize(
    "wrong",
    [{"sparsities": (0.5, 0.3)}, {"sparsities": ()}, {"sparsities": (0.0, 0.5)}, {"images": -1}],
)
def test_a_scan_of_nothing_sensible_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(SpecError, match="sensitivity"):
        SensitivitySpec(**wrong)  # type: ignore[arg-type]


def test_a_scan_survives_its_json() -> None:
    spec = sensitivity_only(SCAN)
    assert from_json(to_json(spec)) == spec
