"""Models as tables of text: the assignment's two tables, and one with every figure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

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
    signed,
    signed_bytes,
    trimmed,
)
from pruning_core.methods.strategies import (
    BASELINE,
    BUDGET_CONTROLS,
    CONTROL_TITLE,
    ITERATIVE,
    ONE_SHOT,
    QUANTIZED,
    STRATEGIES,
)
from pruning_core.results.differences import DENSE, with_reference
from pruning_core.results.rows import Row, model_name, row_name, rows_of, with_seed_statistics

# These three lines are the assignment's.
HEADING = "=== PRUNING STRATEGY COMPARISON SUMMARY ==="
ONE_SHOT_HEAD = "Sparsity (%)    Model Size (MB)       Accuracy (%)"
ITERATIVE_HEAD = "Iteration    " + ONE_SHOT_HEAD
MAX_NAMED = 4
# Columns that are shown only where their values differ, and the column they depend on.
OPTIONAL = {"Run": "run_id", "Mean ± SD": "seed"}


@dataclass(frozen=True)
class SummaryRow:
    """A line of the assignment's tables, in percent and MB; `label` names the model."""

    sparsity: float
    model_size: float | None
    accuracy: float | None
    iteration: int = 0
    label: str = ""


def summary_tables(frame: pd.DataFrame) -> str:
    """The assignment's two console tables, for each run and seed.

    Sparsity is that of the prunable weights, the model size that of the sparse file.
    """
    several_runs, several_seeds = frame["run_id"].nunique() > 1, frame["seed"].nunique() > 1
    parts = [HEADING]
    for (_, seed), models in frame.groupby(["run_id", "seed"], sort=False):
        run = f"Run: {models['run'].iloc[0]}" if several_runs else ""
        place = ", ".join(filter(None, [run, f"Seed: {seed}" if several_seeds else ""]))
        parts += [place] if place else []
        parts.append(_summary(models))
    baselines = frame[frame["strategy"] == BASELINE]
    sized = frame if baselines.empty else baselines
    dense = join_words(dict.fromkeys(format_bytes(size) for size in sized["dense_bytes"]))
    parts.append(
        f"Sparsity: of the prunable weights. Model size: of the sparse file (dense file: {dense})."
    )
    return "\n\n".join(parts) + "\n"


def _summary(models: pd.DataFrame) -> str:
    """The assignment's two tables for a run and seed, then all other models."""
    rows = models.sort_values(["iteration", "sparsity_asked"]).to_dict("records")
    by_strategy: dict[str, list[Row]] = {name: [] for name in STRATEGIES}
    for row in rows:
        by_strategy[row["strategy"]].append(row)
    one_shot, iterative = by_strategy.pop(ONE_SHOT), by_strategy.pop(ITERATIVE)
    others = list(by_strategy[BASELINE])
    for name in filter(lambda name: STRATEGIES[name].pruned, by_strategy):
        others += sorted(by_strategy[name], key=lambda r: (r["sparsity_asked"], r["iteration"]))
    chain = [*by_strategy[BASELINE], *iterative]
    tables = two_tables(list(_summary_rows(one_shot)), list(_summary_rows(chain)))
    lines = ["", "", "Also measured:", ONE_SHOT_HEAD]
    lines += [f"{r.sparsity:>8.2f}{_figures(r)}" for r in _summary_rows(others, labelled=True)]
    return tables + "\n".join(lines) + _control_note(one_shot)


def two_tables(one_shot: Sequence[SummaryRow], iterative: Sequence[SummaryRow]) -> str:
    """The one-shot and the iterative table under their headings."""
    lines = ["One-Shot Pruning Results:", ONE_SHOT_HEAD]
    lines += [f"{row.sparsity:>8.2f}{_figures(row)}" for row in one_shot]
    lines += ["", "Iterative Pruning Results:", ITERATIVE_HEAD]
    lines += [f"{row.iteration:>5}{row.sparsity:>19.2f}{_figures(row)}" for row in iterative]
    return "\n".join(lines)


def _figures(row: SummaryRow) -> str:
    label = f"    {row.label}" if row.label else ""
    return f"{_number(row.model_size):>19}{_number(row.accuracy):>20}{label}"


def _number(value: float | None) -> str:
    return "-" if value is None or missing(value) else f"{value:.2f}"


def _summary_rows(rows: Iterable[Row], labelled: bool = False) -> Iterator[SummaryRow]:
    for row in rows:
        yield SummaryRow(
            sparsity=100 * row["sparsity_prunable"],
            model_size=row["sparse_bytes"] / 1e6,
            accuracy=100 * row["accuracy"],
            iteration=row["iteration"],
            label=_label(row) if labelled else "",
        )


def _label(row: Row) -> str:
    """What distinguishes a model among those of "Also measured"."""
    name = model_name(row["strategy"], row["sparsity_asked"], row["iteration"])
    if STRATEGIES[row["strategy"]].removes_channels:
        ratio, step = format_percent(row["sparsity_asked"]), row["iteration"]
        return f"{name}, pruning ratio {ratio}" + f", step {step}" * bool(step)
    if row["strategy"] in BUDGET_CONTROLS:
        return f"{name}, {format_epochs(row['epochs'])}"
    return name


def _control_note(rows: list[Row]) -> str:
    """A sentence on 0 % in the one-shot table; in the assignment's own table it is the baseline."""
    epochs = [format_epochs(row["epochs"]) for row in rows if row["sparsity_asked"] == 0]
    if not epochs:
        return ""
    return f"\nOne-shot at 0.00 is the {CONTROL_TITLE}: no pruning, {epochs[0]} of fine-tuning."


def results_table(frame: pd.DataFrame, reference: str = DENSE) -> pd.DataFrame:
    """Every figure of every model as text; `results.glossary` defines the columns.

    Differences are from the `reference` of `results.differences`. The column Run appears only where
    there are several runs, Mean ± SD only where there are several seeds, MACs only where they were
    counted.
    """
    rows = with_reference(rows_of(with_seed_statistics(frame)), reference)
    table = pd.DataFrame([_cells(row) for row in rows])
    constant = [name for name, key in OPTIONAL.items() if frame[key].nunique() == 1]
    unknown = ["MACs"] if frame["macs"].isna().all() else []
    return table.drop(columns=constant + unknown)


def _cells(row: Row) -> dict[str, object]:
    low, high = format_percent(row["accuracy_low"]), format_percent(row["accuracy_high"])
    return {
        "Run": row["run"],
        "Strategy": row_name(row),
        "Seed": row["seed"],
        "Step": row["iteration"],
        "Target sparsity": format_percent(row["sparsity_asked"]),
        "Sparsity (prunable)": format_percent(row["sparsity_prunable"], 2),
        "Sparsity (conv+linear)": format_percent(row["sparsity_weights"], 2),
        "Sparsity (all parameters)": format_percent(row["sparsity_model"], 2),
        "Accuracy": format_percent(row["accuracy"]),
        "95 % CI": f"{low} to {high}",
        "Mean ± SD": _mean(row),
        "Accuracy drop": format_points(row["accuracy_drop"]),
        "Validation accuracy": format_percent(row["validation_accuracy"]),
        "Difference (points)": signed(row["accuracy_difference"]),
        "Difference (size)": signed_bytes(row["bytes_difference"]),
        "Dense file": format_bytes(row["dense_bytes"]),
        "Sparse file": format_bytes(row["sparse_bytes"]),
        "Compression": f"{format_times(row['compression_ratio'])}x",
        "Non-zero parameters": f"{row['nonzero']:,} of {row['parameters']:,}",
        "MACs": format_macs(row["macs"]),
        "Epochs": epoch_number(row["epochs"]),
        "Time": format_seconds(row["seconds"]),
    }


def _mean(row: Row) -> str:
    if row["seeds"] < 2:
        return ""
    return f"{format_percent(row['accuracy_mean'])} ± {trimmed(100 * row['accuracy_sd'], 2)}"


def model_notes(frame: pd.DataFrame) -> list[str]:
    """Each note on models once, after the names of its models unless it concerns all of them.

    The first tells where models were computed, if on several processors.
    """
    models = frame if frame.empty else frame[~frame["strategy"].isin(QUANTIZED)]
    return machine_notes(frame) + [
        _prefixed(_place(models, models.iloc[numbers]), note)
        for note, numbers in _rows_by_note(models).items()
    ]


def machine_notes(frame: pd.DataFrame) -> list[str]:
    """One sentence where models come from several processors or versions of PyTorch, else none.

    What a result does not hold (older ones have no processor) is no difference.
    """
    if frame.empty or all(len(set(frame[name]) - {""}) < 2 for name in ("processor", "torch")):
        return []
    machines = frame.groupby(["processor", "torch"], sort=False)
    parts = [
        f"{processor or 'a processor that was not recorded'}, PyTorch {torch or 'not recorded'} "
        f"({_place(frame, part)})"
        for (processor, torch), part in machines
    ]
    return [
        f"These models were computed on different machines: {'; '.join(parts)}. The same settings "
        "give other bits on another instruction set or version of PyTorch, so a small difference "
        "between these models can come from the machine."
    ]


def int8_notes(frame: pd.DataFrame) -> list[str]:
    """Each note on int8 files once, after the names of its formats and models."""
    files = frame if frame.empty else frame[frame["strategy"].isin(QUANTIZED)]
    notes = []
    for note, numbers in _rows_by_note(files).items():
        part = files.iloc[numbers]
        strategies = part["strategy"].unique()
        titles = join_words(STRATEGIES[name].title for name in strategies)
        place = _place(files[files["strategy"].isin(strategies)], part)
        notes.append(f"{', '.join(filter(None, [titles, place]))}: {note}")
    return notes


def _rows_by_note(frame: pd.DataFrame) -> dict[str, list[int]]:
    """The numbers of the rows that have each note."""
    numbers: dict[str, list[int]] = {}
    for number, notes in enumerate([] if frame.empty else frame["notes"]):
        for note in notes:
            numbers.setdefault(note, []).append(number)
    return numbers


def _prefixed(place: str, note: str) -> str:
    return f"{place[0].upper()}{place[1:]}: {note}" if place else note


def _place(frame: pd.DataFrame, part: pd.DataFrame) -> str:
    """The runs, seeds or models of a part of the frame; empty where it is the whole frame."""
    if len(part) == len(frame):
        return ""
    places = []
    for run_id, rows in part.groupby("run_id", sort=False):
        run = frame[frame["run_id"] == run_id]
        names = [f'run "{rows["run"].iloc[0]}"'] if frame["run_id"].nunique() > 1 else []
        places.append(", ".join([*names, *_within_run(run, rows)]))
    return "; ".join(places)


def _within_run(run: pd.DataFrame, rows: pd.DataFrame) -> list[str]:
    """The whole seeds and single models that the rows are; empty where they are the whole run."""
    if len(rows) == len(run):
        return []
    seeds = [seed for seed, part in rows.groupby("seed") if len(part) == (run.seed == seed).sum()]
    parts = [f"seed {join_words(map(str, seeds))}"] if seeds else []
    several_seeds = run["seed"].nunique() > 1
    single = rows[~rows["seed"].isin(seeds)].to_dict("records")
    parts += [
        _short_name(row) + f" of seed {row['seed']}" * several_seeds for row in single[:MAX_NAMED]
    ]
    if len(single) > MAX_NAMED:
        parts.append(format_count(len(single) - MAX_NAMED, "more model"))
    return [join_words(parts)]


def _short_name(row: Row) -> str:
    name = row_name(row)
    return f"{name} at {format_percent(row['sparsity_asked'])}" if row["sparsity_asked"] else name
