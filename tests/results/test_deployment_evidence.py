"""The evidence of a verdict holds only measurements of the model, its files and its latency."""

from __future__ import annotations

import pandas as pd
import pytest

from pruning_core.common.paired_timing import FASTER, SLOWER, Ratio
from pruning_core.common.paths import Cache
from pruning_core.methods.strategies import STRUCTURED
from pruning_core.planning.exports import export_stage
from pruning_core.planning.stage import PlannedModel, Stage
from pruning_core.planning.timing import Conditions, latency_stages
from pruning_core.results.deployment import verdict
from pruning_core.results.deployment_evidence import (
    QUANTIZED,
    Evidence,
    File,
    Timing,
    evidence,
    measured_conditions,
    smallest_file,
    timing_of,
)
from pruning_core.storage.store import Store
from tests.helpers.latency import measurement, timed
from tests.helpers.pages import put
from tests.helpers.results import exported, result

DENSE = PlannedModel("baseline", 0, 0, 0.0, "a" * 64)
PRUNED = PlannedModel("one_shot", 0, 0, 0.9, "b" * 64)
CUT = PlannedModel(STRUCTURED, 0, 0, 0.5, "c" * 64)
OTHER_CUT = PlannedModel(STRUCTURED, 0, 0, 0.6, "d" * 64)


@pytest.fixture
def store(cache: Cache) -> Store:
    """Three finished models; only the masked one computes with its zeros."""
    finished = Store(cache)
    for model, zeros in ((DENSE, 0), (PRUNED, 72), (CUT, 48)):
        put(finished, model.key, "pruned", result(zeros, 0.9, 1, 1) | {"dense_bytes": 9000})
    return finished


def export(store: Store, name: str, size: int, accuracy: float) -> None:
    """Publish a file of the pruned model."""
    put(store, export_stage(PRUNED.key, name).key, "export", exported(size, accuracy))


def timings(store: Store, pruned: float, structured: float) -> list[Stage]:
    """Publish latencies in ONNX Runtime with these speed-ups, and 1.1 for int8."""
    keys = [DENSE.key, PRUNED.key, CUT.key]
    (stage,) = latency_stages(keys, ("onnx", "onnx_int8"), Conditions((32,), (2,)))
    rows = [
        timed(DENSE.key, "dense"),
        timed(DENSE.key, "control", ratio=1.0),
        timed(PRUNED.key, "candidate", ratio=pruned),
        timed(CUT.key, "candidate", ratio=structured),
        {**timed(PRUNED.key, "candidate", ratio=1.1), "runtime": "onnx_int8"},
    ]
    rows = [{**row, "batch": 32, "threads": 2} for row in rows]
    put(store, stage.key, stage.kind, measurement(rows))
    return [stage]


def gathered(store: Store, model: PlannedModel, stages: list[Stage] | None = None) -> Evidence:
    return evidence(model, DENSE, [CUT], stages or [], store)


def test_missing_measurements_are_none(store: Store) -> None:
    measured = gathered(store, PRUNED)
    assert not measured.files_measured
    assert (measured.smallest, measured.timing, measured.int8) == (None, None, None)
    assert measured.structured == ()
    assert measured.dense_bytes == 9000


def test_the_smallest_file_is_within_the_tolerance(store: Store) -> None:
    export(store, "bitmask_fp32", 1000, 0.9)
    export(store, "bitmask_fp16", 600, 0.895)
    export(store, "bitmask_int8", 300, 0.5)
    measured = gathered(store, PRUNED)
    assert measured.files_measured
    assert measured.smallest == File("Sparse (bitmask) fp16", 600, 0.895)
    tolerant = evidence(PRUNED, DENSE, [], [], store, tolerance=0.6).smallest
    assert tolerant is not None
    assert tolerant.bytes == 300
    assert "Size: 15x smaller as Sparse (bitmask) fp16, accuracy within 1" in verdict(measured)


def test_test_images_choose_no_file_and_no_model(store: Store) -> None:
    for name, size, tested, validated in (
        ("bitmask_fp32", 1000, 0.1, 0.89),
        ("bitmask_int8", 300, 0.9, 0.5),
    ):
        entry = exported(size, tested) | {"validation_accuracy": validated}
        put(store, export_stage(PRUNED.key, name).key, "export", entry)
    poor = {"accuracy": 0.0, "accuracy_low": 0.0, "accuracy_high": 0.0}
    put(store, OTHER_CUT.key, "pruned", result(48, 0.9, 1, 1) | poor)
    (stage,) = latency_stages([DENSE.key, OTHER_CUT.key], ("onnx",), Conditions((1,), (1,)))
    rows = [timed(DENSE.key, "dense"), timed(OTHER_CUT.key, "candidate", ratio=1.5)]
    put(store, stage.key, stage.kind, measurement(rows))
    measured = evidence(PRUNED, DENSE, [OTHER_CUT], [stage], store)
    assert measured.smallest == File("Sparse (bitmask) fp32", 1000, 0.89)
    assert "Structured model of similar accuracy (validation)" in verdict(measured)


def test_only_a_masked_model_has_zeros(store: Store) -> None:
    assert gathered(store, PRUNED).has_zeros
    assert not gathered(store, CUT).has_zeros
    assert not gathered(store, DENSE).has_zeros


def test_the_latency_is_that_of_the_first_conditions(store: Store) -> None:
    stages = timings(store, pruned=1.0, structured=1.5)
    assert measured_conditions(stages) == (32, 2)
    assert measured_conditions([]) == (1, 1)
    measured = gathered(store, PRUNED, stages)
    assert measured.timing is not None
    assert measured.timing.ratio.median == 1.0
    assert measured.int8 is not None
    assert (measured.int8.runtime, measured.int8.ratio.median) == ("onnx_int8", 1.1)
    (other,) = measured.structured
    assert (other.name, other.timing.ratio.median, other.accuracy) == (
        "structured model",
        1.5,
        0.89,
    )


def test_a_masked_model_is_no_structured_alternative(store: Store) -> None:
    stages = timings(store, pruned=1.0, structured=1.5)
    assert evidence(PRUNED, DENSE, [PRUNED], stages, store).structured == ()


def test_the_tolerance_decides_which_files_count() -> None:
    files = [File("a", 900, 0.80), File("b", 500, 0.795), File("c", 100, 0.70)]
    assert smallest_file(files, 0.80, 0.0) == files[0]
    assert smallest_file(files, 0.80, 0.005) == files[1]
    assert smallest_file(files, 0.80, 0.2) == files[2]
    assert smallest_file(files[2:], 0.80, 0.01) is None
    assert smallest_file([], 0.80, 0.01) is None


def row(
    key: str,
    runtime: str,
    speedup: float,
    over_first: float,
    first_runtime: str,
    role: str = "candidate",
    batch_size: int = 1,
) -> dict[str, object]:
    """A row of the latency frame; the intervals reach 10 % to both sides."""
    return {
        "key": key,
        "runtime": runtime,
        "batch_size": batch_size,
        "threads": 1,
        "role": role,
        "conclusion": FASTER,
        "speedup": speedup,
        "speedup_low": 0.9 * speedup,
        "speedup_high": 1.1 * speedup,
        "rounds": 40,
        "processor": "EPYC (AVX2)",
        "speedup_over_first": over_first,
        "speedup_over_first_low": 0.9 * over_first,
        "speedup_over_first_high": 1.1 * over_first,
        "conclusion_over_first": SLOWER,
        "first_runtime": first_runtime,
    }


def median(timing: Timing | None) -> float:
    assert timing is not None
    return timing.ratio.median


def test_the_preferred_runtime_counts_under_the_given_conditions() -> None:
    frame = pd.DataFrame(
        [
            row("p", "eager", 1.1, 1.1, "eager"),
            row("p", "onnx", 1.2, 1.2, "onnx", batch_size=32),
            row("p", "onnx", 1.3, 1.3, "onnx"),
            row("p", "onnx_int8", 1.4, 2.8, "onnx"),
            row("d", "onnx", 1.0, 1.0, "onnx", role="control"),
        ]
    )
    ratio = Ratio(1.3, 1.3 * 0.9, 1.3 * 1.1, 40)
    assert timing_of(frame, "p") == Timing("onnx", ratio, FASTER, processor="EPYC (AVX2)")
    assert median(timing_of(frame, "p", batch_size=32)) == 1.2
    assert median(timing_of(frame, "p", runtimes=("eager",))) == 1.1
    int8 = timing_of(frame, "p", runtimes=QUANTIZED)
    assert int8 is not None
    assert (int8.ratio.median, int8.conclusion) == (2.8, SLOWER)
    assert timing_of(frame, "d") is None
    assert timing_of(frame, "p", threads=2) is None


def test_int8_against_int8_is_no_comparison_with_fp32() -> None:
    frame = pd.DataFrame([row("p", "onnx_int8", 1.4, 1.4, "onnx_int8")])
    assert timing_of(frame, "p", runtimes=QUANTIZED) is None
