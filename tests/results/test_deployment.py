"""The verdict in one sentence, from numbers made by hand."""

from __future__ import annotations

import itertools

import pandas as pd
import pytest

from pruning_core.common.paired_timing import ALIKE, FASTER, NOISY, SLOWER, Ratio, judge
from pruning_core.results.deployment import verdict
from pruning_core.results.deployment_evidence import (
    INT8,
    Evidence,
    File,
    Structured,
    Timing,
    smallest_file,
    timing_of,
)

DENSE = 9_200_000
SMALL = File("bit mask + fp16", 1_508_197, 0.81)


def timing(median: float, low: float, high: float, runtime: str = "onnx") -> Timing:
    ratio = Ratio(median, low, high, 60)
    return Timing(runtime, ratio, judge(ratio))


SAME = timing(1.01, 0.97, 1.04)
QUICK = timing(1.9, 1.85, 1.97)
SLOW = timing(0.8, 0.78, 0.83)
UNSURE = timing(1.1, 0.9, 1.3)


def evidence(**found: object) -> Evidence:
    base = {
        "most_lost": 0.01,
        "dense_bytes": DENSE,
        "files_measured": True,
        "smallest": SMALL,
        "timing": SAME,
        "accuracy_low": 0.79,
        "accuracy_high": 0.83,
    }
    return Evidence(**{**base, **found})  # type: ignore[arg-type]


def cut(found: Timing = QUICK, accuracy: float = 0.8, name: str = "the channel-pruned model"):
    return Structured(name, found, accuracy)


def test_smaller_only_and_what_would_be_faster() -> None:
    assert verdict(evidence(structured=(cut(),))) == (
        "6.1 times smaller to ship as bit mask + fp16 (at most 1 point lost); no faster, since "
        "ONNX Runtime multiplies zeros too (1.01 times, 0.97 to 1.04); the channel-pruned model "
        "of equal accuracy is 1.9 times faster (1.85 to 1.97)."
    )


def test_smaller_and_faster() -> None:
    said = verdict(evidence(timing=QUICK, zeros=False))
    assert said == (
        "6.1 times smaller to ship as bit mask + fp16 (at most 1 point lost); 1.9 times faster "
        "in ONNX Runtime (1.85 to 1.97)."
    )


def test_faster_only() -> None:
    same = File("ONNX fp32", 9_150_000, 0.81)
    said = verdict(evidence(smallest=same, timing=QUICK, zeros=False))
    assert said.startswith("No smaller to ship as ONNX fp32 (at most 1 point lost); 1.9 times f")


def test_neither() -> None:
    same = File("ONNX fp32", DENSE, 0.81)
    said = verdict(evidence(smallest=same, zeros=False))
    assert said == (
        "No smaller to ship as ONNX fp32 (at most 1 point lost); no faster in ONNX Runtime "
        "(1.01 times, 0.97 to 1.04)."
    )


def test_larger_and_slower() -> None:
    said = verdict(evidence(smallest=File("x", 2 * DENSE, 0.8), timing=SLOW))
    assert said == (
        "2 times larger to ship as x (at most 1 point lost); slower in ONNX Runtime: "
        "0.8 times as fast (0.78 to 0.83)."
    )


def test_no_file_keeps_the_accuracy() -> None:
    said = verdict(evidence(smallest=None, most_lost=0.005))
    assert said.startswith("No file keeps the accuracy (at most 0.5 points lost), so none is sm")


def test_too_noisy() -> None:
    said = verdict(evidence(timing=UNSURE))
    assert "whether it is faster in ONNX Runtime, this machine is too noisy to tell (1.1" in said
    assert "since" not in said


def test_nothing_measured() -> None:
    assert verdict(Evidence(0.01)) == (
        "Its size as a file is not measured yet; its speed is not measured yet."
    )
    assert "its speed is not measured yet" in verdict(evidence(timing=None))
    unknown = verdict(evidence(files_measured=False, smallest=None))
    assert unknown.startswith("Its size as a file is not measured yet; no faster")


def test_a_small_difference_is_not_called_none() -> None:
    said = verdict(evidence(timing=timing(1.02, 1.01, 1.04)))
    assert "hardly faster, since ONNX Runtime multiplies zeros too (1.02" in said
    assert "1.00 times, 0.98 to 1.02" in verdict(evidence(timing=timing(1.0, 0.98, 1.02)))


def test_a_reason_is_given_only_for_zeros() -> None:
    assert "zeros" not in verdict(evidence(zeros=False))
    torch = verdict(evidence(timing=timing(1.0, 0.98, 1.02, "eager")))
    assert "since PyTorch multiplies zeros too" in torch


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (timing(1.6, 1.5, 1.7, INT8), "1.6 times faster than the dense model in full precision"),
        (timing(1.0, 0.98, 1.02, INT8), "no faster than the dense model in full precision"),
        (timing(0.7, 0.68, 0.72, INT8), "slower: 0.7 times as fast as the dense model"),
        (timing(1.1, 0.9, 1.3, INT8), "too noisy to tell"),
    ],
)
def test_what_8_bits_add(found: Timing, expected: str) -> None:
    said = verdict(evidence(int8=found)).split("; ")[-1]
    assert "in 8 bits in ONNX Runtime" in said
    assert expected in said


def test_only_channel_pruned_models_that_are_as_accurate_count() -> None:
    worse, better = cut(accuracy=0.78), cut(accuracy=0.85, name="the wide one")
    assert "channel" not in verdict(evidence(structured=(worse,)))
    assert "the wide one of higher accuracy is 1.9 times" in verdict(
        evidence(structured=(worse, better))
    )
    unknown = evidence(structured=(cut(),), accuracy_low=float("nan"))
    assert "channel" not in verdict(unknown)


def test_the_surely_faster_one_is_named_before_a_doubtful_one() -> None:
    doubtful = cut(timing(2.5, 0.9, 4.0), name="a")
    assert "b of equal accuracy is 1.9" in verdict(evidence(structured=(doubtful, cut(name="b"))))
    alone = verdict(evidence(structured=(doubtful,)))
    assert "whether a of equal accuracy is faster, this machine is too noisy to tell" in alone
    assert "is no faster (1.01" in verdict(evidence(structured=(cut(SAME),)))
    assert "is slower: 0.8 times" in verdict(evidence(structured=(cut(SLOW),)))


def test_another_runtime_is_named() -> None:
    said = verdict(evidence(structured=(cut(timing(1.9, 1.85, 1.97, "executorch")),)))
    assert said.endswith("is 1.9 times faster in ExecuTorch (1.85 to 1.97).")


def test_no_sentence_claims_more_than_its_interval() -> None:
    """Faster is said only of intervals above 1, whatever is combined."""
    files = (SMALL, File("x", DENSE, 0.8), None)
    every = (SAME, QUICK, SLOW, UNSURE, None)
    for file, own, int8, other in itertools.product(files, every, every, every):
        structured = (cut(other),) if other else ()
        said = verdict(evidence(smallest=file, timing=own, int8=int8, structured=structured))
        claims = said.count("times faster")
        assert claims == sum(found is QUICK for found in (own, int8, other))
        assert said.count("too noisy") == sum(found is UNSURE for found in (own, int8, other))
        assert said.endswith(".")
        assert said.count(".\n") == 0


def test_the_smallest_file_within_the_loss() -> None:
    files = [File("a", 900, 0.80), File("b", 500, 0.795), File("c", 100, 0.70)]
    assert smallest_file(files, 0.80, 0.0) == files[0]
    assert smallest_file(files, 0.80, 0.005) == files[1]
    assert smallest_file(files, 0.80, 0.2) == files[2]
    assert smallest_file(files[2:], 0.80, 0.01) is None
    assert smallest_file([], 0.80, 0.01) is None


def rows(*found: tuple) -> pd.DataFrame:
    names = (
        *("point", "runtime", "batch_size", "threads", "role", "judgement"),
        *("speedup", "speedup_low", "speedup_high", "rounds"),
        *("speedup_over_first", "speedup_over_first_low"),
        *("speedup_over_first_high", "conclusion_over_first", "first_runtime"),
    )
    return pd.DataFrame(found, columns=names)


def row(point: str, runtime: str, ratio: float, first: float, first_runtime: str, **more) -> tuple:
    role, batch = more.get("role", "candidate"), more.get("batch", 1)
    own = (ratio, 0.9 * ratio, 1.1 * ratio, 40)
    return (
        *(point, runtime, batch, 1, role, FASTER, *own),
        *(first, 0.9 * first, 1.1 * first, SLOWER, first_runtime),
    )


def test_which_timing_speaks_for_a_point() -> None:
    frame = rows(
        row("p", "eager", 1.1, 1.1, "eager"),
        row("p", "onnx", 1.2, 1.2, "onnx", batch=32),
        row("p", "onnx", 1.3, 1.3, "onnx"),
        row("p", "onnx_int8", 1.4, 2.8, "onnx"),
        row("d", "onnx", 1.0, 1.0, "onnx", role="control"),
    )
    assert timing_of(frame, "p") == Timing("onnx", Ratio(1.3, 1.3 * 0.9, 1.3 * 1.1, 40), FASTER)
    assert timing_of(frame, "p", batch=32).ratio.median == 1.2  # type: ignore[union-attr]
    assert timing_of(frame, "p", runtimes=("eager",)).ratio.median == 1.1  # type: ignore[union-attr]
    int8 = timing_of(frame, "p", runtimes=(INT8,))
    assert (int8.ratio.median, int8.judgement) == (2.8, SLOWER)  # type: ignore[union-attr]
    assert timing_of(frame, "d") is None
    assert timing_of(frame, "p", threads=2) is None


def test_8_bits_against_8_bits_say_nothing_of_full_precision() -> None:
    frame = rows(row("p", "onnx_int8", 1.4, 1.4, "onnx_int8"))
    assert timing_of(frame, "p", runtimes=(INT8,)) is None


def test_the_timings_here_are_what_they_are_named() -> None:
    found = [one.judgement for one in (SAME, QUICK, SLOW, UNSURE)]
    assert found == [ALIKE, FASTER, SLOWER, NOISY]
