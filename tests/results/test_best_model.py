"""The best model: the sparsest within the tolerance, and the reasons to doubt it."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from pruning_core.results.best_model import answers, best_model, why_none
from tests.helpers.frames import comparison, frame, packed, point


def test_the_sparsest_model_within_the_tolerance_is_best() -> None:
    best = best_model(frame(comparison()))
    assert best is not None
    assert (best.strategy, best.target, best.seeds) == ("iterative", 0.749, 1)
    assert best.text == (
        "Best model within 1 point (validation): iterative, 74.9 % sparsity, 2.45 MB (3.75x), "
        "test accuracy 94.5 %."
    )
    assert best.figures == (
        ("sparsity", "74.9 %"),
        ("compression", "3.75x"),
        ("sparse file", "2.45 MB"),
        ("fine-tuning", "1 min 3 s"),
        ("test accuracy", "94.5 %"),
        ("strategy", "iterative"),
    )


def test_without_models_there_is_no_best() -> None:
    empty = pd.DataFrame()
    assert best_model(empty) is None
    assert why_none(empty) == "No pruned model has finished yet."
    (answer,) = answers(empty)
    assert (answer.best, answer.text) == (None, "No pruned model has finished yet.")


def test_a_large_drop_of_test_accuracy_is_a_caveat() -> None:
    rows = [
        point("baseline", 0.0, 380),
        point("one_shot", 0.9, 300, validation_drop=0.0),
    ]
    (answer,) = answers(frame(rows))
    assert answer.best
    assert answer.warnings == (
        "The test accuracy of this model drops by 20 points, more than the tolerance of 1 point.",
    )
    rows[1]["accuracy_drop"] = 0.01
    assert answers(frame(rows))[0].warnings == ()


def test_too_few_validation_images_for_the_tolerance_are_a_caveat() -> None:
    rows = [point("baseline", 0.0, 380), point("one_shot", 0.9, 380, validation_images=32)]
    assert answers(frame(rows))[0].warnings == (
        "The model was selected on 32 validation images. One image is 3.12 points, so a drop of "
        "1 point cannot be measured. Use more training images or a larger validation split.",
    )
    for tolerance in (0.0, 0.04):
        assert answers(frame(rows), tolerance)[0].warnings == ()
    rows[1]["validation_images"] = float("nan")
    assert answers(frame(rows))[0].warnings == ()


def test_a_drop_of_exactly_the_tolerance_is_within_it() -> None:
    # 0.95 - 0.94 is a little more than 0.01 in floats.
    assert 0.95 - 0.94 > 0.01
    models = frame(point("baseline"), point("one_shot", 0.5, accuracy_drop=0.95 - 0.94))
    assert best_model(models, 0.01) is not None
    assert best_model(models, 0.0099) is None


def test_of_equal_sparsity_the_smaller_file_wins() -> None:
    models = frame(
        point("one_shot", 0.5, 380, sparse_bytes=2_000_000, sparsity_prunable=0.5 + 1e-12),
        point("iterative", 0.5, 380, sparse_bytes=1_900_000, iteration=5),
    )
    best = best_model(models)
    assert best is not None
    assert best.strategy == "iterative"


def test_the_mean_over_seeds_decides() -> None:
    lucky = point("one_shot", 0.7, accuracy_drop=0.0)
    unlucky = point("one_shot", 0.7, accuracy_drop=0.03, seed=1)
    assert best_model(frame(lucky)) is not None
    assert best_model(frame(lucky, unlucky)) is None
    best = best_model(frame(lucky, unlucky), 0.015)
    assert best is not None
    assert best.text.endswith("test accuracy 95 % (mean of 2 seeds).")


def test_without_a_best_model_the_smallest_drop_and_what_to_do_are_named() -> None:
    models = frame(point("one_shot", 0.5, 368), point("iterative", 0.9, 340, iteration=5))
    assert best_model(models) is None
    assert why_none(models) == (
        "No pruned model stays within 1 point (validation). The smallest drop is 3 points: "
        "one-shot at 50 % sparsity. Allow a larger drop, prune less, or fine-tune for more epochs."
    )


def test_strategies_stand_in_a_sentence_without_commas() -> None:
    models = frame(point("baseline"), point("one_shot_equal_budget", 0.5))
    best = best_model(models)
    assert best is not None
    assert ": one-shot (equal budget), 50 % sparsity, " in best.text
    assert dict(best.figures)["strategy"] == "one-shot, equal budget"
    corrected = best_model(frame(point("baseline"), point("correction", 0.5, iteration=3)))
    assert corrected is not None
    assert ": training-free (weight reconstruction), 50 % sparsity, " in corrected.text


def test_the_dense_control_is_not_a_pruned_model() -> None:
    assert best_model(frame(point("baseline"), point("one_shot", 0.0, 380))) is None


def doubtful(**changes: Any) -> list[dict]:
    """A comparison whose baseline classifies 44 of 400 images correctly; chance is 40."""
    rows = comparison(chance=0.1, **changes)
    return [point("baseline", 0.0, 44, chance=0.1, **changes), *rows[1:]]


def test_a_baseline_no_better_than_chance_has_no_best_model() -> None:
    models = frame(doubtful())
    assert best_model(models) is None
    (answer,) = answers(models)
    assert (answer.best, answer.text) == (None, "")
    assert answer.warnings == (
        "The baseline is no better than chance: its validation accuracy is 11 % (95 % CI 8.3 % to "
        "14.4 %), and always predicting the largest class gives 10 %. Nothing can be concluded "
        "about pruning. Train the baseline for more epochs, or start from pretrained weights.",
    )
    assert why_none(models) == answer.warnings[0]


def test_an_interval_above_chance_is_sound() -> None:
    # 54 of 400 are 13.5 %, from 10.5 % on: above 10 %, not above 11 %.
    rows = [point("baseline", 0.0, 54, chance=0.1), *comparison(chance=0.1)[1:]]
    assert best_model(frame(rows)) is not None
    assert best_model(frame([{**row, "chance": 0.11} for row in rows])) is None
    assert best_model(frame([{**row, "chance": float("nan")} for row in rows])) is not None


@pytest.mark.parametrize("right", [0, 40, 400])
def test_test_images_choose_nothing(right: int) -> None:
    """Whatever the models do on them, the same model is the best, and no baseline is doubted."""
    tested: dict[str, Any] = {
        "accuracy": right / 400,
        "accuracy_low": right / 500,
        "accuracy_high": 1.0,
    }
    tested |= {"accuracy_drop": 0.5, "loss": 9.0, "correct": packed(right)}
    rows = [{**row, **tested} for row in comparison(chance=0.1)]
    best, usual = best_model(frame(rows)), best_model(frame(comparison(chance=0.1)))
    assert best is not None
    assert usual is not None
    assert (best.strategy, best.target) == (usual.strategy, usual.target)
    assert why_none(frame(rows), -1.0) == why_none(frame(comparison(chance=0.1)), -1.0)


def test_one_doubtful_seed_or_run_is_named() -> None:
    seeds = answers(frame(comparison(chance=0.1), doubtful(seed=1)))
    assert [answer.best for answer in seeds] == [None]
    assert seeds[0].warnings[0].startswith("The baseline of seed 1 is no better than chance")
    (answer,) = answers(frame(comparison(chance=0.1), doubtful(run="b", run_id="run-2")))
    assert answer.best is not None
    assert answer.best.run == "run"
    assert answer.warnings[0].startswith("The baseline of run b is no better than chance")


def test_each_set_of_test_images_has_its_answer() -> None:
    other: dict[str, Any] = {
        "run": "b",
        "run_id": "run-2",
        "test_digest": "images-2",
        "data": "photos",
    }
    first, second = answers(frame(comparison(data="digits"), comparison(**other)))
    assert (first.place, second.place) == (
        "digits, 400 test images (run run)",
        "photos, 400 test images (run b)",
    )
    assert first.best is not None
    assert second.best is not None
    assert ("run", "b") not in second.best.figures


def test_of_several_runs_on_the_same_images_the_answer_names_its_run() -> None:
    worse = comparison(run="b", run_id="run-2", luck=-40)
    for row in worse:
        row["validation_drop"] = 0.5
    (answer,) = answers(frame(worse, comparison()))
    assert answer.place == ""
    assert answer.best is not None
    assert dict(answer.best.figures)["run"] == "run"
    assert ": iterative, run run, 74.9 % sparsity, " in answer.text
