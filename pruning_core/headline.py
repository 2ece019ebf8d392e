"""The answer before the charts: how far one can prune for a small loss."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from pruning_core.points import is_pruned, mean_over_seeds, point_name
from pruning_core.text import (
    format_bytes,
    format_percent,
    format_points,
    format_seconds,
    format_times,
)

SLACK = 1e-9  # a loss of exactly the tolerance must not fail on the last bit of a float


@dataclass(frozen=True)
class Headline:
    """The most sparse point within the tolerance; figures are means over `seeds` seeds.

    `sparsity` is of the prunable weights, `epochs` and `seconds` are of fine-tuning.
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
        )

    @property
    def text(self) -> str:
        """The row of figures as one sentence."""
        mean = f", mean of {self.seeds} seeds" if self.seeds > 1 else ""
        told = (
            f"At most {format_points(self.tolerance)} lost on the validation images: "
            f"{format_percent(self.sparsity)} sparse",
            f"{format_times(self.ratio)} times smaller",
            format_bytes(self.sparse_bytes),
            f"{format_seconds(self.seconds)} of fine-tuning",
            f"test accuracy {format_percent(self.accuracy)} ({self.name}{mean}).",
        )
        return ", ".join(told)


def headline(frame: pd.DataFrame, tolerance: float = 0.01) -> Headline | None:
    """The most sparse point whose mean drop on the validation images is at most `tolerance`.

    The choice is made there, since test images choose nothing; the accuracy that is told is
    that on the test images.

    Of equally sparse points the smaller file counts, then the shorter fine-tuning. None
    where no pruned point qualifies; `no_headline` then says why.
    """
    points = _pruned_means(frame)
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
    )


def no_headline(frame: pd.DataFrame, tolerance: float = 0.01) -> str:
    """What to say, and what to do next, where no pruned point is within the tolerance."""
    points = _pruned_means(frame)
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


def _pruned_means(frame: pd.DataFrame) -> pd.DataFrame:
    if frame.empty:
        return pd.DataFrame(columns=["validation_drop"])
    means = mean_over_seeds(frame[is_pruned(frame)])
    return means[means["validation_drop"].notna()]
