"""The table of all pairwise comparisons: which models meet, and with which test."""

from __future__ import annotations

from typing import Any

import pytest

from pruning_core.common.statistics import holm, mcnemar, paired_t
from pruning_core.results.pairs import (
    BETTER,
    NO_DIFFERENCE,
    UNKNOWN_IMAGES,
    WORSE,
    PairResult,
    pair_results,
    pair_table,
)
from tests.helpers.frames import comparison, in_run, point, three_seeds


def two(first: dict[str, Any], second: dict[str, Any]) -> list[dict[str, Any]]:
    """An iterative model of 10 epochs and one-shot with equal budget, both at 90 %."""
    return [
        point("iterative", 0.9, iteration=5, epochs=10, **first),
        point("one_shot_equal_budget", 0.9, **{"epochs": 10, **second}),
    ]


def only(rows: list[dict[str, Any]]) -> PairResult:
    (result,) = pair_results(rows)
    return result


def names(rows: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [result.names for result in pair_results(rows)]


def test_a_row_has_all_numbers_of_a_pair() -> None:
    table = pair_table(two({"right": 300}, {"right": 340}))
    assert table.to_dict("records") == [
        {
            "Target sparsity": "90 %",
            "First model": "iterative",
            "Second model": "one-shot (equal budget)",
            "Paired over": "images, seed 0",
            "Accuracy": "75 vs 85 %",
            "Epochs": "10 epochs each",
            "Difference (points)": "\u221210",
            "95 % CI": "\u221213.68 to \u22125.99",
            "p (Holm)": "< 0.001",
            "Test": "McNemar",
            "First model is": WORSE,
        }
    ]
    assert pair_table([]).empty


@pytest.mark.parametrize(
    ("first", "second", "verdict", "images"),
    [
        ({"right": 340}, {"right": 300}, BETTER, (40, 0)),
        ({"right": 300}, {"right": 300, "shift": 6}, NO_DIFFERENCE, (6, 6)),
        ({"right": 305}, {"right": 300}, NO_DIFFERENCE, (5, 0)),  # p = 2 / 2^5
    ],
)
def test_the_verdict_of_a_pair(
    first: dict[str, Any], second: dict[str, Any], verdict: str, images: tuple[int, int]
) -> None:
    result = only(two(first, second))
    assert result.test
    assert (result.verdict, result.test.only) == (verdict, images)


def test_all_pairs_of_a_comparison_are_corrected_together() -> None:
    rows = comparison()
    correct = {(r["strategy"], r["sparsity_asked"]): r["correct"] for r in rows}
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
    expected = holm([mcnemar(correct[a], correct[b], 400).p for a, b in expected_pairs])
    tests = [result.test for result in pair_results(rows)]
    assert [test.adjusted for test in tests if test] == pytest.approx(expected)
    assert names(rows)[3] == ("iterative at 90 %", "fine-tuned dense control")
    assert names(rows)[6] == ("fine-tuned dense control", "baseline")


def test_several_seeds_are_paired_over_images_and_over_seeds() -> None:
    rows = [row for seed, luck in ((0, 0), (1, 4), (2, -4)) for row in comparison(seed, luck)]
    results = pair_results(rows)
    over = [result.test.pairing for result in results if result.test]
    assert over[:21:7] == ["images, seed 0", "images, seed 1", "images, seed 2"]
    assert over[21:] == ["3 seeds"] * 7
    assert len({result.names for result in results}) == 7


def test_equal_models_of_two_runs_are_a_pair() -> None:
    rows = [*comparison(), *comparison(run="b", run_id="run-2", luck=-9)]
    between = [result for result in pair_results(rows) if result.runs == "run vs b"]
    assert [result.names[0] for result in between] == [
        "iterative",
        "one-shot",
        "one-shot (equal budget)",
    ]
    assert "Runs" in pair_table(rows)
    assert "Runs" not in pair_table(comparison())


def test_runs_that_share_stages_count_a_pair_once() -> None:
    first = comparison()
    second = [{**row, "run": "other", "run_id": "run-2"} for row in first]
    results = pair_results([*first, *second])
    assert [result.runs for result in results] == ["run and other"] * 7
    assert pair_results(two({"key": "same"}, {"key": "same"})) == []


SHARED = {
    "nested": ((0,), (0, 1, 2)),
    "overlapping": ((0, 1), (1, 2)),
    "identical": ((0, 1, 2), (0, 1, 2)),
    "joined by a third": ((0,), (2,), (0, 1, 2)),
}


@pytest.mark.parametrize("kind", SHARED)
def test_runs_that_share_stages_lose_no_seed(kind: str) -> None:
    rows = three_seeds()
    runs = [in_run(rows, str(i), *seeds) for i, seeds in enumerate(SHARED[kind])]
    alone, shared = pair_results(rows), pair_results([row for run in runs for row in run])

    def outcomes(results: list[PairResult]) -> list[tuple[object, ...]]:
        return sorted(
            (*result.names, result.test.pairing, result.test.p, result.test.adjusted)
            for result in results
            if result.test
        )

    assert outcomes(shared) == outcomes(alone)
    (over,) = [r for r in shared if r.names[1] == "baseline" and len(r.comparison.first) == 3]
    last = {"nested": "1", "joined by a third": "2"}.get(kind, "0 and 1")
    assert over.runs == last


def test_two_runs_that_share_stages_are_one_against_a_third() -> None:
    """A single seed of a method, another method, and the method with all seeds, in this order."""
    method, other = three_seeds((9, 7, 11)), three_seeds(run="b", run_id="run-b")
    rows = [*in_run(method, "a", 0), *other, *in_run(method, "c", 0, 1, 2)]
    between = [r for r in pair_results(rows) if " vs " in r.runs and r.first["iteration"]]
    assert [(r.runs, r.test.pairing) for r in between if r.test] == [
        ("a and c vs b", "images, seed 0"),
        ("b vs c", "images, seed 1"),
        ("b vs c", "images, seed 2"),
        ("c vs b", "3 seeds"),
    ]
    test = between[-1].test
    assert test
    expected = paired_t([9 / 400, 3 / 400, 15 / 400], 1 / 400)
    assert expected
    assert (test.difference, test.p) == pytest.approx((expected.mean, expected.p))
    directions = {result.runs: result.verdict for result in between[1:3]}
    assert set(directions.values()) <= {WORSE, NO_DIFFERENCE}


def test_runs_are_compared_at_their_highest_common_sparsity() -> None:
    sparser = [*comparison(run="b", run_id="run-b"), point("one_shot", 0.95, run_id="run-b")]
    between = [r for r in pair_results([*comparison(luck=5), *sparser]) if " vs " in r.runs]
    assert [r.first["sparsity_asked"] for r in between] == [0.9, 0.9, 0.9]


def test_models_without_results_on_the_same_images_are_not_compared() -> None:
    for change in ({"test_digest": "images-2"}, {"correct": None}):
        result = only(two({"right": 340}, {"right": 300, **change}))
        assert result.test is None
        assert result.verdict == UNKNOWN_IMAGES


def test_models_at_different_sparsities_are_no_pair() -> None:
    assert names([point("iterative", 0.9, iteration=5), point("one_shot", 0.8)]) == []


def test_an_unfinished_chain_is_not_compared_at_its_target() -> None:
    rows = [row for row in comparison() if row["iteration"] < 5]
    assert ("iterative", "one-shot") not in names(rows)
    assert ("iterative at 84.2 %", "fine-tuned dense control") in names(rows)


def test_of_a_chain_with_final_fine_tuning_only_its_end_is_compared() -> None:
    final = point("iterative", 0.9, 372, iteration=6, epochs=5)
    firsts = [result.first for result in pair_results([*comparison(), final])]
    assert {row["iteration"] for row in firsts if row["strategy"] == "iterative"} == {6}
