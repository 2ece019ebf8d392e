"""The answer before the charts: the sparsest model within a tolerated drop of accuracy."""

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
    name_in_sentence,
    rows_of,
    validation_interval,
)

SLACK = 1e-9  # a drop of exactly the tolerance must not fail on the last bit of a float


@dataclass(frozen=True)
class BestModel:
    """The sparsest model within the tolerance; its figures are means over `seeds` seeds.

    `sparsity` is that of the prunable weights, `ratio` the compression ratio; `epochs` and
    `seconds` are those of fine-tuning. `several_runs` says that it was selected among several
    runs, so that sentences name its run.
    """

    tolerance: float
    strategy: str
    run: str
    seeds: int
    target: float
    sparsity: float
    accuracy: float
    accuracy_drop: float
    ratio: float
    sparse_bytes: float
    epochs: float
    seconds: float
    several_runs: bool = False
    iteration: int = 0
    validation_images: float = math.nan

    @property
    def name(self) -> str:
        """The name of the series, as charts and tables print it."""
        return model_name(self.strategy, self.target, self.iteration)

    @property
    def figures(self) -> tuple[tuple[str, str], ...]:
        """Label and value of each figure, in the order in which pages show them."""
        return (
            ("sparsity", format_percent(self.sparsity)),
            ("compression", f"{format_times(self.ratio)}x"),
            ("sparse file", format_bytes(self.sparse_bytes)),
            ("fine-tuning", format_seconds(self.seconds)),
            ("test accuracy", format_percent(self.accuracy)),
            ("strategy", self.name),
            *([("run", self.run)] if self.several_runs else []),
        )

    @property
    def text(self) -> str:
        """The figures as one sentence."""
        parts = [
            name_in_sentence(self.strategy, self.target, self.iteration),
            *([f"run {self.run}"] if self.several_runs else []),
            f"{format_percent(self.sparsity)} sparsity",
            f"{format_bytes(self.sparse_bytes)} ({format_times(self.ratio)}x)",
            f"test accuracy {format_percent(self.accuracy)}",
        ]
        mean = f" (mean of {self.seeds} seeds)" if self.seeds > 1 else ""
        tolerance = format_points(self.tolerance)
        return f"Best model within {tolerance} (validation): {', '.join(parts)}{mean}."

    @property
    def caveats(self) -> tuple[str, ...]:
        """Reasons to doubt the selection, one sentence or two each.

        With few validation images, a poor model can look good on them by luck.
        """
        caveats, tolerance = [], format_points(self.tolerance)
        if round(self.accuracy_drop, 4) > self.tolerance + SLACK:
            caveats.append(
                f"The test accuracy of this model drops by {format_points(self.accuracy_drop)}, "
                f"more than the tolerance of {tolerance}."
            )
        if 0 < self.validation_images * self.tolerance < 1:  # false where they were not counted
            images = format_count(round(self.validation_images), "validation image")
            one_image = format_points(1 / self.validation_images)
            caveats.append(
                f"The model was selected on {images}. One image is {one_image}, so a drop of "
                f"{tolerance} cannot be measured. Use more training images or a larger "
                "validation split."
            )
        return tuple(caveats)


@dataclass(frozen=True)
class Answer:
    """The answer for one set of test images.

    `place` names the data set where there are several, else it is empty. `warnings` are about
    baselines no better than chance and about a doubtful selection. Where no sound baseline
    remains, `text` is empty.
    """

    place: str
    best: BestModel | None
    text: str
    warnings: tuple[str, ...] = ()


def answers(frame: pd.DataFrame, tolerance: float = 0.01) -> list[Answer]:
    """One answer for each set of test images: figures on different images do not compare.

    `tolerance` is the largest drop of validation accuracy, a fraction.
    """
    return answers_of(rows_of(frame), tolerance)


def answers_of(rows: list[Row], tolerance: float = 0.01) -> list[Answer]:
    """`answers` for a frame that is given as rows."""
    if not rows:
        return [Answer("", None, _why_none(rows, tolerance))]
    groups = grouped(rows, "test_digest")
    return [_answer(group, rows, tolerance, len(groups) > 1) for group in groups]


def _answer(group: list[Row], rows: list[Row], tolerance: float, several: bool) -> Answer:
    best = _best_model(group, tolerance)
    text = best.text if best else _why_none(group, tolerance)
    warnings = _chance_warnings(rows, {row["run_id"] for row in group})
    caveats = best.caveats if best else ()
    place = _place(group) if several else ""
    return Answer(place, best, text if _sound(group) else "", (*warnings, *caveats))


def _place(group: list[Row]) -> str:
    data = join_words(filter(None, dict.fromkeys(row.get("data") for row in group)))
    images = format_count(int(group[0]["test_images"]), "test image")
    names = list(dict.fromkeys(row["run"] for row in group))
    runs = f"{'run' if len(names) == 1 else 'runs'} {join_words(names)}"
    return f"{data}, {images} ({runs})" if data else f"{images} ({runs})"


def chance_warnings(frame: pd.DataFrame) -> list[str]:
    """A warning for each baseline no better than chance, with what to do about it."""
    rows = rows_of(frame)
    return _chance_warnings(rows, {row["run_id"] for row in rows})


def _chance_warnings(rows: list[Row], run_ids: set[str]) -> list[str]:
    """The warnings of these runs; all `rows` decide whether run and seed are named."""
    runs, seeds = (len({row[name] for row in rows}) > 1 for name in ("run_id", "seed"))
    doubtful = (row for row in chance_baselines(rows) if row["run_id"] in run_ids)
    return [_chance_warning(row, runs, seeds) for row in doubtful]


def _chance_warning(row: Row, runs: bool, seeds: bool) -> str:
    names = [f"run {row['run']}"] * runs + [f"seed {row['seed']}"] * seeds
    of = f" of {', '.join(names)}" if names else ""
    low, high = map(format_percent, validation_interval(row))
    return (
        f"The baseline{of} is no better than chance: its validation accuracy is "
        f"{format_percent(row['validation_accuracy'])} (95 % CI {low} to {high}), and always "
        f"predicting the largest class gives {format_percent(row['chance'])}. Nothing can be "
        "concluded about pruning. Train the baseline for more epochs, or start from pretrained "
        "weights."
    )


def best_model(frame: pd.DataFrame, tolerance: float = 0.01) -> BestModel | None:
    """The sparsest model whose mean validation drop is at most `tolerance` (a fraction).

    The selection uses validation images only; the test accuracy is reported, not used. Of
    equally sparse models the smaller file wins, then the shorter fine-tuning. Runs whose
    baseline is no better than chance are left out. None where no pruned model qualifies;
    `why_none` gives the reason. The frame holds one data set; `answers` takes several.
    """
    return _best_model(rows_of(frame), tolerance)


def _best_model(rows: list[Row], tolerance: float) -> BestModel | None:
    means = _pruned_means(_sound(rows))
    within = [row for row in means if row["validation_drop"] <= tolerance + SLACK]
    if not within:
        return None
    best = min(within, key=_order)
    return BestModel(
        tolerance=tolerance,
        strategy=str(best["strategy"]),
        run=str(best["run"]),
        seeds=int(best["seeds"]),
        target=float(best["sparsity_asked"]),
        sparsity=float(best["sparsity_prunable"]),
        accuracy=float(best["accuracy"]),
        accuracy_drop=float(best["accuracy_drop"]),
        ratio=float(best["compression_ratio"]),
        sparse_bytes=float(best["sparse_bytes"]),
        epochs=float(best["epochs"]),
        seconds=float(best["seconds"]),
        several_runs=len({row["run_id"] for row in rows}) > 1,
        iteration=int(best["iteration"]),
        validation_images=float(best["validation_images"]),
    )


def _order(row: Row) -> tuple[float, float, float]:
    """The sparsest first, then the smaller file, then the shorter fine-tuning."""
    return -round(row["sparsity_prunable"], 6), row["sparse_bytes"], row["seconds"]


def why_none(frame: pd.DataFrame, tolerance: float = 0.01) -> str:
    """Why no pruned model is within the tolerance, and what to do next."""
    return _why_none(rows_of(frame), tolerance)


def _why_none(rows: list[Row], tolerance: float) -> str:
    means = _pruned_means(_sound(rows))
    if not means:
        warnings = _chance_warnings(rows, {row["run_id"] for row in rows})
        return " ".join(warnings) or "No pruned model has finished yet."
    best = min(means, key=lambda row: float(row["validation_drop"]))
    name = name_in_sentence(best["strategy"], best["sparsity_asked"], best["iteration"])
    return (
        f"No pruned model stays within {format_points(tolerance)} (validation). The smallest drop "
        f"is {format_points(best['validation_drop'])}: {name} at "
        f"{format_percent(best['sparsity_prunable'])} sparsity. Allow a larger drop, prune less, "
        "or fine-tune for more epochs."
    )


def _sound(rows: list[Row]) -> list[Row]:
    """The rows of the runs whose baselines are better than chance."""
    doubtful = {row["run_id"] for row in chance_baselines(rows)}
    return [row for row in rows if row["run_id"] not in doubtful]


def _pruned_means(rows: list[Row]) -> list[Row]:
    means = mean_over_seeds(row for row in rows if is_pruned(row))
    return [row for row in means if not missing(row["validation_drop"])]
