"""The assignment's functions `compare_pruning_strategies` and `print_summary_table`.

They take what the `prune` of its two classes returns. As in the assignment, sparsity and
accuracy are percent and sizes are MB; an accuracy may be missing or None. `one_shot_results` is
a list of dicts (`amount`, `sparsity`, `model_size`, `accuracy`), one such dict, a dict from
amount to such dicts, or a dict of lists. `iterative_results` is a list of dicts (`iteration`,
`sparsity`, `model_size`, `accuracy`). The baseline is iteration 0, else the model with amount 0;
without either, there is no accuracy drop and no compression ratio.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from pruning_core.reports.charts.comparison import CHARTS, comparison_panel
from pruning_core.reports.charts.references import Reference
from pruning_core.reports.charts.style import chart_config
from pruning_core.reports.image_export import FORMATS, panel_image
from pruning_core.results.tables import HEADING, SummaryRow, two_tables

Result = Mapping[str, Any]
Results = Sequence[Result] | Mapping[Any, Any]
NAN = float("nan")
AXIS = "sparsity_model"
PANELS = {
    "accuracy": replace(CHARTS["accuracy"], subtitle="share of test images classified correctly"),
    "size": replace(CHARTS["size"], references=lambda rows: []),
    "drop": replace(CHARTS["drop"], subtitle="baseline minus model"),
    "ratio": replace(
        CHARTS["ratio"],
        subtitle="size of the baseline / size of the model",
        references=lambda rows: [Reference("baseline", 1.0)],
    ),
}


def compare_pruning_strategies(
    one_shot_results: Results,
    iterative_results: Results,
    save_path: str | Path | None = None,
) -> go.Figure:
    """Four charts over the sparsity of all parameters, as one figure.

    `save_path` ends in .html or one of FORMATS: .png, .svg, .pdf, .jpg or .webp. Raises
    `ValueError` for another ending and for empty results, and `ImageError` if an image cannot be
    drawn.
    """
    frame = _frame(one_shot_results, iterative_results)
    figure = comparison_panel(frame, AXIS, PANELS)
    if save_path is not None:
        _save(frame, figure, Path(save_path))
    return figure


def print_summary_table(one_shot_results: Results, iterative_results: Results) -> None:
    """Print the assignment's two tables. Raises `ValueError` for empty results."""
    one_shot = _records(one_shot_results, "one_shot_results")
    iterative = _records(iterative_results, "iterative_results")
    baseline = _baseline(one_shot, iterative)
    iterations = iterative
    if baseline and not _has_baseline(iterative):
        iterations = [{**baseline, "iteration": 0}, *iterative]
    rows = [_summary(record) for record in one_shot], [_summary(record) for record in iterations]
    print(f"{HEADING}\n\n{two_tables(*rows)}")


def _records(results: Results, name: str) -> list[dict[str, Any]]:
    """Results of any form as a list of dicts. Raises `ValueError` for one without sparsity."""
    if isinstance(results, Mapping):
        records = _from_mapping(results)
    else:
        records = [dict(result) for result in results]
    for i, record in enumerate(records):
        if "sparsity" not in record:
            raise ValueError(
                f"Result {i + 1} of {name} has no 'sparsity'. Pass the dicts that prune() returns."
            )
    return records


def _from_mapping(results: Mapping[Any, Any]) -> list[dict[str, Any]]:
    if all(isinstance(value, Mapping) for value in results.values()):
        return [{"amount": amount, **result} for amount, result in results.items()]
    if isinstance(results.get("sparsity"), Sequence):
        columns = results.values()
        return [dict(zip(results, row, strict=True)) for row in zip(*columns, strict=True)]
    return [dict(results)]


def _has_baseline(iterative: Sequence[Result]) -> bool:
    return bool(iterative) and iterative[0].get("iteration") == 0


def _baseline(one_shot: Sequence[Result], iterative: Sequence[Result]) -> Result | None:
    """The result of the dense model, if there is one. Raises `ValueError` for empty results."""
    if not one_shot and not iterative:
        raise ValueError("No results to compare: both lists are empty.")
    if _has_baseline(iterative):
        return iterative[0]
    return next((record for record in one_shot if record.get("amount") == 0), None)


def _summary(record: Result) -> SummaryRow:
    return SummaryRow(
        sparsity=float(record["sparsity"]),
        model_size=record.get("model_size"),
        accuracy=record.get("accuracy"),
        iteration=int(record.get("iteration", 0)),
    )


def _frame(one_shot_results: Results, iterative_results: Results) -> pd.DataFrame:
    """The results as a frame with the columns that the charts of a comparison read."""
    one_shot = _records(one_shot_results, "one_shot_results")
    iterative = _records(iterative_results, "iterative_results")
    baseline = _baseline(one_shot, iterative)
    rows = [_row("baseline", baseline, baseline)] if baseline else []
    rows += [_row("one_shot", r, baseline) for r in one_shot if r.get("amount") != 0]
    rows += [_row("iterative", r, baseline) for r in iterative if r.get("iteration") != 0]
    return pd.DataFrame(rows)


def _row(strategy: str, record: Result, baseline: Result | None) -> dict[str, Any]:
    accuracy, size = _number(record, "accuracy") / 100, _number(record, "model_size") * 1e6
    dense = baseline or {}
    unknown = ("sparsity_prunable", "sparsity_weights", "accuracy_low", "accuracy_high")
    return {
        **dict.fromkeys((*unknown, "dense_bytes", "epochs", "seconds"), NAN),
        "strategy": strategy,
        "run": "",
        "run_id": "",
        "seed": 0,
        "iteration": int(record.get("iteration", 0)),
        "sparsity_asked": _number(record, "amount"),
        "sparsity_model": _number(record, "sparsity") / 100,
        "accuracy": accuracy,
        "accuracy_drop": _number(dense, "accuracy") / 100 - accuracy,
        "sparse_bytes": size,
        "compression_ratio": _number(dense, "model_size") * 1e6 / size if size else NAN,
        "notes": [],
    }


def _number(record: Result, name: str) -> float:
    value = record.get(name)
    return NAN if value is None else float(value)


def _save(frame: pd.DataFrame, figure: go.Figure, path: Path) -> None:
    ending = path.suffix.lower()[1:]
    if ending not in (*FORMATS, "html"):
        known = ", ".join(f".{name}" for name in ("html", *FORMATS))
        raise ValueError(f"save_path: {path} must end in {known}.")
    path.parent.mkdir(parents=True, exist_ok=True)
    if ending == "html":
        figure.write_html(path, include_plotlyjs=True, config=chart_config(path.stem))
    else:
        path.write_bytes(panel_image(frame, ending, AXIS, PANELS))
