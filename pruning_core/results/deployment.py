"""What a pruned model gained, in one sentence that is made from its numbers and from nothing else.

Size and speed are told apart: zeros make a file smaller, and a network quicker only where a
program leaves them out. A difference in time is told only as far as its interval carries it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

from pruning_core.common.formatting import format_points, format_times
from pruning_core.common.paired_timing import ALIKE, FASTER, NOISY, SLOWER, Ratio
from pruning_core.methods.file_formats import FILE_FORMATS
from pruning_core.methods.runtimes import BACKENDS, RUNTIMES
from pruning_core.methods.strategies import STRATEGIES, STRUCTURED
from pruning_core.planning.stage import PlannedModel, Reader, Stage
from pruning_core.results import exported_files, latency

# Sizes closer than this are told as no difference; a file's size has no spread.
SAME_SIZE = 1.02
# Which runtime speaks for a model, the first that was timed.
PREFERRED = ("onnx", "executorch", "eager")
INT8 = "onnx_int8"
UNTOLD = "this machine is too noisy to tell"
MOST_LOST = 0.01


@dataclass(frozen=True)
class File:
    """A finished point as a file that was written and read back. Accuracies are fractions."""

    name: str
    bytes: int
    accuracy: float


@dataclass(frozen=True)
class Timing:
    """How many times as fast as the dense model, in a runtime, and what may be told of it.

    `judgement` is one of `paired.JUDGEMENTS`.
    """

    runtime: str
    ratio: Ratio
    judgement: str


@dataclass(frozen=True)
class Structured:
    """A model with channels removed: its name, its timing and its accuracy on the test images."""

    name: str
    timing: Timing
    accuracy: float


@dataclass(frozen=True)
class Evidence:
    """What a verdict is made from; what was not measured is None.

    `dense_bytes` is the dense model's plain file, `smallest` the smallest file within
    `most_lost` (a fraction) of the dense accuracy. `timing` is the point's own, `int8` that of
    its 8-bit file against the dense model in full precision. `zeros` says that the point still
    holds its zeros. `accuracy_low` and `accuracy_high` are the point's 95 % interval.
    """

    most_lost: float
    dense_bytes: int | None = None
    files_measured: bool = False
    smallest: File | None = None
    timing: Timing | None = None
    int8: Timing | None = None
    structured: tuple[Structured, ...] = ()
    accuracy_low: float = math.nan
    accuracy_high: float = math.nan
    zeros: bool = True


def verdict(found: Evidence) -> str:
    """One sentence: the size, the speed and why, and what would be quicker."""
    parts = [_size(found), _speed(found), *_int8(found), *_structured(found)]
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}."


def _size(found: Evidence) -> str:
    lost = f"at most {format_points(found.most_lost)} lost"
    if found.dense_bytes is None or not found.files_measured:
        return "its size as a file is not measured yet"
    if found.smallest is None:
        return f"no file keeps the accuracy ({lost}), so none is smaller to ship"
    ratio, how = found.dense_bytes / found.smallest.bytes, f"as {found.smallest.name} ({lost})"
    if ratio >= SAME_SIZE:
        return f"{format_times(ratio)} times smaller to ship {how}"
    if ratio > 1 / SAME_SIZE:
        return f"no smaller to ship {how}"
    return f"{format_times(1 / ratio)} times larger to ship {how}"


def _speed(found: Evidence) -> str:
    timing = found.timing
    if timing is None:
        return "its speed is not measured yet"
    where, span = _title(timing), _span(timing)
    reason = f", since {where} multiplies zeros too" if found.zeros else f" in {where}"
    return {
        FASTER: f"{_times(timing)} times faster in {where} ({span})",
        ALIKE: f"{_hardly(timing)} faster{reason} ({_interval(timing)})",
        SLOWER: f"slower in {where}: {_times(timing)} times as fast ({span})",
        NOISY: f"whether it is faster in {where}, {UNTOLD} ({_interval(timing)})",
    }[timing.judgement]


def _int8(found: Evidence) -> list[str]:
    """What 8 bits add."""
    if (timing := found.int8) is None:
        return []
    what, span = f"in 8 bits in {_title(timing)}", _span(timing)
    dense = "the dense model in full precision"
    return [
        {
            FASTER: f"{what} {_times(timing)} times faster than {dense} ({span})",
            ALIKE: f"{what} {_hardly(timing)} faster than {dense} ({_interval(timing)})",
            SLOWER: f"{what} slower: {_times(timing)} times as fast as {dense} ({span})",
            NOISY: f"whether it is faster {what}, {UNTOLD} ({_interval(timing)})",
        }[timing.judgement]
    ]


def _structured(found: Evidence) -> list[str]:
    """The quickest model with channels removed that is surely faster and no less accurate.

    Where none of them is surely faster, the quickest is told as it is.
    """
    level = [one for one in found.structured if one.accuracy >= found.accuracy_low]
    if not level:
        return []
    faster = [one for one in level if one.timing.judgement == FASTER]
    best = max(faster or level, key=lambda one: one.timing.ratio.median)
    kind = "equal" if best.accuracy <= found.accuracy_high else "higher"
    name, timing = f"{best.name} of {kind} accuracy", best.timing
    elsewhere = found.timing is None or _title(found.timing) != _title(timing)
    where, span = f" in {_title(timing)}" * elsewhere, _span(timing)
    return [
        {
            FASTER: f"{name} is {_times(timing)} times faster{where} ({span})",
            ALIKE: f"{name} is {_hardly(timing)} faster{where} ({_interval(timing)})",
            SLOWER: f"{name} is slower{where}: {_times(timing)} times as fast ({span})",
            NOISY: f"whether {name} is faster{where}, {UNTOLD} ({_interval(timing)})",
        }[timing.judgement]
    ]


def _title(timing: Timing) -> str:
    return BACKENDS[RUNTIMES[timing.runtime].backend].title


def _hardly(timing: Timing) -> str:
    """An interval near 1 that does not hold it is a difference, if a small one."""
    return "hardly" if timing.ratio.low > 1 else "no"


def _number(ratio: float) -> str:
    text = format_times(ratio)
    return "1.00" if text == "1" else text


def _times(timing: Timing) -> str:
    return _number(timing.ratio.median)


def _span(timing: Timing) -> str:
    return f"{_number(timing.ratio.low)} to {_number(timing.ratio.high)}"


def _interval(timing: Timing) -> str:
    return f"{_times(timing)} times, {_span(timing)}"


def smallest_file(files: Iterable[File], dense_accuracy: float, most_lost: float) -> File | None:
    """The smallest file that loses at most so much, fractions; None where there is none."""
    kept = [file for file in files if dense_accuracy - file.accuracy <= most_lost + 1e-9]
    return min(kept, key=lambda file: file.bytes, default=None)


def timing_of(
    frame: pd.DataFrame,
    point: str,
    batch: int = 1,
    threads: int = 1,
    runtimes: Iterable[str] = PREFERRED,
) -> Timing | None:
    """A point's timing in the first of these runtimes that has one; None where none has.

    `frame` is what `speed.latency_frame` gives. Of 8 bits, give `runtimes=(INT8,)`: the timing
    is then against the dense model in full precision, if that was timed beside it.
    """
    there = frame[
        (frame["point"] == point)
        & (frame["images_at_a_time"] == batch)
        & (frame["threads"] == threads)
        & (frame["role"] != "control")
    ]
    for name in runtimes:
        rows = there[(there["runtime"] == name) & there[_against(name)].notna()]
        if name == INT8:
            rows = rows[rows["first_runtime"] != INT8]
        if not rows.empty:
            return _timing(rows.iloc[0], name)
    return None


def _against(runtime: str) -> str:
    return "times_as_fast_as_first" if runtime == INT8 else "times_as_fast"


def _timing(row: pd.Series, runtime: str) -> Timing:
    column = _against(runtime)
    median, low, high = (float(row[column + end]) for end in ("", "_low", "_high"))
    judgement = "judgement_to_first" if runtime == INT8 else "judgement"
    return Timing(runtime, Ratio(median, low, high, int(row["rounds"])), str(row[judgement]))


def evidence(
    point: PlannedModel,
    dense: PlannedModel,
    others: Sequence[PlannedModel],
    stages: Iterable[Stage],
    store: Reader,
    most_lost: float = MOST_LOST,
) -> Evidence:
    """The figures of a point beside its dense baseline's; what is not measured is left out.

    `stages` are the latency stages of these points, `others` those timed beside them; of several
    numbers of images and threads the first ones count (`spoken_for`). A file may lose `most_lost`
    (a fraction) of the baseline's accuracy.
    """
    stages = list(stages)
    own, base, how = store.read(point.key), store.read(dense.key), spoken_for(stages)
    files = exported_files.ladder(point, dense, store).to_dict("records")
    found = [File(FILE_FORMATS[r["format"]].title, r["bytes"], r["accuracy"]) for r in files]
    times = latency.latency_frame(stages, store)
    return Evidence(
        most_lost=most_lost,
        dense_bytes=base["dense_bytes"],
        files_measured=bool(found),
        smallest=smallest_file(found, base["accuracy"], most_lost),
        timing=timing_of(times, point.key, *how),
        int8=timing_of(times, point.key, *how, runtimes=(INT8,)),
        structured=tuple(_structured_evidence(others, times, store, how)),
        accuracy_low=own["accuracy_low"],
        accuracy_high=own["accuracy_high"],
        zeros=point.strategy != STRUCTURED and own["weights_zeros"] > 0,
    )


def spoken_for(stages: Iterable[Stage]) -> tuple[int, int]:
    """Images at a time and threads of the timing that a verdict is made from."""
    for stage in stages:
        return stage.settings["batches"][0], stage.settings["threads"][0]
    return 1, 1


def _structured_evidence(
    points: Iterable[PlannedModel], times: pd.DataFrame, store: Reader, how: tuple[int, int]
) -> Iterable[Structured]:
    for point in points:
        timing = timing_of(times, point.key, *how)
        if point.strategy == STRUCTURED and timing:
            name = f"the model with {STRATEGIES[STRUCTURED].title}"
            yield Structured(name, timing, store.read(point.key)["accuracy"])
