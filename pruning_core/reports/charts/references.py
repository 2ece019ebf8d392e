"""The grey reference lines of a comparison: the baseline, the dense control, the dense file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import fmean

from pruning_core.common.formatting import format_bytes, format_percent, missing
from pruning_core.methods.strategies import BASELINE
from pruning_core.results.rows import Row, grouped, is_control

CONTROL = "fine-tuned<br>dense control"


@dataclass(frozen=True)
class Reference:
    """A grey line across the plot, and its name."""

    name: str
    value: float
    dash: str = "dash"


def accuracy_references(rows: list[Row]) -> list[Reference]:
    """The accuracy of the baseline and of the fine-tuned dense control, in percent."""
    return [
        Reference(f"{name} {format_percent(mean)}" if name == BASELINE else name, 100 * mean, dash)
        for name, mean, dash in _means(rows, "accuracy")
    ]


def drop_references(rows: list[Row]) -> list[Reference]:
    """The accuracy drop of the baseline (0) and of the dense control, in percentage points."""
    return [Reference(name, 100 * mean, dash) for name, mean, dash in _means(rows, "accuracy_drop")]


def size_references(rows: list[Row]) -> list[Reference]:
    """The size of the dense file in MB, equal at every sparsity of a mask.

    It is that of the baseline, because the dense file of a structured model is smaller. Rows
    without a baseline give the mean of their dense files.
    """
    runs = grouped(rows, "run_id")
    dense = [[row for row in run if row["strategy"] == BASELINE] or run for run in runs]
    sizes = [_mean(run, "dense_bytes") for run in dense]
    return [
        Reference(f"dense file<br>{format_bytes(size)}", size / 1e6)
        for size in sizes
        if size is not None
    ]


def ratio_references(rows: list[Row]) -> list[Reference]:
    """The compression ratio of the dense file: 1."""
    return [Reference("dense file", 1.0)]


def _means(rows: list[Row], column: str) -> Iterator[tuple[str, float, str]]:
    """For each run the name, mean and dash of its baseline and its dense control."""
    for run in grouped(rows, "run_id"):
        baselines = [row for row in run if row["strategy"] == BASELINE]
        controls = [row for row in run if is_control(row)]
        for name, dense, dash in ((BASELINE, baselines, "dash"), (CONTROL, controls, "dot")):
            if (mean := _mean(dense, column)) is not None:
                yield name, mean, dash


def _mean(rows: list[Row], column: str) -> float | None:
    known = [row[column] for row in rows if not missing(row[column])]
    return fmean(known) if known else None
