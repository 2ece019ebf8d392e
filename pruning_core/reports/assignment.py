"""The assignment's own two functions, on the results of its two classes.

Here, as in the assignment, sparsity and accuracy are percent and sizes are MB. An accuracy
may be missing or None. `one_shot_results` is a list of dicts (`amount`, `sparsity`,
`model_size`, `accuracy`), one such dict, a dict from amount to such dicts, or a dict of
lists; `iterative_results` is a list of dicts (`iteration`, `sparsity`, `model_size`,
`accuracy`). The baseline is iteration 0, else the entry with amount 0, else the first.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from pruning_core.reports.charts.comparison import CHARTS, comparison_panel, config
from pruning_core.reports.charts.references import Reference
from pruning_core.reports.image_export import FORMATS, chrome_found, image_bytes
from pruning_core.results.tables import HEADING, SummaryRow, two_tables

Result = Mapping[str, Any]
Results = Sequence[Result] | Mapping[Any, Any]
NAN = float("nan")
PANELS = {
    "accuracy": replace(CHARTS["accuracy"], subtitle="share of test images that are right"),
    "size": replace(CHARTS["size"], references=lambda frame: []),
    "drop": replace(CHARTS["drop"], subtitle="baseline minus point"),
    "ratio": replace(
        CHARTS["ratio"],
        subtitle="baseline's size divided by this size",
        references=lambda frame: [Reference("baseline", 1.0)],
    ),
}


def compare_pruning_strategies(
    one_shot_results: Results,
    iterative_results: Results,
    save_path: str | Path | None = None,
) -> go.Figure:
    """The four panels, each against the sparsity of the whole model.

    `save_path` ends in .html, .png, .svg or .pdf; all but .html need Chrome, and where there
    is none a warning says so and the figure is written as .html. Raises ValueError for other
    endings and where there are no results.
    """
    drawn = comparison_panel(_frame(one_shot_results, iterative_results), "sparsity_model", PANELS)
    if save_path is not None:
        _save(drawn, Path(save_path))
    return drawn


def print_summary_table(one_shot_results: Results, iterative_results: Results) -> None:
    """Print the assignment's two tables; iteration 0 is the baseline."""
    one_shot = _records(one_shot_results, "one_shot_results")
    iterative = _records(iterative_results, "iterative_results")
    baseline = {**_baseline(one_shot, iterative), "iteration": 0}
    chain = iterative if _starts_at_zero(iterative) else [baseline, *iterative]
    rows = [_summary(record) for record in one_shot], [_summary(record) for record in chain]
    print(f"{HEADING}\n\n{two_tables(*rows)}")


def _records(results: Results, name: str) -> list[dict[str, Any]]:
    """The results as a list of dicts, whichever form they came in."""
    if isinstance(results, Mapping):
        records = _from_mapping(results)
    else:
        records = [dict(result) for result in results]
    for i, record in enumerate(records):
        if "sparsity" not in record:
            raise ValueError(
                f"Result {i + 1} of {name} has no 'sparsity'; give the dicts that prune() returns."
            )
    return records


def _from_mapping(results: Mapping[Any, Any]) -> list[dict[str, Any]]:
    if all(isinstance(value, Mapping) for value in results.values()):
        return [{"amount": amount, **result} for amount, result in results.items()]
    if isinstance(results.get("sparsity"), Sequence):
        columns = results.values()
        return [dict(zip(results, row, strict=True)) for row in zip(*columns, strict=True)]
    return [dict(results)]


def _starts_at_zero(iterative: Sequence[Result]) -> bool:
    return bool(iterative) and iterative[0].get("iteration") == 0


def _baseline(one_shot: Sequence[Result], iterative: Sequence[Result]) -> Result:
    if _starts_at_zero(iterative):
        return iterative[0]
    uncut = [record for record in one_shot if record.get("amount") == 0]
    candidates = [*uncut, *one_shot, *iterative]
    if not candidates:
        raise ValueError("There are no results to compare; both lists are empty.")
    return candidates[0]


def _summary(record: Result) -> SummaryRow:
    return SummaryRow(
        sparsity=float(record["sparsity"]),
        model_size=record.get("model_size"),
        accuracy=record.get("accuracy"),
        iteration=int(record.get("iteration", 0)),
    )


def _frame(one_shot_results: Results, iterative_results: Results) -> pd.DataFrame:
    """The results as points, so that the charts of the lab can draw them."""
    one_shot = _records(one_shot_results, "one_shot_results")
    iterative = _records(iterative_results, "iterative_results")
    baseline = _baseline(one_shot, iterative)
    rows = [_point("baseline", baseline, baseline)]
    rows += [_point("one_shot", r, baseline) for r in one_shot if r.get("amount") != 0]
    rows += [_point("iterative", r, baseline) for r in iterative if r.get("iteration") != 0]
    return pd.DataFrame(rows)


def _point(strategy: str, record: Result, baseline: Result) -> dict[str, Any]:
    accuracy, size = _number(record, "accuracy") / 100, _number(record, "model_size") * 1e6
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
        "accuracy_drop": _number(baseline, "accuracy") / 100 - accuracy,
        "sparse_bytes": size,
        "compression_ratio": _number(baseline, "model_size") * 1e6 / size if size else NAN,
        "notes": [],
    }


def _number(record: Result, name: str) -> float:
    value = record.get(name)
    return NAN if value is None else float(value)


def _save(drawn: go.Figure, path: Path) -> None:
    ending = path.suffix.lower()[1:]
    if ending not in (*FORMATS, "html"):
        known = ", ".join(f".{name}" for name in ("html", *FORMATS))
        raise ValueError(f"save_path: {path} ends in none of {known}.")
    path.parent.mkdir(parents=True, exist_ok=True)
    if ending != "html" and not chrome_found():
        instead = path.with_suffix(".html")
        warnings.warn(f"{path} needs Chrome or Chromium; {instead} is written.", stacklevel=3)
        path, ending = instead, "html"
    if ending == "html":
        drawn.write_html(path, include_plotlyjs=True, config=config(path.stem))
    else:
        path.write_bytes(image_bytes(drawn, ending))
