"""The verdict on a comparison: which model meets the goal, or why the results name none.

Pages, the HTML report and the command line say the same, because they all show this. Where the
images or the baseline support no answer there are no figures, only the reasons.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import pandas as pd

from pruning_core.common.formatting import (
    format_bytes,
    format_count,
    format_percent,
    format_points,
    format_times,
    signed,
)
from pruning_core.methods.strategies import BASELINE
from pruning_core.results.best_model import (
    MORE_IMAGES,
    Answer,
    BestModel,
    above_chance,
    accuracy_order,
    among,
    answers_of,
    at_sparsity,
    bound_points,
    bound_sentence,
    bound_text,
    change_text,
    observed_text,
    pruned_means,
    sparsity_order,
    too_few_images,
    why_too_large,
    within_text,
)
from pruning_core.results.goal import DEFAULT_GOAL, Goal
from pruning_core.results.rows import Row, grouped, mean_over_seeds, rows_of

# The kinds of verdict.
MET, MISSED, UNRELIABLE, UNFINISHED, NO_GOAL = (
    "met",
    "missed",
    "unreliable",
    "unfinished",
    "no goal",
)
HEADINGS = {
    MET: "Best model within the goal",
    MISSED: "No model meets the goal",
    UNRELIABLE: "No reliable answer",
    UNFINISHED: "No result yet",
    NO_GOAL: "No goal is set",
}


@dataclass(frozen=True)
class KeyFigure:
    """A figure of the verdict. `change` compares it with the dense baseline, or is empty."""

    label: str
    value: str
    change: str = ""


@dataclass(frozen=True)
class Verdict:
    """The verdict for one set of test images.

    `place` names the data set where there are several. Only a verdict of the kind `MET` has
    `figures`. `reasons` say why there is no model, and what to do; `nearest` names the nearest
    models. `basis` says on which images the statement rests. `notes` are about other baselines.

    `best` is the model that meets the goal. `key` is the key of the model's stage, or else of the
    nearest model's, and `run_id` that of its run; they are empty without any. `models` are the
    means of all candidates with the bound of their drop, `baselines` those of their baselines.
    """

    kind: str
    goal: Goal
    place: str = ""
    sentence: str = ""
    figures: tuple[KeyFigure, ...] = ()
    basis: str = ""
    reasons: tuple[str, ...] = ()
    nearest: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    best: BestModel | None = None
    key: str = ""
    run_id: str = ""
    models: tuple[Row, ...] = ()
    baselines: tuple[Row, ...] = ()

    @property
    def heading(self) -> str:
        """What kind of verdict it is, as a heading."""
        return HEADINGS[self.kind]

    @property
    def text(self) -> str:
        """Everything but the figures, as sentences."""
        heading = () if self.kind == MET else (f"{self.heading}.",)
        return " ".join(
            part
            for part in (*heading, self.sentence, self.basis, *self.reasons, *self.nearest)
            if part
        )

    @property
    def summary(self) -> str:
        """One sentence: the model with its figures, or the first reason."""
        if self.best is None or self.kind != MET:
            reason = next(iter((*filter(None, (self.sentence,)), *self.reasons)), "")
            # "No model" and the like go on after the colon, numbers and names as they are.
            return f"{self.heading}: {reason[:1].lower()}{reason[1:]}"
        best = self.best
        size = f"{format_bytes(best.sparse_bytes)} ({format_times(best.ratio)}x smaller)"
        return (
            f"{self.sentence.removesuffix('.')}: {size}, "
            f"test accuracy {format_percent(best.accuracy)}, "
            f"{bound_text(best.drop_bound)} ({among(best.candidates)})."
        )


def verdicts(frame: pd.DataFrame, goal: Goal = DEFAULT_GOAL) -> list[Verdict]:
    """One verdict for each set of test images: figures on different images do not compare."""
    return verdicts_of(rows_of(frame), goal)


def verdicts_of(rows: list[Row], goal: Goal = DEFAULT_GOAL) -> list[Verdict]:
    """`verdicts` for a frame that is given as rows."""
    groups = grouped(rows, "test_digest") or [[]]
    return [
        _verdict(answer, group, goal)
        for answer, group in zip(answers_of(rows, goal), groups, strict=True)
    ]


def _verdict(answer: Answer, rows: list[Row], goal: Goal) -> Verdict:
    usable = above_chance(rows)
    means = pruned_means(usable)
    verdict = Verdict(
        UNFINISHED,
        goal,
        answer.place,
        models=tuple(means),
        baselines=tuple(_baselines(usable, means)),
    )
    if rows and not usable:
        return replace(verdict, kind=UNRELIABLE, reasons=answer.warnings)
    if not means:
        return replace(verdict, sentence="No pruned model has finished yet.")
    if not goal.text:
        advice = "Enter a maximum accuracy drop or a maximum size."
        return replace(verdict, kind=NO_GOAL, sentence=advice)
    best = answer.best
    if best is None:
        return _no_model(replace(verdict, notes=answer.warnings), means)
    contradictions = best.caveats
    notes = tuple(text for text in answer.warnings if text not in contradictions)
    verdict = replace(verdict, notes=notes, best=best, key=best.key, run_id=best.run_id)
    name = _name(best)
    if contradictions:
        advice = (
            "Use several seeds or more validation images, or allow a larger drop. Test accuracy is "
            "never used to select another model."
        )
        return replace(
            verdict,
            kind=UNRELIABLE,
            reasons=(f"{name} was selected on validation images. {contradictions[0]}", advice),
            nearest=(_basis(best), _size(best)),
        )
    limit = "has the smallest accuracy drop" if goal.max_drop is None else "is the sparsest model"
    return replace(
        verdict,
        kind=MET,
        sentence=f"{name} {limit} with {goal.text}.",
        figures=_figures(best),
        basis=_basis(best),
    )


def _baselines(rows: list[Row], means: list[Row]) -> list[Row]:
    """The means of the baselines of the runs whose models are candidates."""
    runs = {row["run_id"] for row in means}
    baselines = [row for row in rows if row["strategy"] == BASELINE]
    return mean_over_seeds(row for row in baselines if not runs or row["run_id"] in runs)


def _no_model(verdict: Verdict, means: list[Row]) -> Verdict:
    """Why no model meets the goal: none does, or the images are too few to tell."""
    goal = verdict.goal
    small = [row for row in means if goal.allows_size(row["sparse_bytes"])]
    limit = goal.max_drop if small else None
    within = [row for row in small if limit is not None and goal.allows_drop(_observed(row))]
    too_few = too_few_images(small, limit) if limit else []
    if within or too_few:
        return _too_few(verdict, small, within, too_few)
    if small:
        nearest = min(small, key=accuracy_order)
    else:  # the smallest file, of the models within the accuracy limit where there are any
        accurate = [row for row in means if goal.allows_drop(row["drop_bound"])]
        nearest = min(accurate or means, key=lambda row: float(row["sparse_bytes"]))
    verdict = replace(verdict, kind=MISSED, key=nearest["key"], run_id=nearest["run_id"])
    if too_large := why_too_large(means, goal):
        # Its first sentence says what the heading says.
        return replace(verdict, reasons=(too_large.partition("). ")[2] or too_large,))
    return replace(
        verdict,
        sentence=f"{_every(means)} loses {_more_than(goal.max_drop or 0.0)} on the "
        "validation images.",
        reasons=("Allow a larger drop, prune less, or fine-tune for more epochs.",),
        nearest=(f"The nearest is {_nearest(nearest)}.",),
    )


def _too_few(verdict: Verdict, small: list[Row], within: list[Row], why: list[str]) -> Verdict:
    """The verdict where `small` models may meet the goal, and the images are too few to tell."""
    limit, nearest = verdict.goal.max_drop or 0.0, min(small, key=accuracy_order)
    images = min(int(row["validation_images"]) for row in small)
    claim = "a model keeps the full accuracy, although one has no observed drop"
    if limit > 0:
        claim = f"the true drop of a model is at most {format_points(limit)}, although an observed "
        claim += "drop is"
    unproven = f"{format_count(images, 'validation image')} cannot show that {claim}."
    chosen, texts = nearest, [f"The nearest is {_nearest(nearest)}."]
    if within:
        chosen = min(within, key=sparsity_order)
        texts = [f"The sparsest model {within_text(limit)} is {_nearest(chosen)}."]
    if chosen is not nearest:
        texts.append(f"The smallest upper bound is that of {_nearest(nearest)}.")
    return replace(
        verdict,
        kind=UNRELIABLE,
        reasons=(*(why or [unproven]), MORE_IMAGES),
        nearest=tuple(texts),
        key=chosen["key"],
        run_id=chosen["run_id"],
    )


def _observed(row: Row) -> float:
    return float(row["validation_drop"])


def _nearest(row: Row) -> str:
    """A model with its size, its observed drop and the bound of it."""
    return (
        f"{at_sparsity(row)}: {format_bytes(row['sparse_bytes'])}, "
        f"{observed_text(_observed(row))}, {bound_text(row['drop_bound'])} "
        f"({among(row['candidates'])})"
    )


def _every(means: list[Row]) -> str:
    return "Every pruned model" if len(means) > 1 else "The pruned model"


def _more_than(limit: float) -> str:
    """A drop above the limit: "more than 1 point"."""
    return f"more than {format_points(limit)}" if limit > 0 else "accuracy"


def _name(best: BestModel) -> str:
    """The model at the beginning of a sentence, with its run where there are several."""
    row = {"strategy": best.strategy, "sparsity_asked": best.target, "iteration": best.iteration}
    name = at_sparsity({**row, "sparsity_prunable": best.sparsity})
    run = f" (run {best.run})" if best.several_runs else ""
    return f"{name[0].upper()}{name[1:]}{run}"


def _basis(best: BestModel) -> str:
    mean = f" (mean of {best.seeds} seeds)" if best.seeds > 1 else ""
    return (
        f"On {format_count(round(best.validation_images), 'validation image')} its accuracy "
        f"{change_text(best.validation_drop)}{mean}; {bound_sentence(best.drop_bound)} "
        f"({among(best.candidates)})."
    )


def _size(best: BestModel) -> str:
    return f"Its sparse file has {format_bytes(best.sparse_bytes)} ({format_times(best.ratio)}x)."


def _figures(best: BestModel) -> tuple[KeyFigure, ...]:
    """Size, sparsity, test accuracy and the bound of the drop."""
    change, smaller = signed(-best.accuracy_drop), f"{format_times(best.ratio)}x smaller"
    observed = format_points(best.validation_drop).replace("-", "\u2212")
    return (
        KeyFigure("Sparse file", format_bytes(best.sparse_bytes), smaller),
        KeyFigure("Sparsity", format_percent(best.sparsity)),
        KeyFigure("Test accuracy", format_percent(best.accuracy), f"{change} points"),
        KeyFigure(
            "Accuracy drop, at most",
            bound_points(best.drop_bound),
            f"observed {observed}" if round(best.validation_drop, 6) else "none observed",
        ),
    )
