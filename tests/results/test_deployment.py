"""The deployment verdict follows from measurements and claims no more than they show."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from pruning_core.common.paired_timing import ALIKE, FASTER, NOISY, SLOWER, Ratio, judge
from pruning_core.results.deployment import speed_figure, verdict
from pruning_core.results.deployment_evidence import Evidence, File, Structured, Timing

DENSE = 9_200_000
INT8 = "onnx_int8"
SMALL = File("Sparse (bitmask) fp16", 1_508_197, 0.81)


def timing(median: float, low: float, high: float, runtime: str = "onnx") -> Timing:
    ratio = Ratio(median, low, high, 60)
    return Timing(runtime, ratio, judge(ratio))


SAME = timing(1.01, 0.97, 1.04)
FAST = timing(1.9, 1.85, 1.97)
SLOW = timing(0.8, 0.78, 0.83)
UNSURE = timing(1.1, 0.9, 1.3)


def evidence(**measured: object) -> Evidence:
    base = {
        "tolerance": 0.01,
        "dense_bytes": DENSE,
        "files_measured": True,
        "smallest": SMALL,
        "timing": SAME,
        "accuracy_low": 0.79,
        "accuracy_high": 0.83,
    }
    return Evidence(**{**base, **measured})  # type: ignore[arg-type]


def structured(
    measured: Timing = FAST, accuracy: float = 0.8, name: str = "structured model"
) -> Structured:
    return Structured(name, measured, accuracy)


def test_smaller_but_no_faster_unless_channels_are_removed() -> None:
    assert verdict(evidence(structured=(structured(),))) == (
        "Size: 6.1x smaller as Sparse (bitmask) fp16, accuracy within 1 point (validation). "
        "Speed: no faster in ONNX Runtime, which also multiplies zeros (1.01x, 95 % CI 0.97 to "
        "1.04). Structured model of similar accuracy (validation): 1.9x faster (95 % CI 1.85 to "
        "1.97)."
    )


@pytest.mark.parametrize(
    ("measured", "words"),
    [
        (FAST, "1.9x faster than the dense model in ONNX Runtime, the fastest dense runtime ("),
        (SAME, "no faster than the dense model in ONNX Runtime, the fastest dense runtime ("),
        (SLOW, "slower than the dense model in ONNX Runtime, the fastest dense runtime ("),
        (UNSURE, "inconclusive, against the dense model in ONNX Runtime, the fastest dense runt"),
    ],
)
def test_sparse_kernels_are_compared_with_the_fastest_dense_runtime(
    measured: Timing, words: str
) -> None:
    sparse = replace(measured, runtime="mnn_sparse", reference="onnx", processor="EPYC (AVX512)")
    text = verdict(evidence(sparse=sparse))
    assert "Speed: no faster in ONNX Runtime, which also multiplies zeros" in text
    assert f"MNN with sparse kernels: {words}" in text
    assert text.endswith(", on EPYC (AVX512).")
    assert "sparse kernels" not in verdict(evidence(sparse=sparse, has_zeros=False))
    figure, line = speed_figure(evidence(sparse=sparse))
    faster = measured is FAST
    assert (figure, "MNN vs ONNX Runtime" in line) == ("1.9x" if faster else "1.01x", faster)


def test_smaller_and_faster() -> None:
    assert verdict(evidence(timing=FAST, has_zeros=False)) == (
        "Size: 6.1x smaller as Sparse (bitmask) fp16, accuracy within 1 point (validation). "
        "Speed: 1.9x faster in ONNX Runtime (95 % CI 1.85 to 1.97)."
    )


def test_faster_only() -> None:
    same = File("ONNX fp32", 9_150_000, 0.81)
    text = verdict(evidence(smallest=same, timing=FAST, has_zeros=False))
    assert text.startswith(
        "Size: no smaller as ONNX fp32, accuracy within 1 point (validation). Speed: 1.9x f"
    )


def test_neither_smaller_nor_faster() -> None:
    same = File("ONNX fp32", DENSE, 0.81)
    assert verdict(evidence(smallest=same, has_zeros=False)) == (
        "Size: no smaller as ONNX fp32, accuracy within 1 point (validation). "
        "Speed: no faster in ONNX Runtime (1.01x, 95 % CI 0.97 to 1.04)."
    )


def test_larger_and_slower() -> None:
    assert verdict(evidence(smallest=File("x", 2 * DENSE, 0.8), timing=SLOW)) == (
        "Size: 2x larger as x, accuracy within 1 point (validation). "
        "Speed: slower in ONNX Runtime (0.8x, 95 % CI 0.78 to 0.83)."
    )


def test_no_file_within_the_tolerance() -> None:
    text = verdict(evidence(smallest=None, tolerance=0.005))
    assert text.startswith("Accuracy: no file stays within 0.5 points (validation). Speed: ")


def test_a_noisy_machine_is_inconclusive() -> None:
    text = verdict(evidence(timing=UNSURE))
    assert text.endswith(
        "Speed: inconclusive in ONNX Runtime (1.1x, 95 % CI 0.9 to 1.3; noisy machine)."
    )
    assert "multiplies zeros" not in text


def test_missing_measurements_are_named() -> None:
    assert verdict(Evidence(0.01)) == "File size and speed not measured yet."
    assert verdict(evidence(timing=None)).endswith(
        "within 1 point (validation). Speed not measured yet."
    )
    unknown = verdict(evidence(files_measured=False, smallest=None))
    assert unknown.startswith("File size not measured yet. Speed: no faster")


def test_a_small_difference_is_hardly_faster() -> None:
    text = verdict(evidence(timing=timing(1.02, 1.01, 1.04)))
    assert "hardly faster in ONNX Runtime, which also multiplies zeros (1.02x, " in text
    equal = verdict(evidence(timing=timing(1.0, 0.98, 1.02)))
    assert "(1.00x, 95 % CI 0.98 to 1.02)" in equal


def test_zeros_explain_a_missing_speed_up_only_where_the_model_has_them() -> None:
    assert "zeros" not in verdict(evidence(has_zeros=False))
    eager = verdict(evidence(timing=timing(1.0, 0.98, 1.02, "eager")))
    assert "in PyTorch, which also multiplies zeros" in eager


@pytest.mark.parametrize(
    ("measured", "expected"),
    [
        (timing(1.6, 1.5, 1.7, INT8), "1.6x faster in ONNX Runtime (95 % CI 1.5 to 1.7)"),
        (timing(1.0, 0.98, 1.02, INT8), "no faster in ONNX Runtime (1.00x, 95 % CI 0.98 to 1.02)"),
        (timing(0.7, 0.68, 0.72, INT8), "slower in ONNX Runtime (0.7x, 95 % CI 0.68 to 0.72)"),
        (
            timing(1.1, 0.9, 1.3, INT8),
            "inconclusive in ONNX Runtime (1.1x, 95 % CI 0.9 to 1.3; noisy machine)",
        ),
    ],
)
def test_int8_is_compared_with_the_dense_fp32_model(measured: Timing, expected: str) -> None:
    text = verdict(evidence(int8=measured))
    assert text.endswith(f"int8: {expected}, against the dense fp32 model.")


def test_only_structured_models_that_are_as_accurate_count() -> None:
    worse = structured(accuracy=0.78)
    better = structured(accuracy=0.85, name="wide model")
    assert "tructured" not in verdict(evidence(structured=(worse,)))
    text = verdict(evidence(structured=(worse, better)))
    assert "Wide model of higher accuracy (validation): 1.9x faster" in text
    unknown = evidence(structured=(structured(),), accuracy_low=float("nan"))
    assert "tructured" not in verdict(unknown)


def test_a_surely_faster_model_comes_before_a_doubtful_one() -> None:
    doubtful = structured(timing(2.5, 0.9, 4.0), name="a")
    both = verdict(evidence(structured=(doubtful, structured(name="b"))))
    assert "B of similar accuracy (validation): 1.9x faster (95 % CI 1.85 to 1.97)." in both
    alone = verdict(evidence(structured=(doubtful,)))
    assert alone.endswith(
        "A of similar accuracy (validation): inconclusive (2.5x, 95 % CI 0.9 to 4; noisy machine)."
    )
    assert "(validation): no faster (1.01x, " in verdict(evidence(structured=(structured(SAME),)))
    assert "(validation): slower (0.8x, " in verdict(evidence(structured=(structured(SLOW),)))


def test_another_runtime_is_named() -> None:
    other = structured(timing(1.9, 1.85, 1.97, "executorch"))
    text = verdict(evidence(structured=(other,)))
    assert text.endswith("(validation): 1.9x faster in ExecuTorch (95 % CI 1.85 to 1.97).")


def test_no_sentence_claims_more_than_its_interval() -> None:
    """ "x faster" appears only for intervals above 1, in every combination."""
    files = (SMALL, File("x", DENSE, 0.8), None)
    timings = (SAME, FAST, SLOW, UNSURE, None)
    for file, model, int8, other in itertools.product(files, timings, timings, timings):
        others = (structured(other),) if other else ()
        text = verdict(evidence(smallest=file, timing=model, int8=int8, structured=others))
        assert text.count("x faster") == sum(t is FAST for t in (model, int8, other))
        assert text.count("inconclusive") == sum(t is UNSURE for t in (model, int8, other))
        assert text.count("noisy machine") == text.count("inconclusive")
        assert text.endswith(".")
        assert "\n" not in text


def test_the_timings_have_the_conclusions_of_their_names() -> None:
    assert [t.conclusion for t in (SAME, FAST, SLOW, UNSURE)] == [ALIKE, FASTER, SLOWER, NOISY]
