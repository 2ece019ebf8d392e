"""The grey lines across a chart: the baseline, the dense control, the dense file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import fmean

from pruning_core.common.formatting import format_bytes, format_percent, missing
from pruning_core.results.rows import Row, grouped, is_control


@dataclass(frozen=True)
class Reference:
    """A grey line across the plot, and its name."""

    name: str
    value: float
    dash: str = "dash"


def accuracy_references(points: list[Row]) -> list[Reference]:
    """The accuracy, in percent, of the baseline and of the dense control."""
    return [
        Reference(
            f"{name} {format_percent(mean)}" if name == "baseline" else name, 100 * mean, dash
        )
        for name, mean, dash in _means(points, "accuracy")
    ]


def drop_references(points: list[Row]) -> list[Reference]:
    """The accuracy drop, in points, of the baseline (none) and of the dense control."""
    return [Reference(n, 100 * mean, dash) for n, mean, dash in _means(points, "accuracy_drop")]


def size_references(points: list[Row]) -> list[Reference]:
    """The size of the dense file in MB, the same at every sparsity of a mask.

    It is the baseline's: where channels were removed a model's own dense file is smaller. Frames
    without a baseline take what there is.
    """
    runs = grouped(points, "run_id")
    own = [[row for row in run if row["strategy"] == "baseline"] or run for run in runs]
    sizes = [_mean(rows, "dense_bytes") for rows in own]
    return [
        Reference(f"dense file<br>{format_bytes(size)}", size / 1e6)
        for size in sizes
        if size is not None
    ]


def ratio_references(points: list[Row]) -> list[Reference]:
    """The ratio of a file that is no smaller."""
    return [Reference("dense file", 1.0)]


def _means(points: list[Row], column: str) -> Iterator[tuple[str, float, str]]:
    for run in grouped(points, "run_id"):
        baselines = [row for row in run if row["strategy"] == "baseline"]
        controls = [row for row in run if is_control(row)]
        for name, rows, dash in (
            ("baseline", baselines, "dash"),
            ("dense control", controls, "dot"),
        ):
            if (mean := _mean(rows, column)) is not None:
                yield name, mean, dash


def _mean(rows: list[Row], column: str) -> float | None:
    known = [row[column] for row in rows if not missing(row[column])]
    return fmean(known) if known else None
