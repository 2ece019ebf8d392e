"""The points as tables of text: the assignment's two, and one with every figure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pruning_core.common.formatting import (
    epoch_number,
    format_bytes,
    format_count,
    format_epochs,
    format_macs,
    format_percent,
    format_points,
    format_seconds,
    format_times,
    join_words,
    missing,
    trimmed,
)
from pruning_core.methods.strategies import CORRECTION, QUANTIZED, STRATEGIES, STRUCTURED
from pruning_core.results.rows import model_name, over_seeds, row_name, rows_of

HEADING = "=== PRUNING STRATEGY COMPARISON SUMMARY ==="
ONE_SHOT_HEAD = "Sparsity (%)    Model Size (MB)       Accuracy (%)"
ITERATIVE_HEAD = "Iteration    " + ONE_SHOT_HEAD
MOST_NAMED = 4


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
        parts.append(_summary(points))
    own = frame[frame["strategy"] == "baseline"] if "baseline" in set(frame["strategy"]) else frame
    dense = join_words(dict.fromkeys(format_bytes(size) for size in own["dense_bytes"]))
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
    """Every figure of every point as text for people.

    A column Run stands there where there are several runs, MACs where they were counted, and
    Mean ± sd (the mean of the seeds and their standard deviation in points) where there are
    several seeds.
    """
    rows = pd.DataFrame([_readable(row) for row in rows_of(over_seeds(frame))])
    alone = {"Run": "run_id", "Mean ± sd": "seed"}
    exclude = [name for name, key in alone.items() if frame[key].nunique() == 1]
    unknown = ["MACs"] if frame["macs"].isna().all() else []
    return rows.drop(columns=exclude + unknown)


def notes_told(frame: pd.DataFrame) -> list[str]:
    """Each note on a point once, after the name of what it belongs to where that is not all."""
    points = frame if frame.empty else frame[~frame["strategy"].isin(QUANTIZED)]
    return [_told(note, points, points.iloc[rows]) for note, rows in _places(points).items()]


def file_notes_told(frame: pd.DataFrame) -> list[str]:
    """The same of the int8 files of points."""
    files = frame if frame.empty else frame[frame["strategy"].isin(QUANTIZED)]
    return [_told_of(note, files, files.iloc[rows]) for note, rows in _places(files).items()]


def _told_of(note: str, files: pd.DataFrame, part: pd.DataFrame) -> str:
    """A note on int8 files with their kinds in front, and where it is not of all of these."""
    names = part["strategy"].unique()
    kinds = join_words(STRATEGIES[name].title for name in names)
    return _after([kinds, _place(files[files["strategy"].isin(names)], part)], note)


def _places(rows: pd.DataFrame) -> dict[str, list[int]]:
    """The places of the rows that bear each note."""
    found: dict[str, list[int]] = {}
    for place, notes in enumerate([] if rows.empty else rows["notes"]):
        for note in notes:
            found.setdefault(note, []).append(place)
    return found


def _told(note: str, frame: pd.DataFrame, part: pd.DataFrame) -> str:
    """A note with its runs, seeds or points in front."""
    return _after([_place(frame, part)], note)


def _after(places: Iterable[str], note: str) -> str:
    where = ", ".join(filter(None, places))
    return f"{where[0].upper()}{where[1:]}: {note}" if where else note


def _place(frame: pd.DataFrame, part: pd.DataFrame) -> str:
    """The runs, seeds or points that the part is; nothing where it is all of the frame."""
    if len(part) == len(frame):
        return ""
    places = []
    for _, rows in part.groupby("run_id", sort=False):
        own = frame[frame["run_id"] == rows["run_id"].iloc[0]]
        names = [f"run {rows['run'].iloc[0]}"] if frame["run_id"].nunique() > 1 else []
        names += _which(own, rows)
        places.append(", ".join(names))
    return "; ".join(places)


def _which(own: pd.DataFrame, rows: pd.DataFrame) -> list[str]:
    """What the rows are among all of their run: nothing to say, whole seeds, or single points."""
    if len(rows) == len(own):
        return []
    whole = [seed for seed, part in rows.groupby("seed") if len(part) == (own.seed == seed).sum()]
    parts = [f"seed {join_words(map(str, whole))}"] if whole else []
    several = own["seed"].nunique() > 1
    single = rows[~rows["seed"].isin(whole)].to_dict("records")
    parts += [_short_name(row) + f" of seed {row['seed']}" * several for row in single[:MOST_NAMED]]
    if len(single) > MOST_NAMED:
        parts.append(format_count(len(single) - MOST_NAMED, "more point"))
    return [join_words(parts)]


def _short_name(row: dict[str, Any]) -> str:
    name = row_name(row)
    return f"{name} at {format_percent(row['sparsity_asked'])}" if row["sparsity_asked"] else name


def _figures(row: SummaryRow) -> str:
    label = f"    {row.label}" if row.label else ""
    return f"{_number(row.model_size):>19}{_number(row.accuracy):>20}{label}"


def _number(value: float | None) -> str:
    return "-" if value is None or missing(value) else f"{value:.2f}"


def _summary(points: pd.DataFrame) -> str:
    """The two tables of a run and seed, in the assignment's own form, and what it has not."""
    rows = points.sort_values(["iteration", "sparsity_asked"]).to_dict("records")
    found = {s: [r for r in rows if r["strategy"] == s] for s in points["strategy"].unique()}
    chain = [*found.get("baseline", []), *found.get("iterative", [])]
    beside = [*found.get("baseline", []), *found.get("one_shot_equal_budget", [])]
    beside += sorted(found.get(STRUCTURED, []), key=lambda r: (r["sparsity_asked"], r["iteration"]))
    beside += sorted(found.get(CORRECTION, []), key=lambda r: (r["sparsity_asked"], r["iteration"]))
    tables = two_tables(list(_rows(found.get("one_shot", []))), list(_rows(chain)))
    lines = ["", "", "Also measured:", ONE_SHOT_HEAD]
    lines += [f"{row.sparsity:>8.2f}{_figures(row)}" for row in _rows(beside, labelled=True)]
    return tables + "\n".join(lines) + _control(found.get("one_shot", []))


def _control(rows: list[dict[str, Any]]) -> str:
    """What 0 % in the one-shot table is; the assignment's own is the baseline."""
    epochs = [format_epochs(r["epochs"]) for r in rows if r["sparsity_asked"] == 0]
    return f"\nOne-shot at 0.00 is the dense control: no cut, {epochs[0]} more." if epochs else ""


def _rows(rows: Iterable[dict[str, Any]], labelled: bool = False) -> Iterator[SummaryRow]:
    for row in rows:
        yield SummaryRow(
            sparsity=100 * row["sparsity_prunable"],
            model_size=row["sparse_bytes"] / 1e6,
            accuracy=100 * row["accuracy"],
            iteration=row["iteration"],
            label=_label(row) if labelled else "",
        )


def _label(row: dict[str, Any]) -> str:
    if row["strategy"] == "baseline":
        return "baseline"
    if row["strategy"] == STRUCTURED:
        asked, step = format_percent(row["sparsity_asked"]), row["iteration"]
        return f"channels removed, asked {asked}" + f", step {step}" * bool(step)
    if row["strategy"] == CORRECTION:
        return model_name(CORRECTION, row["sparsity_asked"], row["iteration"])
    epochs = format_epochs(row["epochs"])
    return f"one-shot, {epochs}" if row["strategy"] == "one_shot_equal_budget" else ""


def _mean(row: dict[str, Any]) -> str:
    if row["seeds"] < 2:
        return ""
    return f"{format_percent(row['accuracy_mean'])} ± {trimmed(100 * row['accuracy_sd'], 2)}"


def _readable(row: dict[str, Any]) -> dict[str, Any]:
    low, high = format_percent(row["accuracy_low"]), format_percent(row["accuracy_high"])
    return {
        "Run": row["run"],
        "Strategy": row_name(row),
        "Seed": row["seed"],
        "Step": row["iteration"],
        "Asked": format_percent(row["sparsity_asked"]),
        "Of prunable": format_percent(row["sparsity_prunable"], 2),
        "Of weights": format_percent(row["sparsity_weights"], 2),
        "Of model": format_percent(row["sparsity_model"], 2),
        "Accuracy": format_percent(row["accuracy"]),
        "95 % interval": f"{low} to {high}",
        "Mean ± sd": _mean(row),
        "Drop": format_points(row["accuracy_drop"]),
        "Dense file": format_bytes(row["dense_bytes"]),
        "Sparse file": format_bytes(row["sparse_bytes"]),
        "Ratio": format_times(row["compression_ratio"]),
        "Not zero": f"{row['nonzero']:,} of {row['parameters']:,}",
        "MACs": format_macs(row["macs"]),
        "Epochs": epoch_number(row["epochs"]),
        "Time": format_seconds(row["seconds"]),
    }
