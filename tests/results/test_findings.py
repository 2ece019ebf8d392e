"""Sentences must follow from the data: who is better, by how much, and when nobody is."""

from __future__ import annotations

import pandas as pd
import pytest

from pruning_core.common.statistics import holm, mcnemar
from pruning_core.results.best_model import answers, best_model, why_none
from pruning_core.results.findings import findings
from tests.helpers.frames import comparison, frame, packed, point


def of_kind(points: pd.DataFrame, kind: str) -> list[str]:
    return [finding.text for finding in findings(points) if finding.kind == kind]


def two(first: dict, second: dict) -> pd.DataFrame:
    """An iterative point of 10 epochs against a equal_budget one, both at 90 %."""
    return frame(
        point("iterative", 0.9, iteration=5, epochs=10, **first),
        point("one_shot_equal_budget", 0.9, **{"epochs": 10, **second}),
    )


def test_better_is_said_of_the_right_side_with_all_its_numbers() -> None:
    text = of_kind(two({"right": 340}, {"right": 300}), "pair")[0]
    assert text == (
        "At 90 % asked, seed 0: iterative (85 %) is better than one-shot with the same "
        "10 epochs (75 %): of 400 test images, 40 are right only with the first and 0 only "
        "with the second, p < 0.001 after Holm's correction over 1 pair."
    )


def test_the_winner_comes_first_when_it_is_the_other() -> None:
    text = of_kind(two({"right": 300}, {"right": 340}), "pair")[0]
    assert "one-shot with the same 10 epochs (85 %) is better than iterative (75 %)" in text
    assert "40 are right only with the first and 0 only with the second" in text


def test_equal_accuracy_on_other_images_counts_both_directions() -> None:
    text = of_kind(two({"right": 300}, {"right": 300, "shift": 6}), "pair")[0]
    assert "no difference can be shown between iterative (75 %) and one-shot" in text
    assert "6 are right only with the first and 6 only with the second, p = 1 after" in text


def test_a_higher_accuracy_alone_is_not_better() -> None:
    # 5 against 0: p = 2 / 2^5 = 0.0625.
    finding = findings(two({"right": 305}, {"right": 300}))[0]
    assert finding.verdict == "no difference"
    assert finding.p == pytest.approx(0.0625)


def test_holm_over_all_pairs_takes_back_what_one_pair_alone_would_show() -> None:
    # 6 against 0: p = 2 / 2^6 = 0.03125, which two pairs make 0.0625.
    alone = two({"right": 306}, {"right": 300})
    both = frame(
        alone.to_dict("records"),
        point("one_shot", 0.9, correct=packed(306), right=306, epochs=10),
    )
    assert findings(alone)[0].verdict == "better"
    pairs = [finding for finding in findings(both) if finding.kind == "pair"]
    assert len(pairs) == 3
    assert {finding.verdict for finding in pairs} == {"no difference"}
    assert all("over 3 pairs" in finding.text for finding in pairs)


def test_every_pair_of_a_comparison_is_there_and_corrected_together() -> None:
    points = frame(comparison())
    rows = {(r["strategy"], r["sparsity_asked"]): r["correct"] for r in points.to_dict("records")}
    control = ("one_shot", 0.0)
    wanted = [
        (("iterative", 0.9), ("one_shot_equal_budget", 0.9)),
        (("iterative", 0.9), ("one_shot", 0.9)),
        (("one_shot_equal_budget", 0.9), ("one_shot", 0.9)),
        (("iterative", 0.9), control),
        (("one_shot", 0.9), control),
        (("one_shot_equal_budget", 0.9), control),
        (control, ("baseline", 0.0)),
    ]
    expected = holm([mcnemar(rows[a], rows[b], 400).p for a, b in wanted])
    found = [finding.p for finding in findings(points) if finding.kind == "pair"]
    assert found == pytest.approx(expected)


def test_unequal_budgets_are_said() -> None:
    texts = of_kind(frame(comparison()), "pair")
    against_one_shot = next(t for t in texts if "is better than one-shot (" in t)
    assert ", with 10 epochs of fine-tuning against 2:" in against_one_shot
    control = next(t for t in texts if "baseline" in t)
    assert "with 2 epochs of fine-tuning against none" in control
    assert "of fine-tuning" not in of_kind(two({}, {}), "pair")[0]


def test_a_matched_run_of_other_length_is_not_called_the_same() -> None:
    text = of_kind(two({}, {"epochs": 7}), "pair")[0]
    assert "one-shot with the iterative run's 7 epochs" in text


def test_points_at_other_sparsities_are_no_pair() -> None:
    points = frame(point("iterative", 0.9, iteration=5), point("one_shot", 0.8))
    assert of_kind(points, "pair") == []


def test_an_unfinished_chain_is_not_compared_with_its_target() -> None:
    points = frame([r for r in comparison() if r["iteration"] < 5])
    assert not [
        t for t in of_kind(points, "pair") if t.startswith("At 90 %") and "iterative (" in t
    ]


def test_other_test_images_are_not_compared_and_said_so() -> None:
    points = two({"right": 340}, {"right": 300, "test_digest": "images-2"})
    assert of_kind(points, "pair") == []
    assert "cannot be compared image by image" in of_kind(points, "note")[0]


def test_runs_that_share_stages_count_a_pair_once() -> None:
    first = comparison()
    second = [{**row, "run": "other", "run_id": "run-2"} for row in first]
    pairs = [f for f in findings(frame(first, second)) if f.kind == "pair"]
    assert len(pairs) == 7
    assert pairs[0].runs == ("run", "other")
    assert pairs[0].text.startswith("Runs run and other, at 90 % asked, seed 0:")


def test_one_stage_under_two_names_is_no_pair() -> None:
    points = two({"key": "same"}, {"key": "same"})
    assert of_kind(points, "pair") == []


def test_several_seeds_are_tested_apart_and_described_together() -> None:
    points = frame(comparison(), comparison(1, 4), comparison(2, -4))
    assert {f.seed for f in findings(points) if f.kind == "pair"} == {0, 1, 2}
    text = of_kind(points, "seeds")[0]
    assert "iterative 82.5 % (standard deviation 1 point, 3 seeds)" in text
    assert "no test is made" in text
    assert of_kind(frame(comparison()), "seeds") == []


def test_the_budget_of_both_strategies() -> None:
    text = of_kind(frame(comparison()), "budget")[0]
    assert "to 90 % asked: iterative took 10 epochs and 1 min 45 s" in text
    assert (
        "one-shot took 2 epochs and 20 s, against which iterative took 5 times the epochs" in text
    )
    assert "and 5.25 times the seconds" in text
    assert "the same epochs and 1.04 times the seconds" in text


def test_nothing_comes_from_nothing() -> None:
    empty = pd.DataFrame()
    assert findings(empty) == []
    assert best_model(empty) is None
    assert "No pruned point is finished yet" in why_none(empty)
    assert findings(frame(point("baseline"))) == []


def test_headline_is_the_most_sparse_point_within_the_loss() -> None:
    answer = best_model(frame(comparison()))
    assert answer is not None
    assert (answer.strategy, answer.asked, answer.seeds) == ("iterative", 0.749, 1)
    assert answer.text == (
        "At most 1 point lost on the validation images: 74.9 % sparse, 3.75 times smaller, "
        "2.45 MB, 1 min 3 s of fine-tuning, test accuracy 94.5 % (iterative)."
    )
    assert dict(answer.figures)["sparse file"] == "2.45 MB"


def test_a_choice_that_the_test_images_do_not_bear_out_is_doubted() -> None:
    rows = [
        point("baseline", 0.0, 380),
        point("one_shot", 0.9, 300, validation_drop=0.0),
    ]
    (answer,) = answers(frame(rows))
    assert answer.best
    (said,) = answer.warnings
    assert said == (
        "On the test images this model loses 20 points, though at most 1 point may be lost."
    )
    rows[1]["accuracy_drop"] = 0.01
    assert answers(frame(rows))[0].warnings == ()


def test_too_few_validation_images_for_the_loss_asked_are_named() -> None:
    rows = [point("baseline", 0.0, 380), point("one_shot", 0.9, 380, validation_images=32)]
    (said,) = answers(frame(rows))[0].warnings
    assert said.startswith("It was chosen on 32 validation images, each of which counts 3.12")
    for tolerance in (0.0, 0.04):
        assert answers(frame(rows), tolerance)[0].warnings == ()
    rows[1]["validation_images"] = float("nan")
    assert answers(frame(rows))[0].warnings == ()


def test_a_loss_of_exactly_the_tolerance_counts() -> None:
    # 0.95 - 0.94 is a little more than 0.01 in floats.
    assert 0.95 - 0.94 > 0.01
    points = frame(point("baseline"), point("one_shot", 0.5, accuracy_drop=0.95 - 0.94))
    assert best_model(points, 0.01) is not None
    assert best_model(points, 0.0099) is None


def test_of_equal_sparsity_the_smaller_file_wins() -> None:
    points = frame(
        point("one_shot", 0.5, 380, sparse_bytes=2_000_000, sparsity_prunable=0.5 + 1e-12),
        point("iterative", 0.5, 380, sparse_bytes=1_900_000, iteration=5),
    )
    answer = best_model(points)
    assert answer is not None
    assert answer.strategy == "iterative"


def test_headline_judges_the_mean_over_seeds() -> None:
    lucky = point("one_shot", 0.7, accuracy_drop=0.0)
    unlucky = point("one_shot", 0.7, accuracy_drop=0.03, seed=1)
    assert best_model(frame(lucky)) is not None
    assert best_model(frame(lucky, unlucky)) is None
    answer = best_model(frame(lucky, unlucky), 0.015)
    assert answer is not None
    assert "mean of 2 seeds" in answer.text


def test_no_headline_names_the_smallest_loss_and_what_to_do() -> None:
    points = frame(point("one_shot", 0.5, 368), point("iterative", 0.9, 340, iteration=5))
    assert best_model(points) is None
    text = why_none(points)
    assert "at most 1 point on the validation images. The smallest loss is 3 points" in text
    assert "by one-shot at 50 % sparsity." in text
    assert "fine-tune for more epochs" in text


def test_the_dense_control_is_not_a_pruned_point() -> None:
    assert best_model(frame(point("baseline"), point("one_shot", 0.0, 380))) is None


def doubtful(**changes: object) -> list[dict]:
    """A comparison whose baseline got 44 of 400 images right, where chance gets 40."""
    rows = comparison(chance=0.1, **changes)
    return [point("baseline", 0.0, 44, chance=0.1, **changes), *rows[1:]]


def test_a_baseline_no_better_than_chance_is_not_praised() -> None:
    points = frame(doubtful())
    assert best_model(points) is None
    (answer,) = answers(points)
    assert (answer.best, answer.text) == (None, "")
    assert answer.warnings == (
        "The baseline is itself no better than chance: it gets 11 % of the test images right "
        "(95 % interval 8.3 % to 14.4 %), and always naming the largest class gets 10 %. So "
        "nothing can be concluded about pruning. Train the baseline for more epochs, or start "
        "from trained weights.",
    )
    assert why_none(points) == answer.warnings[0]
    assert findings(points)[0].kind == "baseline"


def test_an_interval_above_chance_is_believed() -> None:
    # 54 of 400 are 13.5 %, from 10.5 % on: above 10 %, not above 11 %.
    rows = [point("baseline", 0.0, 54, chance=0.1), *comparison(chance=0.1)[1:]]
    assert best_model(frame(rows)) is not None
    assert best_model(frame([{**row, "chance": 0.11} for row in rows])) is None
    assert best_model(frame([{**row, "chance": float("nan")} for row in rows])) is not None


def test_one_doubtful_seed_or_run_is_named() -> None:
    seeds = answers(frame(comparison(chance=0.1), doubtful(seed=1)))
    assert [answer.best for answer in seeds] == [None]
    assert seeds[0].warnings[0].startswith("The baseline of seed 1 is itself no better")
    (answer,) = answers(frame(comparison(chance=0.1), doubtful(run="b", run_id="run-2")))
    assert answer.best is not None
    assert answer.best.run == "run"
    assert answer.warnings[0].startswith("The baseline of run b is itself no better")


def test_other_test_images_have_an_answer_of_their_own() -> None:
    other = {"run": "b", "run_id": "run-2", "test_digest": "images-2", "data": "photos"}
    first, second = answers(frame(comparison(data="digits"), comparison(**other)))
    assert (first.place, second.place) == (
        "digits, 400 test images (run run)",
        "photos, 400 test images (run b)",
    )
    assert first.best is not None
    assert second.best is not None
    assert ("run", "b") not in second.best.figures


def test_of_several_runs_on_the_same_images_the_answer_names_its_own() -> None:
    worse = comparison(run="b", run_id="run-2", luck=-40)
    for row in worse:
        row["validation_drop"] = 0.5
    (answer,) = answers(frame(worse, comparison()))
    assert answer.place == ""
    assert answer.best is not None
    assert dict(answer.best.figures)["run"] == "run"
    assert "(iterative, run run)." in answer.text


def test_of_nothing_there_is_one_answer() -> None:
    (answer,) = answers(pd.DataFrame())
    assert "No pruned point is finished yet" in answer.text


def tailed(seed: int, **changes: float) -> list[dict]:
    """A comparison in half-epoch steps with a tail of 2.5 epochs: five in all, as equal_budget."""
    rows = comparison(seed)
    for row in rows:
        if row["strategy"] != "baseline":
            row["epochs"] = 0.5 * max(row["iteration"], 1)
        if row["strategy"] == "one_shot_equal_budget":
            row["epochs"] = 5.0
    spent = {"iteration": 6, "epochs": 5.0, "seconds": 130.0, "seed": seed}
    return [*rows, point("iterative", 0.9, 372 + seed, **spent)]


def test_of_a_chain_with_a_tail_its_end_is_compared_once() -> None:
    texts = of_kind(frame(tailed(0)), "pair")
    at_target = [text for text in texts if text.startswith("At 90 % asked")]
    assert [text.count("iterative (93 %)") for text in at_target] == [1, 1, 0]
    assert "one-shot with the same 5 epochs" in at_target[0]
    assert "with 5 epochs of fine-tuning against 0.5" in at_target[1]


def test_a_tail_is_no_second_seed() -> None:
    assert of_kind(frame(tailed(0)), "seeds") == []
    (seeds,) = of_kind(frame(tailed(0), tailed(1)), "seeds")
    assert "iterative 93.1 % (standard deviation 0.18 points, 2 seeds)" in seeds
    (budget,) = of_kind(frame(tailed(0)), "budget")
    assert "iterative took 5 epochs and 2 min 10 s" in budget
    assert "one-shot took 0.5 epochs" in budget
