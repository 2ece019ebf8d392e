"""The points as tables of text: the assignment's two, and one with every figure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pruning_core.points import point_name
from pruning_core.text import (
    format_bytes,
    format_count,
    format_percent,
    format_points,
    format_seconds,
    format_times,
    join_words,
    missing,
)

HEADING = "=== PRUNING STRATEGY COMPARISON SUMMARY ==="
ONE_SHOT_HEAD = "Sparsity (%)    Model Size (MB)       Accuracy (%)"
ITERATIVE_HEAD = "Iteration    " + ONE_SHOT_HEAD


@dataclass(frozen=True)
class SummaryRow:
    """A line of the assignment's tables, in percent and MB; `label` says what is special."""

    sparsity: float
    model_size: float | None
    accuracy: float | None
    iteration: int = 0
    label: str = ""


def summary_tables(frame: pd.DataFrame) -> str:
    """The assignment's two console tables, for each run and seed.

    Sparsity is of the prunable weights, the model size is that of the sparse file.
    """
    several_runs, several_seeds = frame["run_id"].nunique() > 1, frame["seed"].nunique() > 1
    parts = [HEADING]
    for (_, seed), points in frame.groupby(["run_id", "seed"], sort=False):
        run = f"Run: {points['run'].iloc[0]}" if several_runs else ""
        place = ", ".join(filter(None, [run, f"Seed: {seed}" if several_seeds else ""]))
        parts += [place] if place else []
        parts.append(two_tables(*_summary_rows(points)))
    dense = join_words(dict.fromkeys(format_bytes(size) for size in frame["dense_bytes"]))
    parts.append(
        "Sparsity is of the prunable weights; the model size is that of the sparse file "
        f"(dense file: {dense})."
    )
    return "\n\n".join(parts) + "\n"


def two_tables(one_shot: Sequence[SummaryRow], iterative: Sequence[SummaryRow]) -> str:
    """The one-shot and the iterative table under their headings."""
    lines = ["One-Shot Pruning Results:", ONE_SHOT_HEAD]
    lines += [f"{row.sparsity:>8.2f}{_figures(row)}" for row in one_shot]
    lines += ["", "Iterative Pruning Results:", ITERATIVE_HEAD]
    lines += [f"{row.iteration:>5}{row.sparsity:>19.2f}{_figures(row)}" for row in iterative]
    return "\n".join(lines)


def readable(frame: pd.DataFrame) -> pd.DataFrame:
    """Every figure of every point as text for people; a Run column where there are several."""
    rows = pd.DataFrame([_readable(row) for row in frame.to_dict("records")])
    return rows if frame["run_id"].nunique() > 1 else rows.drop(columns="Run")


def _figures(row: SummaryRow) -> str:
    label = f"    {row.label}" if row.label else ""
    return f"{_number(row.model_size):>19}{_number(row.accuracy):>20}{label}"


def _number(value: float | None) -> str:
    return "-" if value is None or missing(value) else f"{value:.2f}"


def _summary_rows(points: pd.DataFrame) -> tuple[list[SummaryRow], list[SummaryRow]]:
    rows = points.to_dict("records")
    one_shot = [r for r in rows if r["strategy"] == "one_shot"]
    matched = [r for r in rows if r["strategy"] == "one_shot_matched"]
    baseline = [r for r in rows if r["strategy"] == "baseline"]
    chain = [r for r in rows if r["strategy"] == "iterative"]
    first = [*baseline, *sorted(one_shot, key=lambda r: r["sparsity_asked"]), *matched]
    second = [*baseline, *sorted(chain, key=lambda r: r["iteration"])]
    return list(_rows(first)), list(_rows(second))


def _rows(rows: Iterable[dict[str, Any]]) -> Iterator[SummaryRow]:
    for row in rows:
        yield SummaryRow(
            sparsity=100 * row["sparsity_prunable"],
            model_size=row["sparse_bytes"] / 1e6,
            accuracy=100 * row["accuracy"],
            iteration=row["iteration"],
            label=_label(row),
        )


def _label(row: dict[str, Any]) -> str:
    if row["strategy"] == "baseline":
        return "baseline"
    epochs = format_count(row["epochs"], "epoch")
    if row["strategy"] == "one_shot_matched":
        return f"matched: the iterative run's {epochs}"
    if row["strategy"] == "one_shot" and row["sparsity_asked"] == 0:
        return f"dense control, {epochs}"
    return ""


def _readable(row: dict[str, Any]) -> dict[str, Any]:
    low, high = format_percent(row["accuracy_low"]), format_percent(row["accuracy_high"])
    return {
        "Run": row["run"],
        "Strategy": point_name(row["strategy"], row["sparsity_asked"]),
        "Seed": row["seed"],
        "Step": row["iteration"],
        "Asked": format_percent(row["sparsity_asked"]),
        "Of prunable": format_percent(row["sparsity_prunable"], 2),
        "Of weights": format_percent(row["sparsity_weights"], 2),
        "Of model": format_percent(row["sparsity_model"], 2),
        "Accuracy": format_percent(row["accuracy"]),
        "95 % interval": f"{low} to {high}",
        "Drop": format_points(row["accuracy_drop"]),
        "Dense file": format_bytes(row["dense_bytes"]),
        "Sparse file": format_bytes(row["sparse_bytes"]),
        "Ratio": format_times(row["compression_ratio"]),
        "Not zero": f"{row['nonzero']:,} of {row['parameters']:,}",
        "Epochs": format_times(row["epochs"]),
        "Time": format_seconds(row["seconds"]),
    }
