"""The answer before the charts: how far one can prune for a small loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from pruning_core.points import chance_baselines, is_pruned, mean_over_seeds, point_name
from pruning_core.text import (
    format_bytes,
    format_count,
    format_percent,
    format_points,
    format_seconds,
    format_times,
    join_words,
)

SLACK = 1e-9  # a loss of exactly the tolerance must not fail on the last bit of a float


@dataclass(frozen=True)
class Headline:
    """The most sparse point within the tolerance; figures are means over `seeds` seeds.

    `sparsity` is of the prunable weights, `epochs` and `seconds` are of fine-tuning. Chosen
    among `several` runs, it names its own.
    """

    tolerance: float
    strategy: str
    run: str
    seeds: int
    asked: float
    sparsity: float
    accuracy: float
    accuracy_drop: float
    ratio: float
    sparse_bytes: float
    epochs: float
    seconds: float
    several: bool = False

    @property
    def name(self) -> str:
        """The strategy in words."""
        return point_name(self.strategy, self.asked)

    @property
    def figures(self) -> tuple[tuple[str, str], ...]:
        """Label and value of each figure, in the order of the row of figures."""
        return (
            ("sparsity", format_percent(self.sparsity)),
            ("times smaller", format_times(self.ratio)),
            ("sparse file", format_bytes(self.sparse_bytes)),
            ("fine-tuning", format_seconds(self.seconds)),
            ("test accuracy", format_percent(self.accuracy)),
            ("strategy", self.name),
            *([("run", self.run)] if self.several else []),
        )

    @property
    def text(self) -> str:
        """The row of figures as one sentence."""
        run = f", run {self.run}" if self.several else ""
        mean = f", mean of {self.seeds} seeds" if self.seeds > 1 else ""
        told = (
            f"At most {format_points(self.tolerance)} lost on the validation images: "
            f"{format_percent(self.sparsity)} sparse",
            f"{format_times(self.ratio)} times smaller",
            format_bytes(self.sparse_bytes),
            f"{format_seconds(self.seconds)} of fine-tuning",
            f"test accuracy {format_percent(self.accuracy)} ({self.name}{run}{mean}).",
        )
        return ", ".join(told)


@dataclass(frozen=True)
class Answer:
    """What to say of one data set. `place` names it where there are several, else it is empty.

    `warnings` are of baselines from which nothing can be concluded; where no other is left,
    `text` is empty.
    """

    place: str
    headline: Headline | None
    text: str
    warnings: tuple[str, ...] = ()


def answers(frame: pd.DataFrame, tolerance: float = 0.01) -> list[Answer]:
    """An answer for each set of test images, since figures on different images do not compare."""
    if frame.empty:
        return [Answer("", None, no_headline(frame, tolerance))]
    groups = [group for _, group in frame.groupby("test_digest", sort=False)]
    return [_answer(group, frame, tolerance, len(groups) > 1) for group in groups]


def _answer(group: pd.DataFrame, frame: pd.DataFrame, tolerance: float, several: bool) -> Answer:
    found = headline(group, tolerance)
    text = found.text if found else no_headline(group, tolerance)
    warnings = tuple(chance_warnings(frame, set(group["run_id"])))
    return Answer(
        _place(group) if several else "", found, "" if _sound(group).empty else text, warnings
    )


def _place(group: pd.DataFrame) -> str:
    data = join_words(filter(None, dict.fromkeys(group.get("data", []))))
    images = format_count(int(group["test_images"].iloc[0]), "test image")
    names = list(dict.fromkeys(group["run"]))
    runs = f"{'run' if len(names) == 1 else 'runs'} {join_words(names)}"
    return f"{data}, {images} ({runs})" if data else f"{images} ({runs})"


def chance_warnings(frame: pd.DataFrame, run_ids: set[str] | None = None) -> list[str]:
    """A sentence for each baseline that is no better than chance, and what to do about it."""
    if frame.empty:
        return []
    rows = chance_baselines(frame)
    rows = rows if run_ids is None else rows[rows["run_id"].isin(run_ids)]
    runs, seeds = frame["run_id"].nunique() > 1, frame["seed"].nunique() > 1
    return [_chance_warning(row, runs, seeds) for row in rows.to_dict("records")]


def _chance_warning(row: dict[str, Any], runs: bool, seeds: bool) -> str:
    names = [f"run {row['run']}"] * runs + [f"seed {row['seed']}"] * seeds
    whose = f" of {', '.join(names)}" if names else ""
    low, high = format_percent(row["accuracy_low"]), format_percent(row["accuracy_high"])
    return (
        f"The baseline{whose} is itself no better than chance: it gets "
        f"{format_percent(row['accuracy'])} of the test images right (95 % interval {low} to "
        f"{high}), and always naming the largest class gets {format_percent(row['chance'])}. "
        "So nothing can be concluded about pruning. Train the baseline for more epochs, or "
        "start from trained weights."
    )


def headline(frame: pd.DataFrame, tolerance: float = 0.01) -> Headline | None:
    """The most sparse point whose mean drop on the validation images is at most `tolerance`.

    The choice is made there, since test images choose nothing; the accuracy that is told is
    that on the test images.

    Of equally sparse points the smaller file counts, then the shorter fine-tuning. Runs whose
    baseline is no better than chance do not count. None where no pruned point qualifies;
    `no_headline` then says why. The frame holds one data set; `answers` takes several.
    """
    points = _pruned_means(_sound(frame))
    points = points[points["validation_drop"] <= tolerance + SLACK]
    if points.empty:
        return None
    points = points.assign(sparsity=points["sparsity_prunable"].round(6))
    order = ["sparsity", "sparse_bytes", "seconds"]
    best = points.sort_values(order, ascending=[False, True, True]).iloc[0]
    return Headline(
        tolerance=tolerance,
        strategy=str(best["strategy"]),
        run=str(best["run"]),
        seeds=int(best["seeds"]),
        asked=float(best["sparsity_asked"]),
        sparsity=float(best["sparsity_prunable"]),
        accuracy=float(best["accuracy"]),
        accuracy_drop=float(best["accuracy_drop"]),
        ratio=float(best["compression_ratio"]),
        sparse_bytes=float(best["sparse_bytes"]),
        epochs=float(best["epochs"]),
        seconds=float(best["seconds"]),
        several=bool(frame["run_id"].nunique() > 1),
    )


def no_headline(frame: pd.DataFrame, tolerance: float = 0.01) -> str:
    """What to say, and what to do next, where no pruned point is within the tolerance."""
    points = _pruned_means(_sound(frame))
    if points.empty and (warnings := chance_warnings(frame)):
        return " ".join(warnings)
    if points.empty:
        return "No pruned point is finished yet; the answer stands here when one is."
    best = points.sort_values("validation_drop").iloc[0]
    return (
        f"No pruned point loses at most {format_points(tolerance)} on the validation images. "
        "The smallest loss is "
        f"{format_points(best['validation_drop'])}, by "
        f"{point_name(best['strategy'], best['sparsity_asked'])} at "
        f"{format_percent(best['sparsity_prunable'])} sparsity. Allow a larger loss, prune less "
        "or fine-tune for more epochs."
    )


def _sound(frame: pd.DataFrame) -> pd.DataFrame:
    """The runs from which something can be concluded."""
    return frame if frame.empty else frame[~frame["run_id"].isin(chance_baselines(frame)["run_id"])]


def _pruned_means(frame: pd.DataFrame) -> pd.DataFrame:
    if frame.empty:
        return pd.DataFrame(columns=["validation_drop"])
    means = mean_over_seeds(frame[is_pruned(frame)])
    return means[means["validation_drop"].notna()]
