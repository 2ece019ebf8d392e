"""The latency of finished models on this machine, as a table."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from pruning_core.common.formatting import format_times
from pruning_core.common.paired_timing import JUDGEMENTS
from pruning_core.methods.runtimes import RUNTIMES
from pruning_core.planning.measurement_types import LatencyResult
from pruning_core.planning.stage import Outline, PlannedModel, Reader, Stage, known
from pruning_core.results.models import titles
from pruning_core.storage.job_record import Job

# What a stage stores, and the column that holds it.
COLUMNS = {
    "runtime": "runtime",
    "batch": "batch_size",
    "threads": "threads",
    "image_size": "image_size",
    "bytes": "file_bytes",
    "p10_ms": "p10_ms",
    "p50_ms": "p50_ms",
    "p90_ms": "p90_ms",
    "images_per_second": "images_per_second",
    "rounds": "rounds",
    "ratio": "speedup",
    "ratio_low": "speedup_low",
    "ratio_high": "speedup_high",
    "judgement": "conclusion",
    "first_ratio": "speedup_over_first",
    "first_ratio_low": "speedup_over_first_low",
    "first_ratio_high": "speedup_over_first_high",
    "first_judgement": "conclusion_over_first",
    "first_runtime": "first_runtime",
    "fastest_ratio": "speedup_over_fastest",
    "fastest_ratio_low": "speedup_over_fastest_low",
    "fastest_ratio_high": "speedup_over_fastest_high",
    "fastest_judgement": "conclusion_over_fastest",
    "fastest_runtime": "fastest_runtime",
    "role": "role",
    "point": "key",
    "processor": "processor",
}
# The end of the columns that compare with the dense model in the fastest dense runtime.
OVER_FASTEST = "_over_fastest"
ROLE_SUFFIXES = {"control": " (control)", "reference": " (reference)"}


def latency_frame(
    stages: Iterable[Stage], store: Reader, names: Mapping[str, str] | None = None
) -> pd.DataFrame:
    """The measured latencies: a row for each model, runtime, batch size and number of threads.

    Columns: `model` (its name in `names`, by key), `runtime_title`, `conclusion_text`,
    `conclusion_over_fastest_text` and the values of `COLUMNS`. Times are milliseconds of one call
    with a batch of images. `speedup` is that over the dense model in the same runtime, with its
    95 % interval: the effect of pruning.
    `speedup_over_first` is that over the dense model in `first_runtime`: the effect of pruning
    and of the file format together. Both are missing without a dense model to compare with.
    `speedup_over_fastest` is that over the dense model in `fastest_runtime`, the fastest of the
    dense runtimes; it is missing where they were not timed beside this one.
    `role` is dense, candidate, control or reference; the control is the dense model timed against
    itself, which shows the noise of this machine, a reference the dense model in another backend.
    """
    rows = [
        {**row, "processor": result.circumstances["processor"]}
        for result in _finished(stages, store)
        for row in result.rows
    ]
    if not rows:
        return pd.DataFrame(columns=["model", "runtime_title", *COLUMNS.values()])
    frame = pd.DataFrame(rows)[list(COLUMNS)].rename(columns=COLUMNS)
    models = frame["key"].map(lambda key: (names or {}).get(key, key[:12]))
    frame.insert(0, "model", models)
    frame.insert(1, "runtime_title", frame["runtime"].map(RUNTIMES.titles))
    for over in ("", OVER_FASTEST):
        frame[f"conclusion{over}_text"] = frame[f"conclusion{over}"].map(JUDGEMENTS).fillna("")
    return frame


def latency_notes(stages: Iterable[Stage], store: Reader) -> list[str]:
    """The notes of finished stages, each once."""
    notes = [note for result in _finished(stages, store) for note in result.notes]
    return list(dict.fromkeys(notes))


def environment(stages: Iterable[Stage], store: Reader) -> dict[str, Any]:
    """Where the first finished stage ran: machine, processor, cores and versions; else empty."""
    return next((result.circumstances for result in _finished(stages, store)), {})


def _finished(stages: Iterable[Stage], store: Reader) -> list[LatencyResult]:
    results = (known(store, stage.key, LatencyResult) for stage in stages)
    return [result for result in results if result]


def model_names(job: Job, models: Sequence[PlannedModel]) -> dict[str, str]:
    """The short names of models of a job, by key."""
    named = titles(Outline.from_json(job.outline))
    return {model.key: named[model.key][0] for model in models}


def speedup_text(row: Mapping[Hashable, Any], over: str = "") -> str:
    """The speed-up of a row with its 95 % interval and conclusion; empty where it has none.

    `over` is the end of the columns: "" for the dense model in the same runtime.
    """
    speedup, low, high = (row[f"speedup{over}{end}"] for end in ("", "_low", "_high"))
    if pd.isna(speedup):
        return ""
    interval = f"{format_times(low)} to {format_times(high)}"
    return f"{format_times(speedup)}x ({interval}), {row[f'conclusion{over}_text']}"
