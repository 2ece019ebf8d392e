"""The verdict: a model with its figures, or the reasons why there is none."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from pruning_core.results.goal import DEFAULT_GOAL, Goal
from pruning_core.results.verdict import (
    MET,
    MISSED,
    NO_GOAL,
    UNFINISHED,
    UNRELIABLE,
    Verdict,
    verdicts,
)
from tests.helpers.frames import comparison, frame, in_run, point, three_seeds
from tests.results.test_best_model import on_validation


def verdict(models: pd.DataFrame, goal: Goal = DEFAULT_GOAL) -> Verdict:
    (only,) = verdicts(models, goal)
    return only


def test_a_model_that_meets_the_goal_comes_with_four_figures() -> None:
    rows = comparison()
    one = verdict(frame(rows), Goal(0.01, 3e6))
    assert (one.kind, one.heading) == (MET, "Best model within the goal")
    assert one.sentence == (
        "Iterative at 74.9 % sparsity is the sparsest model with at most 1 point lost and at most "
        "3.00 MB."
    )
    assert [(f.label, f.value, f.change) for f in one.figures] == [
        ("Sparse file", "2.45 MB", "3.75x smaller"),
        ("Sparsity", "74.9 %", ""),
        ("Test accuracy", "94.5 %", "\u22120.5 points"),
        ("Accuracy drop, at most", "0.72 points", "observed 0.5 points"),
    ]
    assert one.key == next(row["key"] for row in rows if row["sparsity_asked"] == 0.749)
    assert one.run_id == "run-1"
    assert (one.reasons, one.nearest, one.notes) == ((), (), ())
    size = verdict(frame(rows), Goal(None, 3e6))
    assert size.sentence.endswith("has the smallest accuracy drop with at most 3.00 MB.")


UNDECIDED: dict[str, list[dict[str, Any]]] = {
    # Too few for any model, and enough for a model that changes no prediction, but not for these.
    "144 validation images are too few": [point("one_shot", 0.5, **on_validation(0, 0, 144))],
    "800 validation images cannot show": [point("one_shot", 0.5, **on_validation(30, 28, 800))],
}


@pytest.mark.parametrize("reason", UNDECIDED)
def test_too_few_validation_images_give_no_figures(reason: str) -> None:
    one = verdict(frame(point("baseline"), UNDECIDED[reason]))
    assert (one.kind, one.heading, one.figures) == (UNRELIABLE, "No reliable answer", ())
    assert one.reasons[0].startswith(reason)
    assert "Use more validation images" in one.reasons[1]
    assert one.nearest[0].startswith("The sparsest model with an observed drop within 1 point is ")
    assert one.best is None
    assert one.key == UNDECIDED[reason][0]["key"]


def test_a_selection_that_the_test_accuracy_contradicts_gives_no_figures() -> None:
    one = verdict(frame(point("baseline"), point("one_shot", 0.9, 300, validation_drop=0.0)))
    assert (one.kind, one.figures) == (UNRELIABLE, ())
    assert "drops by 20 points, more than the goal of 1 point" in one.reasons[0]
    assert "Use several seeds" in one.reasons[1]
    assert one.best


def test_a_baseline_at_chance_gives_no_figures() -> None:
    doubtful = {"validation_accuracy": 0.11, "validation_images": 100}
    rows = [*comparison(chance=0.1)]
    rows[0] |= doubtful
    one = verdict(frame(rows))
    assert (one.kind, one.figures, one.models) == (UNRELIABLE, (), ())
    assert "no better than chance" in one.reasons[0]
    assert "Train the baseline for more epochs" in one.reasons[0]
    beside = verdict(frame(rows, comparison(run="b", run_id="run-2", chance=0.1)))
    assert beside.kind == MET
    assert beside.run_id == "run-2"
    assert "no better than chance" in beside.notes[0]


def test_where_no_model_meets_the_goal_the_nearest_is_named() -> None:
    dense = [row for row in comparison() if row["sparsity_asked"] in (0.0, 0.9)]
    one = verdict(frame(dense))
    assert (one.kind, one.heading, one.figures) == (MISSED, "No model meets the goal", ())
    assert one.sentence == "Every pruned model loses more than 1 point on the validation images."
    assert one.nearest == (
        "The nearest is one-shot (equal budget) at 90 % sparsity: 1.13 MB, observed drop 7 points, "
        "true drop at most 7.59 points (95 % confidence for all 3 models together).",
    )
    assert one.key == dense[-1]["key"]
    small = verdict(frame(comparison()), Goal(0.01, 500_000))
    assert small.kind == MISSED
    assert "too much: iterative at 74.9 % sparsity" in small.text
    assert small.key == next(r["key"] for r in comparison() if r["sparsity_asked"] == 0.749)
    assert "Prune more for a smaller file" in small.text


def test_too_large_files_are_no_question_of_images() -> None:
    few = frame(point("baseline"), point("one_shot", 0.5, **on_validation(0, 0, 144)))
    assert verdict(few, Goal(0.01, 100_000)).kind == MISSED


def test_each_set_of_test_images_has_its_verdict() -> None:
    other = comparison(run="b", run_id="run-2", test_digest="images-2")
    first, second = verdicts(frame(comparison(data="digits"), other))
    assert (first.run_id, second.run_id) == ("run-1", "run-2")
    assert first.place.startswith("digits, 400 test images")


def test_a_run_that_is_part_of_another_one_adds_no_candidate_and_no_baseline() -> None:
    rows = three_seeds()
    alone = verdict(frame(rows))
    both = verdict(frame(in_run(rows, "a", 0), in_run(rows, "b", 0, 1, 2)))
    assert [row["key"] for row in both.models] == [row["key"] for row in alone.models]
    assert [(row["run"], row["seeds"]) for row in both.baselines] == [("b", 3)]
    assert (both.kind, both.key) == (alone.kind, alone.key)


def test_without_models_or_goal_it_says_so() -> None:
    assert verdict(pd.DataFrame()).kind == UNFINISHED
    assert verdict(frame(point("baseline"))).kind == UNFINISHED
    assert verdict(frame(comparison()), Goal(None, None)).kind == NO_GOAL
