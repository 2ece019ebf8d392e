"""A run in two short texts for lists: its best model, and its accuracy at the target sparsity."""

from __future__ import annotations

from dataclasses import dataclass

from pruning_core.common.formatting import format_bytes, format_percent
from pruning_core.methods.strategies import MASKED, RATIO_PRUNED
from pruning_core.planning.stage import Outline, Reader
from pruning_core.results.best_model import answers_of
from pruning_core.results.goal import DEFAULT_GOAL, Goal
from pruning_core.results.models import model_rows
from pruning_core.results.rows import Row, is_pruned, mean_over_seeds

# The target sparsity of a run is that of the first of these strategies which it has.
TARGETED = (*MASKED, *RATIO_PRUNED)


@dataclass(frozen=True)
class RunSummary:
    """The best model of a run, and its accuracy at the target sparsity, as texts.

    `best` is the sparsest model that meets the goal: "none" where no model does, "" without a
    finished model or without a goal. `accuracy` is the test accuracy of the iterative model at its
    target, else of the sparsest one-shot or structured model: "" before that model is finished.
    `sparsity` and `test_accuracy` are the numbers in them, from 0 to 1; None where there is none.
    """

    best: str = ""
    accuracy: str = ""
    sparsity: float | None = None
    test_accuracy: float | None = None


def run_summary(outline: Outline, store: Reader, goal: Goal = DEFAULT_GOAL) -> RunSummary:
    """The summary of the finished models of a job."""
    rows = model_rows(outline, store)
    pruned = [row for row in rows if is_pruned(row)]
    if not pruned:
        return RunSummary()
    best = [answer.best for answer in answers_of(rows, goal) if answer.best]
    texts = [f"{format_percent(one.sparsity)}, {format_bytes(one.sparse_bytes)}" for one in best]
    missing = "none" if goal.text else ""
    sparsity = max((one.sparsity for one in best), default=None)
    text, accuracy = _accuracy_at_target(outline, pruned)
    return RunSummary("; ".join(texts) or missing, text, sparsity, accuracy)


def _accuracy_at_target(outline: Outline, pruned: list[Row]) -> tuple[str, float | None]:
    planned = {model.strategy for model in outline.models if model.target > 0}
    strategy = next((name for name in TARGETED if name in planned), "")
    places = [(m.target, m.iteration) for m in outline.models if m.strategy == strategy]
    means = mean_over_seeds([row for row in pruned if row["strategy"] == strategy])
    for row in means:
        if (row["sparsity_asked"], row["iteration"]) == max(places):
            accuracy, target = format_percent(row["accuracy"]), format_percent(max(places)[0])
            return f"{accuracy} at {target}", row["accuracy"]
    return "", None
