"""The assignment's functions `compare_pruning_strategies` and `print_summary_table`.

They take what the `prune` of its two classes returns. As in the assignment, sparsity and
accuracy are percent and sizes are MB; an accuracy may be missing or None. `one_shot_results` is
a list of dicts (`amount`, `sparsity`, `model_size`, `accuracy`), one such dict, a dict from
amount to such dicts, or a table: a dict of lists or arrays, or a data frame. `iterative_results`
is the list of dicts (`iteration`, `sparsity`, `model_size`, `accuracy`) of `IterativePruning`, or
another of these forms. Numbers may be those of NumPy and torch. A warning says what looks like
fractions instead of percent, and what is left out.

The baseline is the dense model: iteration 0, else the model with amount 0, which also fills in
what iteration 0 lacks. Accuracy drops and
compression ratios are over it; without either there are none. A pruned model is never the
baseline: where iteration 0 is clearly sparser than another model, the iterations count as numbered
from 0 instead of 1, and dicts without `iteration` are numbered from 1.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from pruning_core.common.errors import SpecError
from pruning_core.reports.charts.comparison import CHARTS, comparison_panel
from pruning_core.reports.charts.references import Reference
from pruning_core.reports.charts.style import chart_config
from pruning_core.reports.image_export import FORMATS, panel_image
from pruning_core.results.tables import HEADING, SummaryRow, two_tables

Results: TypeAlias = Sequence[Mapping[str, Any]] | Mapping[Any, Any] | pd.DataFrame
Record = dict[str, float]
NAMES = ("amount", "iteration", "sparsity", "model_size", "accuracy")
# Percentage points. Zeros of a dense model, such as biases, can change in training.
SAME_SPARSITY = 5.0
HIGHEST = 100 * (1 + 1e-6)  # percent, as float32 may round it
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

    `save_path` ends in .html or one of FORMATS: .png, .svg, .pdf, .jpg, .jpeg or .webp. Raises
    `ValueError` for another ending, for a file that cannot be written and for empty results, and
    `ImageError` if an image cannot be drawn.
    """
    path = None if save_path is None else _path(save_path)
    one_shot, iterative, baseline = _all_records(one_shot_results, iterative_results)
    for name, chart in (("accuracy", "accuracy drop"), ("model_size", "compression ratio")):
        if name not in (baseline or {}):
            warnings.warn(
                f"No result is the dense model (amount 0, or iteration 0) with its {name}, so the "
                f"chart of the {chart} is empty.",
                stacklevel=2,
            )
    frame = _frame(one_shot, iterative, baseline)
    figure = comparison_panel(frame, AXIS, PANELS)
    if path is not None:
        _save(frame, figure, path)
    return figure


def print_summary_table(one_shot_results: Results, iterative_results: Results) -> None:
    """Print the assignment's two tables. Raises `ValueError` for empty and for other results."""
    one_shot, iterative, baseline = _all_records(one_shot_results, iterative_results)
    if baseline and not _baseline_of(iterative):
        iterative = [{**baseline, "iteration": 0}, *iterative]
    rows = [_summary(record) for record in one_shot], [_summary(record) for record in iterative]
    print(f"{HEADING}\n\n{two_tables(*rows)}")


def _all_records(
    one_shot_results: Results, iterative_results: Results
) -> tuple[list[Record], list[Record], Record | None]:
    """Both results as lists of dicts, and the dense model, if there is one.

    Raises `ValueError` for empty results, and for one without sparsity.
    """
    one_shot = _records(one_shot_results, "one_shot_results")
    iterative = _records(iterative_results, "iterative_results")
    if not one_shot and not iterative:
        raise ValueError("No results to compare: both lists are empty.")
    _warn_of_fractions([*one_shot, *iterative])
    iterative = _numbered(iterative, one_shot)
    dense = (record for record in one_shot if record.get("amount") == 0)
    # One of the two may have been measured without its accuracy.
    baseline = {**next(dense, {}), **(_baseline_of(iterative) or {})}
    return one_shot, iterative, baseline or None


def _records(results: Results, name: str) -> list[Record]:
    """Results of any form as a list of dicts of numbers."""
    if isinstance(results, pd.DataFrame):
        named = results.reset_index() if results.index.name in NAMES else results
        results = named.to_dict("records")
    if isinstance(results, Mapping):
        records: list[Any] = _from_mapping(results)
    elif isinstance(results, Iterable) and not isinstance(results, str):
        records = list(results)
    else:
        records = [results]
    return [_record(record, f"Result {i} of {name}") for i, record in enumerate(records, start=1)]


def _record(record: Any, place: str) -> Record:
    if not isinstance(record, Mapping):
        kind = type(record).__name__
        raise ValueError(f"{place} is of type {kind}. Pass the dicts that prune() returns.")
    numbers = {name: _number(record[name], f"{place}: {name}") for name in NAMES if name in record}
    if numbers.get("sparsity") is None:
        raise ValueError(f"{place} has no 'sparsity'. Pass the dicts that prune() returns.")
    record = {name: value for name, value in numbers.items() if value is not None}
    for name in ("sparsity", "accuracy"):
        if not 0 <= record.get(name, 0.0) <= HIGHEST:
            raise ValueError(f"{place}: {name} is {record[name]:g}, which is not 0 to 100 percent.")
    if record.get("model_size", 0.0) < 0:
        raise ValueError(f"{place}: model_size is {record['model_size']:g} MB, less than 0.")
    iteration = record.get("iteration", 0.0)
    if iteration < 0 or not float(iteration).is_integer():
        raise ValueError(f"{place}: iteration is {iteration:g}, not a whole number of 0 or more.")
    return record


def _warn_of_fractions(records: Sequence[Record]) -> None:
    """Warn at the caller of a public function where values look like fractions, not percent."""
    for name in ("sparsity", "accuracy"):
        values = [record[name] for record in records if record.get(name)]
        if values and max(values) <= 1:
            warnings.warn(
                f"No {name} is above 1 %. If the values are fractions, multiply them by 100.",
                stacklevel=4,
            )


def _number(value: Any, place: str) -> float | None:
    """A number as a float; None for a missing one."""
    if value is None:
        return None
    try:
        number = math.nan if isinstance(value, str | bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    missing = isinstance(value, float | np.floating) and math.isnan(value)
    if not math.isfinite(number) and not missing:
        raise ValueError(f"{place} is {value!r}, which is not a number.")
    return None if missing else number


def _from_mapping(results: Mapping[Any, Any]) -> list[Any]:
    if all(isinstance(value, Mapping) for value in results.values()):
        return [{"amount": amount, **result} for amount, result in results.items()]
    if isinstance(results.get("sparsity"), Iterable) and np.ndim(results["sparsity"]):
        lengths = {len(column) for column in results.values()}
        if len(lengths) > 1:
            raise ValueError("The lists of a dict of results differ in length.")
        rows = zip(*results.values(), strict=True)
        return [dict(zip(results, row, strict=True)) for row in rows]
    return [results]


def _numbered(iterative: list[Record], one_shot: list[Record]) -> list[Record]:
    """The iterative results with their iterations: 0 is the dense model, 1 the first step."""
    if not all("iteration" in record for record in iterative):
        first = 0 if iterative[0].get("amount") == 0 else 1
        return [{**record, "iteration": i} for i, record in enumerate(iterative, start=first)]
    lowest = min(record["sparsity"] for record in (*one_shot, *iterative))
    start = _baseline_of(iterative)
    if start is None or start["sparsity"] <= lowest + SAME_SPARSITY:
        return iterative
    return [{**record, "iteration": record["iteration"] + 1} for record in iterative]


def _baseline_of(iterative: Sequence[Record]) -> Record | None:
    return next((record for record in iterative if record["iteration"] == 0), None)


def _summary(record: Record) -> SummaryRow:
    return SummaryRow(
        sparsity=record["sparsity"],
        model_size=record.get("model_size"),
        accuracy=record.get("accuracy"),
        iteration=int(record.get("iteration", 0)),
    )


def _frame(
    one_shot: list[Record], iterative: list[Record], baseline: Record | None
) -> pd.DataFrame:
    """The results as a frame with the columns that the charts of a comparison read."""
    rows = [_row("baseline", baseline, baseline)] if baseline else []
    rows += [_row("one_shot", r, baseline) for r in one_shot if r.get("amount") != 0]
    rows += [_row("iterative", r, baseline) for r in iterative if r["iteration"] != 0]
    return pd.DataFrame(rows)


def _row(strategy: str, record: Record, baseline: Record | None) -> dict[str, Any]:
    accuracy, size = record.get("accuracy", NAN) / 100, record.get("model_size", NAN) * 1e6
    dense = baseline or {}
    unknown = ("sparsity_prunable", "sparsity_weights", "accuracy_low", "accuracy_high")
    return {
        **dict.fromkeys((*unknown, "dense_bytes", "epochs", "seconds"), NAN),
        "strategy": strategy,
        "run": "",
        "run_id": "",
        "seed": 0,
        "iteration": int(record.get("iteration", 0)),
        "sparsity_asked": record.get("amount", NAN),
        "sparsity_model": record["sparsity"] / 100,
        "accuracy": accuracy,
        "accuracy_drop": dense.get("accuracy", NAN) / 100 - accuracy,
        "sparse_bytes": size,
        "compression_ratio": dense.get("model_size", NAN) * 1e6 / size if size else NAN,
        "notes": [],
    }


def _path(save_path: Any) -> Path:
    """The path of the file. Raises `SpecError` for another type or ending."""
    if not isinstance(save_path, str | os.PathLike) or isinstance(os.fspath(save_path), bytes):
        kind = type(save_path).__name__
        raise SpecError("save_path", f"It is of type {kind}. Pass a path as text or a Path.")
    path = Path(save_path).expanduser()
    if _ending(path) not in (*FORMATS, "html"):
        known = ", ".join(f".{name}" for name in ("html", *FORMATS, "jpeg"))
        raise SpecError(
            "save_path",
            "{path} must be a file name that ends in one of {known}.",
            path=path,
            known=known,
        )
    return path


def _ending(path: Path) -> str:
    return path.suffix.lower()[1:].replace("jpeg", "jpg")


def _save(frame: pd.DataFrame, figure: go.Figure, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if _ending(path) == "html":
            figure.write_html(path, include_plotlyjs=True, config=chart_config(path.stem))
        else:
            path.write_bytes(panel_image(frame, _ending(path), AXIS, PANELS))
    except OSError as error:
        raise SpecError(
            "save_path",
            "{path} cannot be written: {reason}.",
            path=path,
            reason=error.strerror or error,
        ) from error
