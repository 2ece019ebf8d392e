"""What a row of results is: one trained and measured model of a comparison.

Sparsities and accuracies are fractions from 0 to 1. `epochs` and `seconds` are those of
fine-tuning from the baseline to the model; only the baseline's row holds its own training. `of`
is the strategy of the model whose int8 file a row is, and empty in all other rows.
"""

from __future__ import annotations

from collections.abc import Iterable
from statistics import fmean
from typing import Any

import pandas as pd

from pruning_core.common.formatting import missing
from pruning_core.methods.corrections import correction_at
from pruning_core.methods.strategies import (
    CONTROL_TITLE,
    CORRECTION,
    ONE_SHOT,
    QUANTIZED,
    STRATEGIES,
)

Row = dict[str, Any]
POINT = ["run_id", "run", "strategy", "of", "iteration", "sparsity_asked"]
MEANS = [
    "sparsity_prunable",
    "sparsity_weights",
    "sparsity_model",
    "accuracy",
    "accuracy_drop",
    "validation_drop",
    "validation_images",
    "dense_bytes",
    "sparse_bytes",
    "compression_ratio",
    "parameters",
    "nonzero",
    "macs",
    "epochs",
    "seconds",
]


def is_control(row: Row) -> bool:
    """Whether this is the fine-tuned dense control: one-shot at sparsity 0."""
    return bool(row["strategy"] == ONE_SHOT and row["sparsity_asked"] == 0)


def is_pruned(row: Row) -> bool:
    """Whether the target sparsity of this model is above 0. A quantized file is no model."""
    return bool(STRATEGIES[row["strategy"]].pruned and row["sparsity_asked"] > 0)


def model_name(strategy: str, asked: float, iteration: int = 0) -> str:
    """The name of a model's series, as charts and tables print it, with its correction."""
    if strategy == CORRECTION:
        return f"{STRATEGIES[CORRECTION].title}, {correction_at(iteration).title}"
    if strategy == ONE_SHOT and asked == 0:
        return CONTROL_TITLE
    return STRATEGIES[strategy].title if strategy in STRATEGIES else strategy


def row_name(row: Row) -> str:
    """The name of a row; that of a quantized file names the model too."""
    if row["strategy"] not in QUANTIZED:
        return model_name(row["strategy"], row["sparsity_asked"], row["iteration"])
    model = model_name(row["of"], row["sparsity_asked"], row["iteration"])
    return f"{model}, {STRATEGIES[row['strategy']].title}"


def rows_of(frame: pd.DataFrame) -> list[Row]:
    """The frame's rows as dicts, in which few points are much quicker to work with."""
    columns = [frame[name].tolist() for name in frame]
    return [dict(zip(frame, values, strict=True)) for values in zip(*columns, strict=True)]


def grouped(rows: Iterable[Row], *columns: str) -> list[list[Row]]:
    """The rows with equal values in these columns together, in the order of their first ones."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in columns), []).append(row)
    return list(groups.values())


def chance_baselines(rows: Iterable[Row]) -> list[Row]:
    """The baselines whose 95 % interval does not lie above chance.

    `chance` is the share of the largest class, which always naming that class reaches.
    Where it is not known, no baseline is doubted.
    """
    known = (row for row in rows if row["strategy"] == "baseline" and "chance" in row)
    return [row for row in known if row["accuracy_low"] <= row["chance"]]


def over_seeds(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with what the seeds of a row's point say together, the same in all its rows.

    `seeds` is their number, `accuracy_mean` and `accuracy_sd` are the mean and the standard
    deviation (n - 1) of their accuracies; one seed has no deviation.
    """
    accuracy = frame.groupby(POINT, sort=False, dropna=False)["accuracy"]
    return frame.assign(
        seeds=accuracy.transform("size"),
        accuracy_mean=accuracy.transform("mean"),
        accuracy_sd=accuracy.transform("std"),
    )


def mean_over_seeds(rows: Iterable[Row]) -> list[Row]:
    """One row a point of a run: the means of its known figures and `seeds`, their number."""
    return [
        {
            **{name: group[0][name] for name in POINT},
            **{name: _mean(group, name) for name in MEANS},
            "seeds": len(group),
        }
        for group in grouped(rows, *POINT)
    ]


def _mean(rows: list[Row], name: str) -> float:
    known = [row[name] for row in rows if not missing(row[name])]
    return fmean(known) if known else float("nan")
