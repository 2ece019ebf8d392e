"""How fast finished models run on this machine: the stages that time them, and their tables.

A new runtime is one entry in `RUNTIMES`, and one in `engine.speed.runtimes.OPENERS`.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from pruning_core.common.formatting import format_times
from pruning_core.common.paired_timing import JUDGEMENTS
from pruning_core.methods.runtimes import (
    RUNTIMES,
)
from pruning_core.planning.stage import Outline, PlannedModel, Reader, Stage, known
from pruning_core.results.models import titles
from pruning_core.storage.jobs import Job

COLUMNS = {
    "runtime": "runtime",
    "batch": "images_at_a_time",
    "threads": "threads",
    "image_size": "image_size_pixels",
    "bytes": "file_bytes",
    "p10_ms": "p10_ms",
    "p50_ms": "p50_ms",
    "p90_ms": "p90_ms",
    "images_per_second": "images_per_second",
    "rounds": "rounds",
    "ratio": "times_as_fast",
    "ratio_low": "times_as_fast_low",
    "ratio_high": "times_as_fast_high",
    "judgement": "judgement",
    "first_ratio": "times_as_fast_as_first",
    "first_ratio_low": "times_as_fast_as_first_low",
    "first_ratio_high": "times_as_fast_as_first_high",
    "first_judgement": "judgement_to_first",
    "first_runtime": "first_runtime",
    "role": "role",
    "point": "point",
}


def latency_frame(
    stages: Iterable[Stage], store: Reader, names: Mapping[str, str] | None = None
) -> pd.DataFrame:
    """What finished stages found: a row a model, runtime, batch and number of threads.

    Columns: `model` (its name in `names`, by key), `runtime_title`, `judgement_text`, and the
    values of `COLUMNS`. Times are milliseconds of a call with so many images. `times_as_fast`
    is against the dense model in the same runtime, with its 95 % interval: what pruning
    changed. `times_as_fast_as_first` is against the dense model in `first_runtime`:
    what pruning and kind of file changed together. Both are missing where there is nothing to
    compare with. `role` is dense, candidate or control, which is the dense model timed against
    itself: what this machine makes of no difference.
    """
    rows = [row for stage in stages for row in _result(store, stage.key).get("rows", [])]
    if not rows:
        return pd.DataFrame(columns=["model", "runtime_title", *COLUMNS.values()])
    frame = pd.DataFrame(rows)[list(COLUMNS)].rename(columns=COLUMNS)
    models = frame["point"].map(lambda key: (names or {}).get(key, key[:12]))
    frame.insert(0, "model", models)
    frame.insert(1, "runtime_title", frame["runtime"].map(lambda name: RUNTIMES[name].title))
    frame["judgement_text"] = frame["judgement"].map(JUDGEMENTS).fillna("")
    return frame


def notes(stages: Iterable[Stage], store: Reader) -> list[str]:
    """What is to be known of the times, in sentences."""
    found = [note for stage in stages for note in _result(store, stage.key).get("notes", [])]
    return list(dict.fromkeys(found))


def circumstances(stages: Iterable[Stage], store: Reader) -> dict[str, Any]:
    """On what the first finished stage ran: machine, processor, cores, versions; or nothing."""
    found = (_result(store, stage.key).get("circumstances") for stage in stages)
    return next((value for value in found if value), {})


def _result(store: Reader, key: str) -> dict[str, Any]:
    return known(store, key) or {}


def model_names(job: Job, models: Sequence[PlannedModel]) -> dict[str, str]:
    """What the points of a job are called, by key."""
    named = titles(Outline.from_json(job.outline))
    return {point.key: named[point.key][0] for point in models}


def ratio_text(row: Mapping[Hashable, Any]) -> str:
    """A row's ratio with its interval and what may be told of it; empty for the dense model."""
    low, high = row["times_as_fast_low"], row["times_as_fast_high"]
    if pd.isna(row["times_as_fast"]):
        return ""
    span = f"{format_times(low)} to {format_times(high)}"
    return f"{format_times(row['times_as_fast'])} ({span}), {row['judgement_text']}"
