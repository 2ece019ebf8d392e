"""The models of a search for the fastest one: accuracy and speed-up of each in each runtime."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pruning_core.common.paired_timing import FASTER
from pruning_core.methods.file_formats import FILE_FORMATS
from pruning_core.methods.runtimes import RUNTIMES
from pruning_core.planning.exports import export_stage
from pruning_core.planning.latency_search import DENSE
from pruning_core.planning.measurement_types import ExportResult
from pruning_core.planning.model_types import ModelResult
from pruning_core.planning.stage import Reader, Stage, known, read_result
from pruning_core.results.latency import latency_frame


@dataclass(frozen=True)
class Trained:
    """A trained model of a search: its strategy and target, its training, and its key."""

    strategy: str
    target: float
    epochs: float
    seed: int
    key: str


@dataclass(frozen=True)
class LatencyTrial:
    """A model in one runtime.

    Accuracies are fractions, those of the int8 file in a quantized runtime. `ms` is the median time
    of one image with one thread. `speedup`, with its 95 % interval and the `conclusion` from it, is
    over the dense model in `fastest_runtime`, the dense runtime that was fastest in these rounds;
    it is 1 for that model itself.
    """

    strategy: str
    target: float
    epochs: float
    seed: int
    runtime: str
    validation: float
    test: float
    ms: float
    speedup: float
    speedup_low: float
    speedup_high: float
    conclusion: str
    fastest_runtime: str


def quantized_files(runtimes: Iterable[str], models: Iterable[Trained]) -> list[Stage]:
    """The stages that write the files of quantized runtimes and measure their accuracy."""
    formats = {RUNTIMES[name].format for name in runtimes if RUNTIMES[name].quantized}
    return [export_stage(model.key, name) for model in models for name in sorted(formats)]


def latency_trials(
    models: Mapping[str, Trained], stages: Iterable[Stage], store: Reader
) -> list[LatencyTrial]:
    """Each model, by key, in each runtime in which these finished stages timed it.

    A quantized file without a measured accuracy is left out.
    """
    frame = latency_frame(stages, store)
    trials = {}
    for row in frame.to_dict("records"):
        model, runtime = models.get(row["key"]), RUNTIMES[row["runtime"]]
        if model is None or row["role"] not in ("dense", "candidate"):
            continue
        if model.strategy == DENSE and runtime.sparse:  # it has no zeros to skip
            continue
        accuracy = _accuracy(model.key, runtime.name, store)
        if accuracy is None:
            continue
        low, median, high = (float(row[f"speedup_over_fastest{x}"]) for x in ("_low", "", "_high"))
        if math.isnan(median):  # the dense model in the fastest dense runtime
            low = median = high = 1.0
        trials[model.key, runtime.name] = LatencyTrial(
            strategy=model.strategy,
            target=model.target,
            epochs=model.epochs,
            seed=model.seed,
            runtime=runtime.name,
            validation=accuracy[0],
            test=accuracy[1],
            ms=float(row["p50_ms"]),
            speedup=median,
            speedup_low=low,
            speedup_high=high,
            conclusion=str(row["conclusion_over_fastest"] or ""),
            fastest_runtime=str(row["fastest_runtime"]),
        )
    return list(trials.values())


def _accuracy(key: str, runtime: str, store: Reader) -> tuple[float, float] | None:
    """The accuracies on the validation and the test images of what a runtime computes."""
    name = RUNTIMES[runtime].format
    if not name or FILE_FORMATS[name].exact:
        result = read_result(store, key, ModelResult)
        return result.validation_accuracy, result.accuracy
    file = known(store, export_stage(key, name).key, ExportResult)
    return (file.validation_accuracy, file.accuracy) if file else None


def fastest(trials: Sequence[LatencyTrial], lowest_accuracy: float) -> LatencyTrial | None:
    """The model with the highest speed-up among those that are surely faster than the dense one.

    Its accuracy on the validation images is at least this fraction. None where no model is.
    """
    suitable = [
        trial
        for trial in trials
        if trial.conclusion == FASTER and trial.validation >= lowest_accuracy - 1e-9
    ]
    return max(suitable, key=lambda trial: trial.speedup, default=None)
