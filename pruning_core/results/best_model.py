"""The answer before the charts: the best model that meets the goal.

With a limit of the accuracy drop it is the sparsest model within the limits, else the one with the
smallest drop. Of several models that lose a little more than the limit, one looks good on few
images by luck. So a model is not selected by its observed drop of validation accuracy, but by an
upper confidence bound of it. The bounds of all models hold together with 95 % confidence, because
the error probability is divided by their number (Bonferroni's inequality; Dunn 1961,
https://doi.org/10.1080/01621459.1961.10482090). So the statement holds for whichever model is
selected, and for any limit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import fmean

import pandas as pd

from pruning_core.common.formatting import (
    format_bytes,
    format_count,
    format_percent,
    format_points,
    format_times,
    join_words,
    missing,
)
from pruning_core.common.statistics import drop_bound, fewest_images
from pruning_core.results.goal import DEFAULT_GOAL, SLACK, Goal
from pruning_core.results.rows import (
    MODEL_COLUMNS,
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
from pruning_core.results.shared_models import largest

ERROR = 0.05  # the probability that the drop of any model is above its bound
CONFIDENCE = "95 % confidence"
NO_DROP = "without an observed drop"
KEEP_ACCURACY = "fine-tune for more epochs to keep the accuracy"
MORE_IMAGES = (
    "Use more validation images (a larger validation split or more training images), or allow a "
    "larger drop."
)
LEAST_BOUND = 0.0001  # the least one that is printed: 0.01 points


@dataclass(frozen=True)
class BestModel:
    """The best model that meets the goal, its drop with 95 % confidence.

    Its figures are means over `seeds` seeds. `drop_bound` is the upper bound of its drop of
    accuracy, which holds for all `candidates` together; `validation_drop` was observed. `sparsity`
    is that of the prunable weights, `ratio` the compression ratio; `epochs` and `seconds` are
    those of fine-tuning. `several_runs` says that it was selected among several runs, so that
    sentences name its run. `key` is the key of the stage of its first seed, `run_id` that of its
    run.
    """

    goal: Goal
    strategy: str
    run: str
    seeds: int
    target: float
    sparsity: float
    accuracy: float
    accuracy_drop: float
    ratio: float
    sparse_bytes: float
    seconds: float
    several_runs: bool = False
    iteration: int = 0
    key: str = ""
    run_id: str = ""
    validation_images: float = math.nan
    validation_drop: float = math.nan
    drop_bound: float = math.nan
    candidates: int = 1

    @property
    def name(self) -> str:
        """The name of the series, as charts and tables print it."""
        return model_name(self.strategy, self.target, self.iteration)

    @property
    def text(self) -> str:
        """The figures as one sentence."""
        parts = [
            name_in_sentence(self.strategy, self.target, self.iteration),
            *([f'run "{self.run}"'] if self.several_runs else []),
            f"{format_percent(self.sparsity)} sparsity",
            f"{format_bytes(self.sparse_bytes)} ({format_times(self.ratio)}x)",
            f"test accuracy {format_percent(self.accuracy)}",
        ]
        mean = f" (mean of {self.seeds} seeds)" if self.seeds > 1 else ""
        return (
            f"Best model with {self.goal.text} ({CONFIDENCE}, validation): "
            f"{', '.join(parts)}{mean}. "
            f"On {format_count(round(self.validation_images), 'validation image')} its accuracy "
            f"{change_text(self.validation_drop)}; {bound_sentence(self.drop_bound)} "
            f"({among(self.candidates)})."
        )

    @property
    def caveats(self) -> tuple[str, ...]:
        """Reasons to doubt the selection, one sentence or two each."""
        limit = self.goal.max_drop
        if limit is None or round(self.accuracy_drop, 4) <= limit + SLACK:
            return ()
        goal = "but the goal is no accuracy loss"
        if limit > 0:
            goal = f"more than the goal of {format_points(limit)}"
        drop = format_points(self.accuracy_drop)
        return (f"The test accuracy of this model drops by {drop}, {goal}.",)


def among(candidates: int) -> str:
    """For how many models a bound holds: "95 % confidence for all 11 models together"."""
    if candidates == 1:
        return CONFIDENCE
    return f"{CONFIDENCE} for all {candidates} models together"


def change_text(drop: float) -> str:
    """The observed drop of accuracy as a verb: "drops by 0.2 points", "rises by 1 point"."""
    if round(drop, 6) == 0:
        return "stays equal"
    return f"{'drops' if drop > 0 else 'rises'} by {format_points(abs(drop))}"


def observed_text(drop: float) -> str:
    """The observed drop of accuracy as a noun: "observed drop 0.2 points", "no observed drop"."""
    if round(drop, 6) == 0:
        return "no observed drop"
    return f"observed {'drop' if drop > 0 else 'gain'} {format_points(abs(drop))}"


def bound_text(bound: float) -> str:
    """The upper bound of the true drop as a noun: "true drop at most 0.72 points"."""
    return f"true drop at most {bound_points(bound)}" if bound > 0 else "no true drop"


def bound_sentence(bound: float) -> str:
    """The upper bound of the true drop as a clause: "the true drop is at most 0.72 points"."""
    if bound > 0:
        return f"the true drop is at most {bound_points(bound)}"
    return "the true accuracy does not drop"


def bound_points(bound: float) -> str:
    """The upper bound of a drop in points: a bound above 0 is not rounded to 0, and 0 is "none"."""
    return format_points(max(bound, LEAST_BOUND)) if bound > 0 else "none"


@dataclass(frozen=True)
class Answer:
    """The answer for one set of test images.

    `place` names the data set where there are several, else it is empty. `warnings` are about
    baselines no better than chance and about a doubtful selection. Where no
    baseline above chance remains, `text` is empty.
    """

    place: str
    best: BestModel | None
    text: str
    warnings: tuple[str, ...] = ()


def answers(frame: pd.DataFrame, goal: Goal = DEFAULT_GOAL) -> list[Answer]:
    """One answer for each set of test images: figures on different images do not compare.

    The limit of `goal` on the drop is one of validation accuracy.
    """
    return answers_of(rows_of(frame), goal)


def answers_of(rows: list[Row], goal: Goal = DEFAULT_GOAL) -> list[Answer]:
    """`answers` for a frame that is given as rows."""
    if not rows:
        return [Answer("", None, _why_none(rows, goal))]
    groups = grouped(rows, "test_digest")
    return [_answer(group, rows, goal, len(groups) > 1) for group in groups]


def _answer(group: list[Row], rows: list[Row], goal: Goal, several: bool) -> Answer:
    best = _best_model(group, goal)
    text = best.text if best else _why_none(group, goal)
    warnings = chance_warnings_of(rows, {row["run_id"] for row in group})
    caveats = best.caveats if best else ()
    place = _place(group) if several else ""
    return Answer(place, best, text if above_chance(group) else "", (*warnings, *caveats))


def _place(group: list[Row]) -> str:
    data = join_words(filter(None, dict.fromkeys(row.get("data") for row in group)))
    images = format_count(int(group[0]["test_images"]), "test image")
    names = list(dict.fromkeys(row["run"] for row in group))
    runs = f"{'run' if len(names) == 1 else 'runs'} {join_words(names)}"
    return f"{data}, {images} ({runs})" if data else f"{images} ({runs})"


def chance_warnings(frame: pd.DataFrame) -> list[str]:
    """A warning for each baseline no better than chance, with what to do about it."""
    rows = rows_of(frame)
    return chance_warnings_of(rows, {row["run_id"] for row in rows})


def chance_warnings_of(rows: list[Row], run_ids: set[str]) -> list[str]:
    """The warnings of these runs; all `rows` decide whether run and seed are named."""
    runs, seeds = (len({row[name] for row in rows}) > 1 for name in ("run_id", "seed"))
    doubtful = (row for row in chance_baselines(rows) if row["run_id"] in run_ids)
    return [_chance_warning(row, runs, seeds) for row in doubtful]


def _chance_warning(row: Row, runs: bool, seeds: bool) -> str:
    names = [f'run "{row["run"]}"'] * runs + [f"seed {row['seed']}"] * seeds
    of = f" of {', '.join(names)}" if names else ""
    low, high = map(format_percent, validation_interval(row))
    return (
        f"The baseline{of} is no better than chance: its validation accuracy is "
        f"{format_percent(row['validation_accuracy'])} (95 % CI {low} to {high}), and always "
        f"predicting the largest class gives {format_percent(row['chance'])}. Nothing can be "
        "concluded about pruning. Train the baseline for more epochs, or start from pretrained "
        "weights."
    )


def _best_model(rows: list[Row], goal: Goal) -> BestModel | None:
    """The best model that meets the goal, its drop with 95 % confidence.

    The selection uses validation images only; the test accuracy is reported, not used. Runs whose
    baseline is no better than chance are left out. None where no pruned model qualifies.
    """
    means = pruned_means(above_chance(rows))
    within = [row for row in means if goal.allows(row["drop_bound"], row["sparse_bytes"])]
    if not within or not goal.text:
        return None
    best = min(within, key=sparsity_order if goal.max_drop is not None else accuracy_order)
    return BestModel(
        goal=goal,
        strategy=str(best["strategy"]),
        run=str(best["run"]),
        seeds=int(best["seeds"]),
        target=float(best["sparsity_asked"]),
        sparsity=float(best["sparsity_prunable"]),
        accuracy=float(best["accuracy"]),
        accuracy_drop=float(best["accuracy_drop"]),
        ratio=float(best["compression_ratio"]),
        sparse_bytes=float(best["sparse_bytes"]),
        seconds=float(best["seconds"]),
        several_runs=len({row["run_id"] for row in rows}) > 1,
        iteration=int(best["iteration"]),
        key=str(best["key"]),
        run_id=str(best["run_id"]),
        validation_images=float(best["validation_images"]),
        validation_drop=float(best["validation_drop"]),
        drop_bound=float(best["drop_bound"]),
        candidates=int(best["candidates"]),
    )


def sparsity_order(row: Row) -> tuple[float, float, float]:
    """The sparsest first, then the smaller file, then the shorter fine-tuning."""
    return -round(row["sparsity_prunable"], 6), row["sparse_bytes"], row["seconds"]


def accuracy_order(row: Row) -> tuple[float, float, float]:
    """The smallest bound of the drop first, then the smaller file, then the shorter fine-tuning."""
    return row["drop_bound"], row["sparse_bytes"], row["seconds"]


def _why_none(rows: list[Row], goal: Goal) -> str:
    """Why no pruned model meets the goal, how near the nearest is, and what to do next."""
    means = pruned_means(above_chance(rows))
    if not means:
        warnings = chance_warnings_of(rows, {row["run_id"] for row in rows})
        return " ".join(warnings) or "No pruned model has finished yet."
    if not goal.text:
        return "No goal is set. Enter a maximum accuracy drop or a maximum size."
    return why_too_large(means, goal) or why_too_inaccurate(means, goal)


def why_too_large(means: list[Row], goal: Goal) -> str:
    """The text where a limit of the size excludes models; empty where it excludes none."""
    if goal.max_bytes is None or all(goal.allows_size(row["sparse_bytes"]) for row in means):
        return ""
    together = among(means[0]["candidates"])
    sentences = [f"No pruned model meets the goal of {goal.text} (validation, {together})."]
    small = [row for row in means if goal.allows_size(row["sparse_bytes"])]
    if small:
        nearest = min(small, key=accuracy_order)
        sentences.append(
            f"Of the models of at most {format_bytes(goal.max_bytes)}, the smallest upper bound of "
            f"the drop is {format_points(nearest['drop_bound'])}: {at_sparsity(nearest)} "
            f"({observed_text(nearest['validation_drop'])})."
        )
    accurate = [row for row in means if goal.allows_drop(row["drop_bound"])]
    smallest = min(accurate if accurate else means, key=lambda row: float(row["sparse_bytes"]))
    if accurate or not small:
        drop = "" if goal.max_drop is None or not accurate else " within the accuracy limit"
        excess = format_bytes(smallest["sparse_bytes"] - goal.max_bytes)
        sentences.append(
            f"The smallest file{drop} has {format_bytes(smallest['sparse_bytes'])}, {excess} too "
            f"much: {at_sparsity(smallest)}."
        )
    return " ".join([*sentences, _size_advice(small, accurate, goal)])


def _size_advice(small: list[Row], accurate: list[Row], goal: Goal) -> str:
    """What to do where the `small` files are not accurate enough, and the `accurate` too large.

    Pruning makes a file smaller. Fine-tuning does not; it makes a small file more accurate.
    """
    if not small:
        advice = "Prune more for a smaller file"
        return f"{advice}." if goal.max_drop is None else f"{advice}, and {KEEP_ACCURACY}."
    if any(goal.allows_drop(row["validation_drop"]) for row in small):
        return MORE_IMAGES
    between = "Prune to a sparsity between these two" if accurate else "Prune less"
    limits = "a larger drop or a larger file" if accurate else "a larger drop"
    return f"{between}, fine-tune the small models for more epochs, or allow {limits}."


def why_too_inaccurate(means: list[Row], goal: Goal) -> str:
    """The text where all models are small enough, and no drop is shown to be within its limit."""
    tolerance = goal.max_drop or 0.0
    together = among(means[0]["candidates"])
    limit = f"stay within {format_points(tolerance)}" if tolerance > 0 else "keep the full accuracy"
    safest = min(means, key=lambda row: float(row["drop_bound"]))
    too_few = too_few_images(means, tolerance)
    sentences = [
        f"No pruned model is shown to {limit} (validation, {together}).",
        f"The smallest upper bound of the drop is {format_points(safest['drop_bound'])}: "
        f"{at_sparsity(safest)} ({observed_text(safest['validation_drop'])}).",
        *observed_within(means, tolerance, safest),
        *too_few,
    ]
    within = safest["validation_drop"] <= tolerance + SLACK
    if within or too_few:
        sentences.append(MORE_IMAGES)
        sentences += [] if within else ["Prune less, or fine-tune for more epochs."]
    else:
        sentences.append("Allow a larger drop, prune less, or fine-tune for more epochs.")
    return " ".join(sentences)


def observed_within(means: list[Row], tolerance: float, safest: Row) -> list[str]:
    """A sentence on the sparsest model whose observed drop is within the tolerance."""
    within = [row for row in means if row["validation_drop"] <= tolerance + SLACK]
    sparsest = min(within, key=sparsity_order, default=safest)
    if sparsest is safest:
        return []
    return [
        f"The sparsest model {within_text(tolerance)} is {at_sparsity(sparsest)} "
        f"({observed_text(sparsest['validation_drop'])}, {bound_text(sparsest['drop_bound'])})."
    ]


def within_text(limit: float) -> str:
    """Which observed drops a limit allows: "with an observed drop within 1 point"."""
    return f"with an observed drop within {format_points(limit)}" if limit > 0 else NO_DROP


def too_few_images(means: list[Row], tolerance: float) -> list[str]:
    """A sentence where the images are too few for the tolerance, whatever the models do."""
    images = min(int(row["validation_images"]) for row in means)
    if tolerance <= 0:
        return []
    needed = fewest_images(tolerance, ERROR / means[0]["candidates"])
    if images >= needed:
        return []
    return [
        f"{format_count(images, 'validation image')} {'is' if images == 1 else 'are'} too few for "
        f"this tolerance: it needs at least {needed:,}, even if no prediction changes."
    ]


def at_sparsity(row: Row) -> str:
    name = name_in_sentence(row["strategy"], row["sparsity_asked"], row["iteration"])
    return f"{name} at {format_percent(row['sparsity_prunable'])} sparsity"


def above_chance(rows: list[Row]) -> list[Row]:
    """The rows of the runs whose baselines are better than chance."""
    doubtful = {row["run_id"] for row in chance_baselines(rows)}
    return [row for row in rows if row["run_id"] not in doubtful]


def pruned_means(rows: list[Row]) -> list[Row]:
    """The means of each pruned model over its seeds, with the bound of their drop.

    The bound of a mean is the mean of the bounds of the seeds, which hold together. A model whose
    seeds are all part of the same model of another run is left out: one lucky seed of it would
    otherwise be selected in place of the mean.
    """
    pruned = [row for row in rows if is_pruned(row) and not missing(row["validation_drop"])]
    candidates = len({row["key"] for row in pruned})  # runs may share models
    groups = largest(grouped(pruned, *MODEL_COLUMNS))
    bounds = [fmean(_bound(row, ERROR / candidates) for row in group) for group in groups]
    return [
        {**row, "drop_bound": bound, "candidates": candidates}
        for row, bound in zip(
            mean_over_seeds(row for group in groups for row in group), bounds, strict=True
        )
    ]


def _bound(row: Row, error: float) -> float:
    lost, gained, images = (
        int(row[name]) for name in ("validation_lost", "validation_gained", "validation_images")
    )
    return drop_bound(lost, gained, images, error)
