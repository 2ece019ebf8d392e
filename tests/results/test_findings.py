"""Findings: at most three sentences, which say which is better and how sure, the best, the cost."""

from __future__ import annotations

from statistics import fmean

import pandas as pd
import pytest

from pruning_core.common.formatting import format_p
from pruning_core.common.statistics import difference_interval, holm, mcnemar, paired_t
from pruning_core.results.findings import Finding, control_notes, findings
from pruning_core.results.goal import Goal
from pruning_core.results.pairs import BETTER, BETWEEN_RUNS, NO_DIFFERENCE
from tests.helpers.frames import comparison, frame, in_run, packed, point, three_seeds


def of_kind(models: pd.DataFrame, kind: str) -> list[str]:
    return [finding.text for finding in findings(models) if finding.kind == kind]


def better(models: pd.DataFrame) -> Finding:
    (only,) = [finding for finding in findings(models) if finding.kind == "better"]
    return only


def test_there_are_three_sentences_and_the_first_says_which_is_better_and_how_sure() -> None:
    first, second, third = findings(frame(comparison()))
    assert [f.kind for f in (first, second, third)] == ["better", "best", "cost"]
    low, high = (f"{100 * end:.2f}".rstrip("0") for end in difference_interval(22, 0, 400))
    assert first.text == (
        "At 90 % target sparsity, one-shot (equal budget) is better than iterative: 88 vs 82.5 %, "
        f"a difference of +5.5 points (95 % CI +{low} to +{high}; McNemar over the test images, "
        "seed 0: p < 0.001; Holm over 3 pairs: p < 0.001); one-shot (equal budget) is also better "
        "than one-shot."
    )
    assert first.verdict == BETTER
    assert second.text == (
        "Iterative at 74.9 % sparsity is the sparsest model with at most 1 point lost: 2.45 MB "
        "(3.75x smaller), test accuracy 94.5 %, true drop at most 0.72 points (95 % confidence for "
        "all 9 models together)."
    )
    assert third.text == (
        "Training cost to 90 %: one-shot (equal budget) 10 epochs, 1 min 41 s; iterative 10 "
        "epochs, 1 min 45 s; one-shot 2 epochs, 20 s."
    )


def test_a_higher_accuracy_alone_is_not_better() -> None:
    # 5 against 0: p = 2 / 2^5 = 0.0625.
    models = frame(
        point("iterative", 0.9, 305, iteration=5, epochs=10),
        point("one_shot_equal_budget", 0.9, 300, epochs=10),
    )
    finding = better(models)
    assert finding.verdict == NO_DIFFERENCE
    assert finding.p == pytest.approx(0.0625)
    assert "no significant difference between iterative and one-shot (equal" in finding.text


def test_holm_over_all_pairs_of_the_sentence_retracts_what_one_pair_would_show() -> None:
    # 6 against 0: p = 2 / 2^6 = 0.03125, which three pairs make 0.09375.
    rows = [point("iterative", 0.9, 306, iteration=5), point("one_shot_equal_budget", 0.9, 300)]
    assert better(frame(rows)).verdict == BETTER
    finding = better(frame(rows, point("one_shot", 0.9, correct=packed(300), right=300)))
    assert finding.verdict == NO_DIFFERENCE
    assert "Holm over 3 pairs" in finding.text


def test_the_p_value_is_corrected_over_all_pairs_at_the_sparsity() -> None:
    models = {r["strategy"]: r for r in comparison() if r["sparsity_asked"] == 0.9}
    pairs = [("one_shot_equal_budget", "iterative"), ("one_shot_equal_budget", "one_shot")]
    pairs.append(("iterative", "one_shot"))
    p = [mcnemar(models[a]["correct"], models[b]["correct"], 400).p for a, b in pairs]
    assert better(frame(comparison())).p == pytest.approx(holm(p)[0])


def test_several_seeds_are_compared_over_the_seeds() -> None:
    lucks = {"run-1": (-9, -5, -13), "run-2": (10, 14, 8)}
    rows = [
        row
        for run, luck in lucks.items()
        for seed in range(3)
        for row in comparison(seed, luck[seed], run=run, run_id=run)
    ]
    finding = better(frame(rows))
    assert finding.text.startswith(
        'At 90 % target sparsity, run "run-2" is better than run "run-1" with one-shot (equal '
        "budget): 90.7 vs 85.8 %, "
    )
    assert finding.text.endswith('; run "run-2" is also better with iterative and one-shot.')
    differences = [19 / 400, 19 / 400, 21 / 400]
    test = paired_t(differences, 1 / 400)
    assert test
    assert f"a difference of +{100 * fmean(differences):.2f} points (95 % CI " in finding.text
    assert f"paired t over 3 seeds: {format_p(test.p)}; Holm over 3 pairs: p = " in finding.text
    assert len(findings(frame(rows))) == 3
    assert "(mean of 3 seeds)" in findings(frame(rows))[2].text


def test_a_model_without_another_is_compared_with_the_dense_control() -> None:
    rows = [row for row in comparison() if row["strategy"] in ("baseline", "one_shot")]
    text = better(frame(rows)).text
    assert text.startswith(
        "At 90 % target sparsity, the fine-tuned dense control is better than one-shot: 95.5 vs "
    )


def test_models_on_other_test_images_are_not_compared_and_it_says_so() -> None:
    other = comparison(run="b", run_id="run-2", test_digest="images-2")
    texts = [finding.text for finding in findings(frame(comparison(), other))]
    assert not any("run b" in text for text in texts[:2])
    assert texts[-1] == "Runs on different test images are not compared: run | b."
    unknown = frame(
        point("iterative", 0.9, iteration=5),
        point("one_shot_equal_budget", 0.9, 300, correct=None),
    )
    assert "cannot be compared, because no results on the same test images" in better(unknown).text


def test_stages_that_runs_share_are_one_model() -> None:
    first = comparison()
    second = [{**row, "run": "other", "run_id": "run-2"} for row in first]
    assert "Holm over 3 pairs" in better(frame(first, second)).text


@pytest.mark.parametrize(
    "runs",
    [((0,), (0, 1, 2)), ((0, 1, 2), (1,)), ((0, 1), (1, 2)), ((0,), (0, 1), (0, 1, 2))],
    ids=str,
)
def test_runs_of_equal_settings_say_what_one_run_with_their_seeds_says(
    runs: tuple[tuple[int, ...], ...],
) -> None:
    rows = three_seeds((0, 6, -3))
    for row in rows:  # so that the differences of the seeds are not all equal
        row["accuracy"] += (row["strategy"] == "iterative") * row["seed"] / 200
    expected = better(frame(rows))
    assert "is better than iterative: " in expected.text
    assert "paired t over 3 seeds" in expected.text
    shared = [row for i, seeds in enumerate(runs) for row in in_run(rows, str(i), *seeds)]
    assert better(frame(shared)) == expected
    assert of_kind(frame(shared), "cost") == of_kind(frame(rows), "cost")


def test_runs_that_share_stages_are_one_run_against_a_third() -> None:
    method, other = three_seeds((9, 7, 11)), three_seeds(run="b", run_id="run-b")
    finding = better(frame(in_run(method, "a", 0), other, in_run(method, "c", 0, 1, 2)))
    assert 'run "c" and run "b" with one-shot (equal budget): 90.2 vs 88 %' in finding.text
    assert "paired t over 3 seeds" in finding.text
    assert "Holm over 3 pairs" in finding.text
    parts = [in_run(method, "a", 0, 1), in_run(method, "c", 1, 2)]
    assert 'between runs "a" and "c" and run "b" with' in better(frame(*parts, other)).text


def test_the_numbers_of_a_pair_are_those_of_its_equal_seeds() -> None:
    """One run has seed 0, the other one three seeds: the means over all differ by 4.75 points."""
    rows = [*comparison(0, 8), *three_seeds((0, -30, -30), run="b", run_id="run-b")]
    finding = better(frame(rows))
    assert "with one-shot (equal budget): 90 vs 88 %, a difference of +2 points" in finding.text
    assert "McNemar over the test images, seed 0" in finding.text
    assert of_kind(frame(rows), "cost")[0].startswith(
        "Training cost to 90 % (means of 1 to 3 seeds): "
    )


def test_runs_that_share_a_strategy_are_compared_with_the_other_one() -> None:
    first = comparison()
    second = in_run(first, "b", 0)
    for row in second:
        if row["strategy"] == "one_shot" and row["sparsity_asked"] == 0.9:
            row |= {"key": "longer", "correct": packed(310), "accuracy": 310 / 400}
    finding = better(frame(first, second))
    assert finding.text.startswith(
        'At 90 % target sparsity, run "b" is better than run "run" with one-shot: 77.5 vs 70 %, '
    )
    assert "Holm over 1 pair:" in finding.text
    assert finding.note == BETWEEN_RUNS


def test_runs_that_share_only_the_baseline_are_compared() -> None:
    other = [
        row if row["strategy"] != "baseline" else {**row, "key": comparison()[0]["key"]}
        for row in comparison(luck=-9, run="b", run_id="run-b")
    ]
    text = better(frame(comparison(), other)).text
    assert 'run "run" is better than run "b" with one-shot (equal budget)' in text


def test_runs_without_a_common_seed_say_so_and_what_is_true_of_each() -> None:
    rows = [*comparison(0), *comparison(5, -9, run="b", run_id="run-b")]
    first, *_, last = findings(frame(rows))
    assert (
        'one-shot (equal budget) of run "run" is better than iterative of run "run"' in first.text
    )
    assert "cannot be compared" not in first.text
    assert first.note == ""
    assert last.text == "Runs without a seed in common are not compared: run | b."
    alone = [point("iterative", 0.9, seed=0), point("iterative", 0.9, seed=1, run_id="b", run="b")]
    assert better(frame(alone)).text.endswith("because they have no seed in common.")


def test_a_stage_of_two_strategies_in_one_run_is_compared_with_the_dense_control() -> None:
    rows = [row for row in comparison() if row["strategy"] in ("baseline", "one_shot")]
    same = {**rows[-1], "strategy": "one_shot_equal_budget"}
    assert "dense control is better than one-shot: " in better(frame(rows, same)).text


def test_the_goal_selects_the_best_model() -> None:
    (text,) = [f.text for f in findings(frame(comparison()), Goal(0.1)) if f.kind == "best"]
    assert text.startswith("One-shot (equal budget) at 90 % sparsity is the sparsest model")
    assert [f.kind for f in findings(frame(comparison()), Goal(None, None))] == ["better", "cost"]


def test_a_baseline_no_better_than_chance_is_the_caveat() -> None:
    rows = [
        point("baseline", 0.0, 44, chance=0.1, validation_images=400),
        *comparison(chance=0.1)[1:],
    ]
    (only,) = findings(frame(rows))
    assert only.kind == "caveat"
    assert "no better than chance" in only.text


def test_without_models_there_is_no_finding() -> None:
    assert findings(pd.DataFrame()) == []
    assert findings(frame(point("baseline"))) == []


def epochs_with(rates: list[float], share: float = 1) -> list[dict[str, float]]:
    """The history of a training that ends its epochs with these learning rates."""
    return [{"epoch": share * (i + 1), "lr": rate} for i, rate in enumerate(rates)]


def chain_and_controls(**controls: list[float]) -> pd.DataFrame:
    """Two steps of an epoch on a schedule each, and controls with these learning rates."""
    steps = [
        point("iterative", target, iteration=i, epochs=i, history=epochs_with([0.1]))
        for i, target in ((1, 0.5), (2, 0.9))
    ]
    rows = [point(name, 0.9, epochs=2, history=epochs_with(r)) for name, r in controls.items()]
    return frame(steps, rows)


def test_the_findings_say_whether_the_control_has_the_learning_rates_of_the_chain() -> None:
    other, equal = [0.5, 0.1], [0.1, 0.1]
    (text,) = control_notes(chain_and_controls(one_shot_equal_budget=other))
    assert text == (
        "One-shot (equal budget) has the epochs of iterative pruning, but one learning-rate "
        "schedule over all of them. Which of the two is better can depend on the learning rates. "
        "The setting "
        '"One-shot, equal learning-rate schedule" (--equal-schedule) adds a control that has those '
        "of iterative pruning."
    )
    both = chain_and_controls(one_shot_equal_budget=other, one_shot_equal_schedule=equal)
    assert control_notes(both) == [
        "One-shot (equal budget) has the epochs of iterative pruning, but one learning-rate "
        "schedule over all of them; one-shot (equal LR schedule) has the epochs and the learning "
        "rates of iterative pruning."
    ]
    assert control_notes(chain_and_controls(one_shot_equal_budget=equal)) == [
        "One-shot (equal budget) has the epochs and the learning rates of iterative pruning."
    ]


def test_an_unfinished_chain_and_unknown_learning_rates_are_not_compared() -> None:
    models = chain_and_controls(one_shot_equal_budget=[0.5, 0.1])
    assert control_notes(models[models["iteration"] < 2]) == []
    assert control_notes(frame(comparison())) == []


def with_final_fine_tuning(seed: int) -> list[dict]:
    """Half-epoch steps and 2.5 epochs of final fine-tuning: 5 in all, as with equal budget."""
    rows = comparison(seed)
    for row in rows:
        if row["strategy"] != "baseline":
            row["epochs"] = 0.5 * max(row["iteration"], 1)
        if row["strategy"] == "one_shot_equal_budget":
            row["epochs"] = 5.0
    cost = {"iteration": 6, "epochs": 5.0, "seconds": 130.0, "seed": seed}
    return [*rows, point("iterative", 0.9, 372 + seed, **cost)]


def test_of_a_chain_with_final_fine_tuning_only_its_end_is_compared() -> None:
    finding = better(frame(with_final_fine_tuning(0)))
    assert "iterative is better than one-shot (equal budget): 93 vs 88 %" in finding.text
    (cost,) = of_kind(frame(with_final_fine_tuning(0)), "cost")
    assert "iterative 5 epochs, 2 min 10 s; " in cost
