"""The measurements behind the deployment verdict: files, latency and accuracy of a model."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

from pruning_core.common.paired_timing import Ratio
from pruning_core.common.statistics import wilson
from pruning_core.methods.file_formats import FILE_FORMATS
from pruning_core.methods.runtimes import RUNTIMES
from pruning_core.methods.strategies import STRATEGIES
from pruning_core.planning.measurement_types import LatencySettings
from pruning_core.planning.model_types import ModelResult
from pruning_core.planning.stage import PlannedModel, Reader, Stage, read_result
from pruning_core.planning.stage_types import restored
from pruning_core.results.exported_files import files_frame
from pruning_core.results.latency import latency_frame

# The runtimes whose latency counts for the verdict; the first that was measured is used.
PREFERRED = tuple(
    runtime.name
    for runtime in sorted(RUNTIMES.values(), key=lambda runtime: runtime.priority)
    if runtime.priority
)
QUANTIZED = tuple(name for name, runtime in RUNTIMES.items() if runtime.quantized)
SPARSE = tuple(name for name, runtime in RUNTIMES.items() if runtime.sparse)
TOLERANCE = 0.01


@dataclass(frozen=True)
class File:
    """A file that was written and read back: title, bytes, accuracy on the validation images."""

    name: str
    bytes: int
    accuracy: float


@dataclass(frozen=True)
class Timing:
    """The speed-up over the dense model in a runtime.

    `conclusion` is a key of `paired_timing.JUDGEMENTS`. `reference` is the runtime of the dense
    model, where that is another one. `processor` names the processor and its instruction set.
    """

    runtime: str
    ratio: Ratio
    conclusion: str
    reference: str = ""
    processor: str = ""


@dataclass(frozen=True)
class Structured:
    """A structured model: its name, its timing and its accuracy on the validation images."""

    name: str
    timing: Timing
    accuracy: float


@dataclass(frozen=True)
class Evidence:
    """The measurements behind a verdict; what was not measured is None.

    `dense_bytes` is the size of the dense model's plain file, `smallest` the smallest file
    within `tolerance` (a fraction) of the dense accuracy. Accuracies are those on the validation
    images, because they choose files and models. `timing` is that of the model, `int8`
    that of its int8 file against the dense fp32 model, `sparse` that of a runtime that skips zeros
    against the dense model in the fastest dense runtime. `has_zeros` says whether the model still
    computes with its zeros. `accuracy_low` and `accuracy_high` are the model's 95 % interval.
    """

    tolerance: float
    dense_bytes: int | None = None
    files_measured: bool = False
    smallest: File | None = None
    timing: Timing | None = None
    int8: Timing | None = None
    sparse: Timing | None = None
    structured: tuple[Structured, ...] = ()
    accuracy_low: float = math.nan
    accuracy_high: float = math.nan
    has_zeros: bool = True


def smallest_file(files: Iterable[File], dense_accuracy: float, tolerance: float) -> File | None:
    """The smallest file whose accuracy drops by at most `tolerance`; None where none does.

    Accuracies and the tolerance are fractions.
    """
    within = [file for file in files if dense_accuracy - file.accuracy <= tolerance + 1e-9]
    return min(within, key=lambda file: file.bytes, default=None)


def timing_of(
    frame: pd.DataFrame,
    key: str,
    batch_size: int = 1,
    threads: int = 1,
    runtimes: Iterable[str] = PREFERRED,
) -> Timing | None:
    """The timing of a model, by key, in the first of these runtimes that has one; else None.

    `frame` is that of `latency_frame`. For int8 give `runtimes=QUANTIZED`: the timing is then
    against the dense fp32 model, if that was measured in the same rounds. For `runtimes=SPARSE` it
    is against the fastest dense runtime.
    """
    measured = frame[
        (frame["key"] == key)
        & (frame["batch_size"] == batch_size)
        & (frame["threads"] == threads)
        & (frame["role"] != "control")
    ]
    for name in runtimes:
        column = f"speedup{_reference(name)}"
        rows = measured[(measured["runtime"] == name) & measured[column].notna()]
        if RUNTIMES[name].quantized:
            rows = rows[rows["first_runtime"] != name]
        if not rows.empty:
            return _timing(rows.iloc[0], name)
    return None


def _reference(runtime: str) -> str:
    """The end of the columns that compare this runtime with the dense model that counts for it."""
    if RUNTIMES[runtime].sparse:
        return "_over_fastest"
    return "_over_first" if RUNTIMES[runtime].quantized else ""


def _timing(row: pd.Series, runtime: str) -> Timing:
    over = _reference(runtime)
    median, low, high = (float(row[f"speedup{over}{end}"]) for end in ("", "_low", "_high"))
    reference = str(row["fastest_runtime"]) if RUNTIMES[runtime].sparse else ""
    ratio, conclusion = Ratio(median, low, high, int(row["rounds"])), str(row[f"conclusion{over}"])
    return Timing(runtime, ratio, conclusion, reference, str(row["processor"]))


def evidence(
    model: PlannedModel,
    dense: PlannedModel,
    others: Sequence[PlannedModel],
    stages: Iterable[Stage],
    store: Reader,
    tolerance: float = TOLERANCE,
) -> Evidence:
    """The measurements of a model and of its dense baseline; the rest stays None.

    `stages` are the latency stages of these models, `others` further models of the same stages.
    Of several batch sizes and numbers of threads the first ones count (`measured_conditions`). A
    file may lose `tolerance` (a fraction) of the baseline's accuracy.
    """
    stages = list(stages)
    result, baseline = (read_result(store, m.key, ModelResult) for m in (model, dense))
    conditions = measured_conditions(stages)
    exports = files_frame(model, dense, store).to_dict("records")
    files = [
        File(FILE_FORMATS[row["format"]].title, row["bytes"], row["validation_accuracy"])
        for row in exports
    ]
    low, high = wilson(
        round(result.validation_accuracy * result.validation_images), result.validation_images
    )
    times = latency_frame(stages, store)
    return Evidence(
        tolerance=tolerance,
        dense_bytes=baseline.dense_bytes,
        files_measured=bool(files),
        smallest=smallest_file(files, baseline.validation_accuracy, tolerance),
        timing=timing_of(times, model.key, *conditions),
        int8=timing_of(times, model.key, *conditions, runtimes=QUANTIZED),
        sparse=timing_of(times, model.key, *conditions, runtimes=SPARSE),
        structured=tuple(_structured(others, times, store, conditions)),
        accuracy_low=low,
        accuracy_high=high,
        has_zeros=not STRATEGIES[model.strategy].removes_channels and result.weights_zeros > 0,
    )


def measured_conditions(stages: Iterable[Stage]) -> tuple[int, int]:
    """Batch size and number of threads of the timings behind a verdict."""
    for stage in stages:
        settings = restored(LatencySettings, stage.settings)
        return settings.batches[0], settings.threads[0]
    return 1, 1


def _structured(
    models: Iterable[PlannedModel], times: pd.DataFrame, store: Reader, conditions: tuple[int, int]
) -> Iterable[Structured]:
    for model in models:
        timing = timing_of(times, model.key, *conditions)
        strategy = STRATEGIES[model.strategy]
        if strategy.removes_channels and timing:
            name = f"{strategy.title} model"
            result = read_result(store, model.key, ModelResult)
            yield Structured(name, timing, result.validation_accuracy)
