"""The answer before the charts: how far one can prune for a small loss."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd

from pruning_core.common.formatting import (
    format_bytes,
    format_count,
    format_percent,
    format_points,
    format_seconds,
    format_times,
    join_words,
    missing,
)
from pruning_core.results.rows import (
    Row,
    chance_baselines,
    grouped,
    is_pruned,
    mean_over_seeds,
    model_name,
    rows_of,
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
    iteration: int = 0
    validation_images: float = math.nan

    @property
    def name(self) -> str:
        """The strategy in words."""
        return model_name(self.strategy, self.asked, self.iteration)

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

    @property
    def caveats(self) -> tuple[str, ...]:
        """Why the choice may be a poor one, a sentence each.

        Where validation images are few, a bad model can look good on them.
        """
        said, allowed = [], format_points(self.tolerance)
        if round(self.accuracy_drop, 4) > self.tolerance + SLACK:
            lost = format_points(self.accuracy_drop)
            said.append(
                f"On the test images this model loses {lost}, though at most {allowed} may be lost."
            )
        if 0 < self.validation_images * self.tolerance < 1:  # false where they were not counted
            count = format_count(round(self.validation_images), "validation image")
            each = format_points(1 / self.validation_images)
            said.append(
                f"It was chosen on {count}, each of which counts {each}: too few to tell a loss "
                f"of {allowed}. Take more training images or a larger share for validation."
            )
        return tuple(said)


@dataclass(frozen=True)
class Answer:
    """What to say of one data set. `place` names it where there are several, else it is empty.

    `warnings` are of baselines from which nothing can be concluded, and of a choice that may be
    a poor one. Where no sound baseline is left, `text` is empty.
    """

    place: str
    headline: Headline | None
    text: str
    warnings: tuple[str, ...] = ()


def answers(frame: pd.DataFrame, tolerance: float = 0.01) -> list[Answer]:
    """An answer for each set of test images, since figures on different images do not compare."""
    return answers_of(rows_of(frame), tolerance)


def answers_of(points: list[Row], tolerance: float = 0.01) -> list[Answer]:
    """The same for the rows of a frame."""
    if not points:
        return [Answer("", None, _no_headline(points, tolerance))]
    groups = grouped(points, "test_digest")
    return [_answer(group, points, tolerance, len(groups) > 1) for group in groups]


def _answer(group: list[Row], points: list[Row], tolerance: float, several: bool) -> Answer:
    found = _headline(group, tolerance)
    text = found.text if found else _no_headline(group, tolerance)
    warnings = tuple(_chance_warnings(points, {row["run_id"] for row in group}))
    caveats = found.caveats if found else ()
    place = _place(group) if several else ""
    return Answer(place, found, text if _sound(group) else "", (*warnings, *caveats))


def _place(group: list[Row]) -> str:
    data = join_words(filter(None, dict.fromkeys(row.get("data") for row in group)))
    images = format_count(int(group[0]["test_images"]), "test image")
    names = list(dict.fromkeys(row["run"] for row in group))
    runs = f"{'run' if len(names) == 1 else 'runs'} {join_words(names)}"
    return f"{data}, {images} ({runs})" if data else f"{images} ({runs})"


def chance_warnings(frame: pd.DataFrame) -> list[str]:
    """A sentence for each baseline that is no better than chance, and what to do about it."""
    points = rows_of(frame)
    return _chance_warnings(points, {row["run_id"] for row in points})


def _chance_warnings(points: list[Row], run_ids: set[str]) -> list[str]:
    """Those of some runs among the points."""
    runs, seeds = (len({row[name] for row in points}) > 1 for name in ("run_id", "seed"))
    doubted = (row for row in chance_baselines(points) if row["run_id"] in run_ids)
    return [_chance_warning(row, runs, seeds) for row in doubted]


def _chance_warning(row: Row, runs: bool, seeds: bool) -> str:
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
    return _headline(rows_of(frame), tolerance)


def _headline(points: list[Row], tolerance: float) -> Headline | None:
    means = _pruned_means(_sound(points))
    within = [row for row in means if row["validation_drop"] <= tolerance + SLACK]
    if not within:
        return None
    best = min(within, key=_order)
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
        several=len({row["run_id"] for row in points}) > 1,
        iteration=int(best["iteration"]),
        validation_images=float(best["validation_images"]),
    )


def _order(row: Row) -> tuple[float, float, float]:
    """The most sparse first, then the smaller file, then the shorter fine-tuning."""
    return -round(row["sparsity_prunable"], 6), row["sparse_bytes"], row["seconds"]


def no_headline(frame: pd.DataFrame, tolerance: float = 0.01) -> str:
    """What to say, and what to do next, where no pruned point is within the tolerance."""
    return _no_headline(rows_of(frame), tolerance)


def _no_headline(points: list[Row], tolerance: float) -> str:
    means = _pruned_means(_sound(points))
    if not means:
        warnings = _chance_warnings(points, {row["run_id"] for row in points})
        nothing = "No pruned point is finished yet; the answer stands here when one is."
        return " ".join(warnings) or nothing
    best = min(means, key=lambda row: float(row["validation_drop"]))
    return (
        f"No pruned point loses at most {format_points(tolerance)} on the validation images. "
        "The smallest loss is "
        f"{format_points(best['validation_drop'])}, by "
        f"{model_name(best['strategy'], best['sparsity_asked'], best['iteration'])} at "
        f"{format_percent(best['sparsity_prunable'])} sparsity. Allow a larger loss, prune less "
        "or fine-tune for more epochs."
    )


def _sound(points: list[Row]) -> list[Row]:
    """The runs from which something can be concluded."""
    doubted = {row["run_id"] for row in chance_baselines(points)}
    return [row for row in points if row["run_id"] not in doubted]


def _pruned_means(points: list[Row]) -> list[Row]:
    means = mean_over_seeds(row for row in points if is_pruned(row))
    return [row for row in means if not missing(row["validation_drop"])]
