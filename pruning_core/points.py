"""What a frame of points is: a row for each trained and measured model of a comparison.

Sparsities and accuracies are fractions from 0 to 1. `epochs` and `seconds` are those of
fine-tuning from the baseline to the point; only the baseline's row holds its own training.
"""

from __future__ import annotations

import pandas as pd

STRATEGY_NAMES = {
    "baseline": "baseline",
    "one_shot": "one-shot",
    "one_shot_matched": "one-shot, same epochs",
    "iterative": "iterative",
}
CONTROL_NAME = "dense control"
POINT = ["run_id", "run", "strategy", "iteration", "sparsity_asked"]
MEANS = [
    "sparsity_prunable",
    "sparsity_weights",
    "sparsity_model",
    "accuracy",
    "accuracy_drop",
    "validation_drop",
    "dense_bytes",
    "sparse_bytes",
    "compression_ratio",
    "parameters",
    "nonzero",
    "epochs",
    "seconds",
]


def is_control(frame: pd.DataFrame) -> pd.Series:
    """The dense controls: one-shot at amount 0, with the same fine-tuning but no cut."""
    return (frame["strategy"] == "one_shot") & (frame["sparsity_asked"] == 0)


def is_pruned(frame: pd.DataFrame) -> pd.Series:
    """The points from which weights were asked to go."""
    return (frame["strategy"] != "baseline") & (frame["sparsity_asked"] > 0)


def chance_baselines(frame: pd.DataFrame) -> pd.DataFrame:
    """The baselines whose 95 % interval does not lie above chance.

    `chance` is the share of the largest class, which always naming that class reaches.
    Where it is not known, no baseline is doubted.
    """
    if "chance" not in frame:
        return frame.iloc[:0]
    return frame[(frame["strategy"] == "baseline") & (frame["accuracy_low"] <= frame["chance"])]


def point_name(strategy: str, asked: float) -> str:
    """The name of a point's series, as charts and tables print it."""
    if strategy == "one_shot" and asked == 0:
        return CONTROL_NAME
    return STRATEGY_NAMES.get(strategy, strategy)


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


def mean_over_seeds(frame: pd.DataFrame) -> pd.DataFrame:
    """One row a point of a run: the means of its figures and `seeds`, their number."""
    groups = frame.groupby(POINT, sort=False, dropna=False)
    means = groups[MEANS].mean()
    means["seeds"] = groups.size()
    return means.reset_index()
