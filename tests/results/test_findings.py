"""Findings follow from the data: which model is better, by how much, and when none is."""

from __future__ import annotations

import pandas as pd
import pytest

from pruning_core.common.statistics import holm, mcnemar
from pruning_core.results.findings import BETTER, NO_DIFFERENCE, Finding, findings
from tests.helpers.frames import comparison, frame, packed, point


def of_kind(models: pd.DataFrame, kind: str) -> list[str]:
    return [finding.text for finding in findings(models) if finding.kind == kind]


def first_pair(models: pd.DataFrame) -> Finding:
    return next(finding for finding in findings(models) if finding.kind == "pair")


def two(first: dict, second: dict) -> pd.DataFrame:
    """An iterative model of 10 epochs and one-shot with equal budget, both at 90 %."""
    return frame(
        point("iterative", 0.9, iteration=5, epochs=10, **first),
        point("one_shot_equal_budget", 0.9, **{"epochs": 10, **second}),
    )


def test_the_better_model_comes_with_all_numbers() -> None:
    finding = first_pair(two({"right": 340}, {"right": 300}))
    assert finding.text == (
        "At 90 % target sparsity, seed 0: iterative is better than one-shot (equal budget) "
        "(85 vs 75 %, 10 epochs each, p < 0.001, McNemar, Holm over 1)."
    )
    assert (finding.kind, finding.verdict, finding.only) == ("pair", BETTER, (40, 0))


def test_the_better_model_comes_first_when_it_is_the_second_of_the_pair() -> None:
    finding = first_pair(two({"right": 300}, {"right": 340}))
    assert "one-shot (equal budget) is better than iterative (85 vs 75 %" in finding.text
    assert finding.only == (40, 0)


def test_equal_accuracy_on_different_images_counts_both_directions() -> None:
    finding = first_pair(two({"right": 300}, {"right": 300, "shift": 6}))
    assert finding.text == (
        "At 90 % target sparsity, seed 0: no significant difference between iterative and "
        "one-shot (equal budget) (75 vs 75 %, 10 epochs each, p = 1, McNemar, Holm over 1)."
    )
    assert (finding.verdict, finding.only) == (NO_DIFFERENCE, (6, 6))


def test_a_higher_accuracy_alone_is_not_better() -> None:
    # 5 against 0: p = 2 / 2^5 = 0.0625.
    finding = first_pair(two({"right": 305}, {"right": 300}))
    assert (finding.verdict, finding.only) == (NO_DIFFERENCE, (5, 0))
    assert finding.p == pytest.approx(0.0625)
    assert "better" not in finding.text


def test_holm_over_all_pairs_retracts_what_one_pair_alone_would_show() -> None:
    # 6 against 0: p = 2 / 2^6 = 0.03125, which two pairs make 0.0625.
    alone = two({"right": 306}, {"right": 300})
    both = frame(
        alone.to_dict("records"),
        point("one_shot", 0.9, correct=packed(306), right=306, epochs=10),
    )
    assert first_pair(alone).verdict == BETTER
    tested = [finding for finding in findings(both) if finding.kind == "pair"]
    assert len(tested) == 3
    assert {finding.verdict for finding in tested} == {NO_DIFFERENCE}
    assert all("Holm over 3)" in finding.text for finding in tested)


def test_all_pairs_of_a_comparison_are_corrected_together() -> None:
    models = frame(comparison())
    rows = {(r["strategy"], r["sparsity_asked"]): r["correct"] for r in models.to_dict("records")}
    control = ("one_shot", 0.0)
    expected_pairs = [
        (("iterative", 0.9), ("one_shot_equal_budget", 0.9)),
        (("iterative", 0.9), ("one_shot", 0.9)),
        (("one_shot_equal_budget", 0.9), ("one_shot", 0.9)),
        (("iterative", 0.9), control),
        (("one_shot", 0.9), control),
        (("one_shot_equal_budget", 0.9), control),
        (control, ("baseline", 0.0)),
    ]
    expected = holm([mcnemar(rows[a], rows[b], 400).p for a, b in expected_pairs])
    p_values = [finding.p for finding in findings(models) if finding.kind == "pair"]
    assert p_values == pytest.approx(expected)


def test_the_epochs_of_both_models_are_given() -> None:
    texts = of_kind(frame(comparison()), "pair")
    assert any(
        "iterative is better than one-shot (82.5 vs 70 %, 10 vs 2 epochs, " in t for t in texts
    )
    control = next(t for t in texts if "baseline" in t)
    assert (
        "Seed 0: no significant difference between the fine-tuned dense control and the baseline "
        "(95.5 vs 95 %, 2 vs 0 epochs, " in control
    )


def test_models_with_different_targets_name_them() -> None:
    texts = of_kind(frame(comparison()), "pair")
    assert any(
        "the fine-tuned dense control is better than iterative at 90 % (95.5 vs 82.5 %" in text
        for text in texts
    )


def test_an_unequal_budget_shows_both_epochs() -> None:
    text = of_kind(two({}, {"epochs": 7}), "pair")[0]
    assert ", 10 vs 7 epochs, " in text


def test_models_at_different_sparsities_are_no_pair() -> None:
    models = frame(point("iterative", 0.9, iteration=5), point("one_shot", 0.8))
    assert of_kind(models, "pair") == []


def test_an_unfinished_chain_is_not_compared_at_its_target() -> None:
    models = frame([row for row in comparison() if row["iteration"] < 5])
    at_target = [text for text in of_kind(models, "pair") if text.startswith("At 90 %")]
    assert not any("iterative" in text for text in at_target)


def test_models_without_results_on_the_same_images_are_not_compared() -> None:
    expected = (
        "At 90 % target sparsity, seed 0: iterative and one-shot (equal budget) cannot be "
        "compared, because no results on the same test images are stored."
    )
    for change in ({"test_digest": "images-2"}, {"correct": None}):
        models = two({"right": 340}, {"right": 300, **change})
        assert of_kind(models, "pair") == []
        assert of_kind(models, "note") == [expected]


def test_runs_that_share_stages_count_a_pair_once() -> None:
    first = comparison()
    second = [{**row, "run": "other", "run_id": "run-2"} for row in first]
    tested = [f for f in findings(frame(first, second)) if f.kind == "pair"]
    assert len(tested) == 7
    assert tested[0].runs == ("run", "other")
    assert tested[0].text.startswith("Runs run and other, at 90 % target sparsity, seed 0:")


def test_one_stage_under_two_names_is_no_pair() -> None:
    models = two({"key": "same"}, {"key": "same"})
    assert of_kind(models, "pair") == []


def test_several_seeds_are_tested_separately_and_described_together() -> None:
    models = frame(comparison(), comparison(1, 4), comparison(2, -4))
    assert {f.seed for f in findings(models) if f.kind == "pair"} == {0, 1, 2}
    assert of_kind(models, "strategy")[0] == (
        "Iterative at 90 % target sparsity: mean accuracy 82.5 % (standard deviation 1 point, 3 "
        "seeds; descriptive, not tested)."
    )
    assert of_kind(frame(comparison()), "strategy")[0] == (
        "Iterative at 90 % target sparsity: accuracy 82.5 % (95 % CI 78.5 % to 85.9 %, 1 seed)."
    )


def test_each_strategy_is_described_at_its_own_highest_sparsity() -> None:
    rows = [
        *comparison(),
        point("one_shot", 0.95, 200),
        point("correction", 0.5, 350, iteration=3),
        point("structured", 0.4, 360),
    ]
    texts = of_kind(frame(rows), "strategy")
    assert [text.partition(":")[0] for text in texts] == [
        "Iterative at 90 % target sparsity",
        "One-shot at 95 % target sparsity",
        "One-shot (equal budget) at 90 % target sparsity",
        "Training-free (weight reconstruction) at 50 % target sparsity",
        "Structured at 40 % pruning ratio",
    ]
    (cost,) = of_kind(frame(rows), "cost")
    assert cost == (
        "Training cost: iterative to 90 % 10 epochs, 1 min 45 s; one-shot to 95 % 2 epochs, 20 s; "
        "one-shot (equal budget) to 90 % 10 epochs, 1 min 41 s."
    )
    two_runs = frame(comparison(), comparison(run="b", run_id="run-2"))
    assert of_kind(two_runs, "strategy")[3].startswith("Run b, iterative at 90 % target ")


def test_the_strategies_come_first_and_the_training_cost_last() -> None:
    kinds = [finding.kind for finding in findings(frame(comparison(), comparison(1, 4)))]
    assert kinds == [*["strategy"] * 3, *["pair"] * (len(kinds) - 4), "cost"]


def test_seeds_of_structured_models_share_a_pruning_ratio() -> None:
    rows = [point("structured", 0.5, 360 + seed, seed=seed) for seed in (0, 1)]
    assert of_kind(frame(rows), "strategy") == [
        "Structured at 50 % pruning ratio: mean accuracy 90.1 % (standard deviation 0.18 points, 2 "
        "seeds; descriptive, not tested)."
    ]


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
    (text,) = of_kind(chain_and_controls(one_shot_equal_budget=other), "control")
    assert text == (
        "One-shot (equal budget) has the epochs of iterative pruning, but one learning-rate "
        "schedule over all of them. Which of the two is better can depend on the learning rates. "
        "The setting "
        '"One-shot, equal learning-rate schedule" (--equal-schedule) adds a control that has those '
        "of iterative pruning."
    )
    both = chain_and_controls(one_shot_equal_budget=other, one_shot_equal_schedule=equal)
    assert of_kind(both, "control") == [
        "One-shot (equal budget) has the epochs of iterative pruning, but one learning-rate "
        "schedule over all of them; one-shot (equal LR schedule) has the epochs and the learning "
        "rates of iterative pruning."
    ]
    assert of_kind(chain_and_controls(one_shot_equal_budget=equal), "control") == [
        "One-shot (equal budget) has the epochs and the learning rates of iterative pruning."
    ]
    paired = [text.partition(" (")[0] for text in of_kind(both, "pair")]
    assert paired[0].endswith("no significant difference between iterative and one-shot")
    assert any("iterative and one-shot (equal LR schedule)" in t for t in of_kind(both, "pair"))


def test_an_unfinished_chain_and_unknown_learning_rates_are_not_compared() -> None:
    models = chain_and_controls(one_shot_equal_budget=[0.5, 0.1])
    assert of_kind(models[models["iteration"] < 2], "control") == []
    assert of_kind(frame(comparison()), "control") == []


def test_the_training_cost_of_all_strategies() -> None:
    assert of_kind(frame(comparison()), "cost") == [
        "Training cost to 90 %: iterative 10 epochs, 1 min 45 s; one-shot 2 epochs, 20 s; "
        "one-shot (equal budget) 10 epochs, 1 min 41 s."
    ]
    seeds = frame(comparison(), comparison(1))
    assert of_kind(seeds, "cost")[0].startswith("Training cost to 90 % (mean of 2 seeds): iter")
    two_runs = frame(comparison(), comparison(run="b", run_id="run-2"))
    assert of_kind(two_runs, "cost")[1].startswith("Run b, training cost to 90 %: iterative 10 ")


def test_without_models_there_is_no_finding() -> None:
    assert findings(pd.DataFrame()) == []
    assert findings(frame(point("baseline"))) == []


def test_a_baseline_no_better_than_chance_is_the_first_finding() -> None:
    rows = [
        point("baseline", 0.0, 44, chance=0.1, validation_images=400),
        *comparison(chance=0.1)[1:],
    ]
    assert findings(frame(rows))[0].kind == "baseline"


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
    texts = of_kind(frame(with_final_fine_tuning(0)), "pair")
    at_target = [text for text in texts if text.startswith("At 90 % target sparsity")]
    assert [text.count("(93 vs ") for text in at_target] == [1, 1, 0]
    assert "5 epochs each" in at_target[0]
    assert "5 vs 0.5 epochs" in at_target[1]


def test_final_fine_tuning_is_no_second_seed() -> None:
    rows = with_final_fine_tuning(0)
    assert "1 seed)" in of_kind(frame(rows), "strategy")[0]
    seeds = of_kind(frame(rows, with_final_fine_tuning(1)), "strategy")[0]
    assert "mean accuracy 93.1 % (standard deviation 0.18 points, 2 seeds; " in seeds
    (cost,) = of_kind(frame(rows), "cost")
    assert "iterative 5 epochs, 2 min 10 s; one-shot 0.5 epochs, " in cost
