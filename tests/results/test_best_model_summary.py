"""The answer for a run in one line."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pruning_core.results.best_model import Answer, answers, answers_of
from pruning_core.results.best_model_summary import best_model_summary
from pruning_core.results.goal import Goal
from tests.helpers.frames import comparison, frame


def test_the_best_model_in_one_line() -> None:
    found = answers(frame(comparison()))
    assert best_model_summary(found) == (
        "Best with at most 1 point lost: iterative, 74.9 % sparsity, 2.45 MB, test accuracy 94.5 %."
    )


def test_where_no_model_meets_the_goal_the_line_says_so_without_numbers() -> None:
    none = answers(frame(comparison()), Goal(0.01, 1000))
    assert best_model_summary(none) == (
        "No pruned model meets the goal of at most 1 point lost and at most 1.00 kB."
    )
    assert best_model_summary(answers_of([])) == "No pruned model has finished yet."
    unset = answers(frame(comparison()), Goal(None, None))
    assert best_model_summary(unset) == "No goal is set."


def test_a_test_accuracy_that_contradicts_the_summary_is_reported() -> None:
    (answer,) = answers(frame(comparison()))
    assert answer.best
    doubtful = replace(answer, best=replace(answer.best, accuracy_drop=0.03))
    summary = best_model_summary([doubtful])
    assert "but the test accuracy drops more than the goal allows." in summary


@pytest.mark.parametrize(
    ("warning", "line"),
    [
        (
            "The baseline is no better than chance: its validation accuracy is 10 % (95 % CI 8 to "
            "12 %). Nothing can be concluded.",
            "The baseline is no better than chance.",
        ),
        ("", ""),
    ],
)
def test_an_unsound_baseline_is_told(warning: str, line: str) -> None:
    assert best_model_summary([Answer("", None, "", (warning,))]) == line


def test_each_test_set_has_its_answer() -> None:
    two = [Answer("digits", None, "No model. Why."), Answer("cifar10", None, "No model. Why.")]
    assert best_model_summary(two) == "Digits: No model. Cifar10: No model."
