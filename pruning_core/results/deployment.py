"""What a pruned model gains in deployment, in short sentences that follow from measurements.

Size and speed are separate: zeros shrink a file, but they speed up a network only in a runtime
that skips them. A difference in time is claimed only as far as its 95 % interval allows.
"""

from __future__ import annotations

from pruning_core.common.formatting import format_points, format_times
from pruning_core.common.paired_timing import ALIKE, FASTER, NOISY, SLOWER
from pruning_core.methods.runtimes import BACKENDS, RUNTIMES
from pruning_core.results.deployment_evidence import Evidence, Timing

# Sizes within this factor count as equal; the size of a file has no spread.
SAME_SIZE = 1.02


def verdict(evidence: Evidence) -> str:
    """One sentence each on size, speed, sparse kernels, int8 and the fastest structured model."""
    if not _size_measured(evidence) and evidence.timing is None and evidence.sparse is None:
        sentences = ["File size and speed not measured yet"]
    else:
        sentences = [_size(evidence), _speed(evidence), *_sparse(evidence)]
    return _text([*sentences, *_int8(evidence), *_structured(evidence)])


def speed_text(evidence: Evidence) -> str:
    """`verdict` without the size."""
    sentences = [_speed(evidence), *_sparse(evidence), *_int8(evidence), *_structured(evidence)]
    return _text(sentences)


def speed_figure(evidence: Evidence) -> tuple[str, str]:
    """The speed-up for a card, and the line below it: runtime and interval, or what to do."""
    timing = evidence.timing
    if evidence.sparse and evidence.sparse.conclusion == FASTER:
        timing = evidence.sparse
    if timing is None:
        return "not measured yet", "Measure the latency below."
    conclusion = {FASTER: "", ALIKE: ", no faster", SLOWER: ", slower", NOISY: ", inconclusive"}
    if timing.conclusion == ALIKE and timing.ratio.low > 1:
        conclusion[ALIKE] = ", hardly faster"
    runtime = f"{_title(timing)}{f' vs {_reference(timing)}' if timing.reference else ''}"
    text = f"{runtime}, {_interval(timing)}{conclusion[timing.conclusion]}"
    return f"{_number(timing.ratio.median)}x", text


def _text(sentences: list[str]) -> str:
    return " ".join(f"{sentence}." for sentence in sentences)


def _size_measured(evidence: Evidence) -> bool:
    return evidence.dense_bytes is not None and evidence.files_measured


def _size(evidence: Evidence) -> str:
    within = f"within {format_points(evidence.tolerance)} (validation)"
    smallest = evidence.smallest
    if evidence.dense_bytes is None or not evidence.files_measured:
        return "File size not measured yet"
    if smallest is None:
        return f"Accuracy: no file stays {within}"
    ratio = evidence.dense_bytes / smallest.bytes
    if ratio >= SAME_SIZE:
        change = f"{format_times(ratio)}x smaller"
    elif ratio > 1 / SAME_SIZE:
        change = "no smaller"
    else:
        change = f"{format_times(1 / ratio)}x larger"
    return f"Size: {change} as {smallest.name}, accuracy {within}"


def _speed(evidence: Evidence) -> str:
    timing = evidence.timing
    if timing is None:
        return "Speed not measured yet"
    reason = ", which also multiplies zeros" if evidence.has_zeros else ""
    return f"Speed: {_compared(timing, f' in {_title(timing)}', reason)}"


def _sparse(evidence: Evidence) -> list[str]:
    """The sparse kernels against the fastest dense runtime, on the processor that was measured."""
    timing = evidence.sparse
    if timing is None or not evidence.has_zeros:
        return []
    dense = f" than the dense model in {_reference(timing)}, the fastest dense runtime"
    if timing.conclusion == NOISY:
        dense = f", against the dense model in {_reference(timing)}, the fastest dense runtime"
    return [
        f"{_title(timing)} with sparse kernels: {_compared(timing, dense)}, on {timing.processor}"
    ]


def _reference(timing: Timing) -> str:
    return BACKENDS[RUNTIMES[timing.reference].backend].title


def _int8(evidence: Evidence) -> list[str]:
    if (timing := evidence.int8) is None:
        return []
    return [f"int8: {_compared(timing, f' in {_title(timing)}')}, against the dense fp32 model"]


def _structured(evidence: Evidence) -> list[str]:
    """The fastest structured model that is no less accurate, if there is one.

    Models that are surely faster come first; without any, the one with the highest median
    speed-up is described as it is.
    """
    accurate = [m for m in evidence.structured if m.accuracy >= evidence.accuracy_low]
    if not accurate:
        return []
    faster = [m for m in accurate if m.timing.conclusion == FASTER]
    best = max(faster or accurate, key=lambda m: m.timing.ratio.median)
    accuracy = "similar" if best.accuracy <= evidence.accuracy_high else "higher"
    timing = best.timing
    same_runtime = evidence.timing is not None and _title(evidence.timing) == _title(timing)
    runtime = "" if same_runtime else f" in {_title(timing)}"
    name = best.name[0].upper() + best.name[1:]
    return [f"{name} of {accuracy} accuracy (validation): {_compared(timing, runtime)}"]


def _compared(timing: Timing, runtime: str, reason: str = "") -> str:
    """The speed-up in words, with its interval; `reason` explains a missing speed-up."""
    speedup, interval = f"{_number(timing.ratio.median)}x", _interval(timing)
    return {
        FASTER: f"{speedup} faster{runtime} ({interval})",
        ALIKE: f"{_hardly(timing)} faster{runtime}{reason} ({speedup}, {interval})",
        SLOWER: f"slower{runtime} ({speedup}, {interval})",
        NOISY: f"inconclusive{runtime} ({speedup}, {interval}; noisy machine)",
    }[timing.conclusion]


def _title(timing: Timing) -> str:
    return BACKENDS[RUNTIMES[timing.runtime].backend].title


def _hardly(timing: Timing) -> str:
    """An interval near 1 that excludes 1 is a difference, if a small one."""
    return "hardly" if timing.ratio.low > 1 else "no"


def _number(ratio: float) -> str:
    text = format_times(ratio)
    return "1.00" if text == "1" else text


def _interval(timing: Timing) -> str:
    return f"95 % CI {_number(timing.ratio.low)} to {_number(timing.ratio.high)}"
