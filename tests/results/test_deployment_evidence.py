"""What a verdict is made from: only what was measured of the point, its files and its times."""

from __future__ import annotations

import pytest

from pruning_core.common.paths import Cache
from pruning_core.methods.strategies import STRUCTURED
from pruning_core.planning.exports import export_stage
from pruning_core.planning.stage import PlannedModel, Stage
from pruning_core.planning.timing import Conditions, latency_stages
from pruning_core.results import deployment
from pruning_core.results.deployment import Evidence, evidence, spoken_for, verdict
from pruning_core.storage.store import Store
from tests.pages.test_pages import put
from tests.reports.charts.test_latency import timed

DENSE = PlannedModel("baseline", 0, 0, 0.0, "a" * 64)
PRUNED = PlannedModel("one_shot", 0, 0, 0.9, "b" * 64)
CUT = PlannedModel(STRUCTURED, 0, 0, 0.5, "c" * 64)
RESULT = {"accuracy": 0.9, "accuracy_low": 0.88, "accuracy_high": 0.92, "dense_bytes": 9000}


@pytest.fixture
def store(cache: Cache) -> Store:
    """Three finished points; only the one pruned by mask holds zeros."""
    made = Store(cache)
    for point, zeros in ((DENSE, 0), (PRUNED, 900), (CUT, 600)):
        put(made, point.key, "pruned", {**RESULT, "weights_zeros": zeros})
    return made


def file(store: Store, name: str, size: int, accuracy: float) -> None:
    around = {"accuracy": accuracy, "accuracy_low": accuracy - 0.02, "accuracy_high": accuracy}
    made = {"file": "model", "bytes": size, "entropy_bound": {}, "difference": 0.0, "test_images": 100}
    put(store, export_stage(PRUNED.key, name).key, "export", {**made, **around, "notes": []})


def timings(store: Store, **ratios: float) -> list[Stage]:
    """Times in ONNX Runtime, a ratio for the point and one for the model with channels gone."""
    points = [DENSE.key, PRUNED.key, CUT.key]
    (stage,) = latency_stages(points, ("onnx", "onnx_int8"), Conditions((32,), (2,)))
    rows = [timed(DENSE.key, "dense"), timed(DENSE.key, "control", ratio=1.0)]
    rows += [timed(points[i], "candidate", ratio=ratios[name]) for i, name in ((1, "p"), (2, "c"))]
    eight = {**timed(PRUNED.key, "candidate", ratio=1.1), "runtime": "onnx_int8"}
    rows = [{**row, "batch": 32, "threads": 2} for row in (*rows, eight)]
    put(store, stage.key, stage.kind, {"rows": rows, "notes": []})
    return [stage]


def gathered(store: Store, point: PlannedModel, stages: list[Stage] | None = None) -> Evidence:
    return evidence(point, DENSE, [CUT], stages or [], store)


def test_what_is_not_measured_is_left_out(store: Store) -> None:
    found = gathered(store, PRUNED)
    assert (found.files_measured, found.smallest, found.timing, found.int8) == (
        *(False, None, None, None),
    )
    assert found.structured == ()
    assert found.dense_bytes == 9000


def test_the_smallest_file_is_one_that_keeps_the_accuracy(store: Store) -> None:
    file(store, "bitmask_fp32", 1000, 0.9)
    file(store, "bitmask_fp16", 600, 0.895)
    file(store, "bitmask_int8", 300, 0.5)
    found = gathered(store, PRUNED)
    assert found.files_measured
    assert found.smallest is not None
    assert (found.smallest.name, found.smallest.bytes) == ("Bit mask + fp16", 600)
    assert evidence(PRUNED, DENSE, [], [], store, most_lost=0.6).smallest.bytes == 300  # type: ignore[union-attr]
    assert "15 times smaller to ship as Bit mask + fp16" in verdict(found)


def test_only_a_mask_leaves_zeros(store: Store) -> None:
    assert gathered(store, PRUNED).zeros
    assert not gathered(store, CUT).zeros
    assert not gathered(store, DENSE).zeros


def test_times_are_of_the_conditions_that_were_asked(store: Store) -> None:
    stages = timings(store, p=1.0, c=1.5)
    assert spoken_for(stages) == (32, 2)
    assert spoken_for([]) == (1, 1)
    found = gathered(store, PRUNED, stages)
    assert found.timing is not None
    assert found.timing.ratio.median == 1.0
    assert found.int8 is not None
    assert (found.int8.runtime, found.int8.ratio.median) == ("onnx_int8", 1.1)
    (cut,) = found.structured
    assert (cut.timing.ratio.median, cut.accuracy) == (1.5, 0.9)


def test_a_point_beside_it_that_is_no_cut_is_no_quicker_model(store: Store) -> None:
    stages = timings(store, p=1.0, c=1.5)
    found = deployment.evidence(PRUNED, DENSE, [PRUNED], stages, store)
    assert found.structured == ()
