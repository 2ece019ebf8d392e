"""A row of results: one trained and measured model of a comparison.

Sparsities and accuracies are fractions from 0 to 1. `epochs` and `seconds` count the fine-tuning
from the baseline to the model; only the row of the baseline holds its own training.
`quantized_from` is the strategy of the model whose int8 file a row describes; it is empty in all
other rows.
"""

from __future__ import annotations

from collections.abc import Iterable
from statistics import fmean, stdev
from typing import Any

import pandas as pd

from pruning_core.common.formatting import format_percent, missing
from pruning_core.common.statistics import wilson
from pruning_core.methods.corrections import correction_at
from pruning_core.methods.strategies import (
    BASELINE,
    CONTROL_TITLE,
    CORRECTION,
    ONE_SHOT,
    QUANTIZED,
    STRATEGIES,
)

Row = dict[str, Any]
# The columns in which all seeds of one model of a run agree.
MODEL_COLUMNS = ["run_id", "run", "strategy", "quantized_from", "iteration", "sparsity_asked"]
MEAN_COLUMNS = [
    "sparsity_prunable",
    "sparsity_weights",
    "sparsity_model",
    "accuracy",
    "accuracy_drop",
    "validation_accuracy",
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


TARGET_DIGITS = 6  # target sparsities that agree in as many digits are equal
DIFFERENCES = ("accuracy_difference", "bytes_difference")  # from a reference, where there is one


def is_control(row: Row) -> bool:
    """Whether this is the fine-tuned dense control: one-shot at sparsity 0."""
    return bool(row["strategy"] == ONE_SHOT and row["sparsity_asked"] == 0)


def is_pruned(row: Row) -> bool:
    """Whether the target sparsity of this model is above 0. A quantized file is no model."""
    return bool(STRATEGIES[row["strategy"]].pruned and row["sparsity_asked"] > 0)


def charted(rows: Iterable[Row]) -> list[Row]:
    """The models without their training-free corrections and their int8 files."""
    return [row for row in rows if row["strategy"] not in (CORRECTION, *QUANTIZED)]


def target_sparsity(row: Row) -> float:
    """The target sparsity, rounded: equal targets of several runs are equal numbers."""
    return round(float(row["sparsity_asked"]), TARGET_DIGITS)


def strategy_at_target(row: Row) -> tuple[object, ...]:
    """What the same models of several runs have in common."""
    return row["strategy"], row["quantized_from"], target_sparsity(row)


def model_name(strategy: str, target: float, iteration: int = 0) -> str:
    """The name of a model's series as charts and tables print it, with its correction."""
    if strategy == CORRECTION:
        return f"{STRATEGIES[CORRECTION].title}, {_correction_name(iteration)}"
    if strategy == ONE_SHOT and target == 0:
        return CONTROL_TITLE
    return STRATEGIES[strategy].title if strategy in STRATEGIES else strategy


def _correction_name(iteration: int) -> str:
    """The title of a correction in lower case, but for an abbreviation at its start."""
    if iteration == 0:
        return "no correction"
    title = correction_at(iteration).title
    return title if title[:2].isupper() else title[0].lower() + title[1:]


def name_in_sentence(strategy: str, target: float, iteration: int = 0) -> str:
    """The name for a sentence, without a comma: "one-shot (equal budget)"."""
    series, _, kind = model_name(strategy, target, iteration).partition(", ")
    return f"{series} ({kind.partition(' (')[0]})" if kind else series


def model_at_target(row: Row) -> str:
    """The name for a sentence with the target sparsity: "one-shot at 50 %"."""
    name = name_in_sentence(row["strategy"], row["sparsity_asked"], row["iteration"])
    return f"{name} at {format_percent(row['sparsity_asked'])}" if is_pruned(row) else name


def row_name(row: Row) -> str:
    """The name of a row; that of a quantized file includes the model."""
    if row["strategy"] not in QUANTIZED:
        return model_name(row["strategy"], row["sparsity_asked"], row["iteration"])
    model = model_name(row["quantized_from"], row["sparsity_asked"], row["iteration"])
    return f"{model}, {STRATEGIES[row['strategy']].title}"


def rows_of(frame: pd.DataFrame) -> list[Row]:
    """The rows of a frame as dicts, which is much faster for a few models."""
    columns = [frame[name].tolist() for name in frame]
    return [dict(zip(frame, values, strict=True)) for values in zip(*columns, strict=True)]


def grouped(rows: Iterable[Row], *columns: str) -> list[list[Row]]:
    """The rows grouped by equal values in these columns, in order of first appearance."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in columns), []).append(row)
    return list(groups.values())


def run_numbers(rows: Iterable[Row]) -> dict[str, int]:
    """The number of each run from 0, by its id: it decides the color of the run on all charts."""
    return {group[0]["run_id"]: number for number, group in enumerate(grouped(rows, "run_id"))}


def chance_baselines(rows: Iterable[Row]) -> list[Row]:
    """The baselines whose validation accuracy is not above chance: its 95 % interval decides.

    `chance` is the accuracy of always predicting the largest class. A baseline with unknown
    chance counts as above chance. Test images are not used, because runs with such a baseline are
    excluded from the selection of the best model.
    """
    baselines = (row for row in rows if row["strategy"] == BASELINE and "chance" in row)
    return [row for row in baselines if validation_interval(row)[0] <= row["chance"]]


def validation_interval(row: Row) -> tuple[float, float]:
    """The 95 % interval of the accuracy of a row on the validation images."""
    images = round(row["validation_images"])
    return wilson(round(row["validation_accuracy"] * images), images)


def with_seed_statistics(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with statistics over the seeds of each model, equal in all rows of a model.

    `seeds` is the number of seeds, `accuracy_mean` and `accuracy_sd` are the mean and the
    standard deviation (n - 1) of their accuracies; the deviation of a single seed is NaN.
    """
    accuracy = frame.groupby(MODEL_COLUMNS, sort=False, dropna=False)["accuracy"]
    return frame.assign(
        seeds=accuracy.transform("size"),
        accuracy_mean=accuracy.transform("mean"),
        accuracy_sd=accuracy.transform("std"),
    )


def mean_over_seeds(rows: Iterable[Row]) -> list[Row]:
    """One row for each model of a run: means of its known figures, and `seeds`, their number.

    `keys` are the keys of the stages of the seeds, `key` is the first. `accuracy_sd` and
    `accuracy_drop_sd` are standard deviations over the seeds (n - 1), NaN for a single seed.
    """
    return [
        {
            **{name: group[0][name] for name in MODEL_COLUMNS},
            **{name: _mean(group, name) for name in MEAN_COLUMNS},
            **{f"{name}_sd": _deviation(group, name) for name in ("accuracy", "accuracy_drop")},
            **{name: _mean(group, name) for name in DIFFERENCES if name in group[0]},
            **({"reference": group[0]["reference"]} if "reference" in group[0] else {}),
            "seeds": len(group),
            "key": group[0]["key"],
            "keys": tuple(row["key"] for row in group),
        }
        for group in grouped(rows, *MODEL_COLUMNS)
    ]


def _deviation(rows: list[Row], name: str) -> float:
    known = [row[name] for row in rows if not missing(row[name])]
    return stdev(known) if len(known) > 1 else float("nan")


def _mean(rows: list[Row], name: str) -> float:
    known = [row[name] for row in rows if not missing(row[name])]
    return fmean(known) if known else float("nan")
