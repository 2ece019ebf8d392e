"""The matrix of differences: what is tested, with which test, corrected over how many."""

from __future__ import annotations

import math
from statistics import fmean, stdev
from typing import Any

import numpy as np
import pytest

from pruning_core.common.statistics import difference_interval, holm, mcnemar
from pruning_core.results.difference_matrix import ALL, Cell, Matrix, matrix, usual_target
from pruning_core.results.differences import DENSE, references, with_reference
from pruning_core.results.paired_tests import NO_SEED, OTHER_IMAGES
from tests.helpers.frames import comparison, in_run, packed, point, three_seeds


def other_run(luck: int = 0, seed: int = 0, **changes: Any) -> list[dict[str, Any]]:
    return comparison(seed, luck, run="b", run_id="run-2", **changes)


def cell(table: Matrix, name: str, run: int = 0) -> Cell:
    (row,) = [row for row in table.rows if row.name == name]
    only = row.cells[run]
    assert only
    return only


def test_a_run_is_the_reference_of_the_same_models_of_other_runs() -> None:
    rows = [*comparison(), *other_run(-5)]
    table = matrix(rows, "run-1", 0.9)
    first, second = (cell(table, "iterative at 90 %", run) for run in (0, 1))
    assert first.difference_text == "reference"
    assert second.comparison.difference == pytest.approx(-5 / 400)
    a, b = packed(325), packed(330)
    (test,) = second.tests
    assert (test.low, test.high) == difference_interval(0, 5, 400)
    assert test.p == mcnemar(a, b, 400).p


def test_any_model_can_be_the_reference() -> None:
    rows = comparison()
    baseline = rows[0]["key"]
    assert references(rows)[baseline] == "baseline"
    one_shot = next(row for row in rows if row["sparsity_asked"] == 0.9)
    table = matrix(rows, one_shot["key"], ALL)
    assert table.reference == "one-shot at 90 %"
    assert cell(table, "baseline").comparison.difference == pytest.approx(100 / 400)
    assert cell(table, "one-shot at 90 %").difference_text == "reference"


def test_only_pairs_that_are_asked_about_are_corrected_together() -> None:
    table = matrix([*comparison(), *other_run(-9)], DENSE, 0.9)
    tested = [c for row in table.rows for c in row.cells if c and c.tests]
    assert len(tested) == table.pairs == table.image_tests == 6  # three strategies, two runs
    assert table.seed_tests == 0
    tests = [test for one in tested for test in one.tests]
    assert [t.adjusted for t in tests] == holm([t.p for t in tests])
    assert "corrected with Holm's method over 6 tests over images" in table.caption
    assert matrix(comparison(), DENSE, ALL).pairs == 10
    assert matrix(comparison()).pairs == 0
    (row,) = [row for row in table.rows if row.name == "one-shot at 50 %"]
    assert row.cells[0]
    assert ", p" not in row.cells[0].difference_text


def test_several_seeds_are_tested_over_images_and_over_seeds() -> None:
    seeds = [comparison(seed, luck) for seed, luck in ((0, 0), (1, 4), (2, -4))]
    better = [other_run(luck, seed) for seed, luck in ((0, 5), (1, 10), (2, 2))]
    table = matrix([row for run in (*seeds, *better) for row in run], "run-1", 0.9)
    one = cell(table, "iterative at 90 %", 1)
    assert [test.pairing for test in one.tests] == [
        *(f"images, seed {seed}" for seed in range(3)),
        "3 seeds",
    ]
    differences = [5 / 400, 6 / 400, 6 / 400]
    over = one.tests[-1]
    assert over.difference == pytest.approx(fmean(differences))
    half = 4.3027 * max(stdev(differences), 1 / 400) / math.sqrt(3)
    assert (over.low, over.high) == pytest.approx(
        (over.difference - half, over.difference + half), abs=1e-5
    )
    assert one.accuracy_text == "83.9 % ± 1.01"
    assert one.difference_text.startswith("+1.42 (+0.8 to +2.04), p = ")
    assert (table.image_tests, table.seed_tests) == (9, 3)
    assert "Holm's method over 3 tests over seeds." in table.caption
    assert {row["Run"] for row in table.tests} == {"b"}


def test_only_equal_seeds_are_paired() -> None:
    rows = [*comparison(0), *comparison(1, 4), *other_run(2, 1), *other_run(2, 7)]
    one = cell(matrix(rows, "run-1", 0.9), "iterative at 90 %", 1)
    assert [row["seed"] for row in one.comparison.first] == [1]
    assert one.comparison.over_seeds() is None
    alone = [*comparison(0), *other_run(2, 7)]
    assert cell(matrix(alone, "run-1"), "iterative at 90 %", 1).difference_text == NO_SEED


def test_other_test_images_are_not_compared() -> None:
    rows = [*comparison(), *other_run(test_digest="images-2")]
    table = matrix(rows, "run-1", ALL)
    assert cell(table, "iterative at 90 %", 1).difference_text == OTHER_IMAGES
    assert table.pairs == 0
    assert math.isnan(with_reference(rows, "run-1")[-1]["accuracy_difference"])


def test_a_stage_that_two_runs_share_is_no_pair() -> None:
    first = comparison()
    second = [{**row, "run": "b", "run_id": "run-2"} for row in first]
    table = matrix([*first, *second], "run-1", ALL)
    assert table.pairs == 0
    assert {c.difference_text for row in table.rows for c in row.cells if c} == {"reference"}
    assert len([name for name in references([*first, *second]).values() if "baseline" in name]) == 1


def test_a_pair_that_runs_share_is_corrected_once() -> None:
    """Seed 0 of a method in one run, its three seeds in another: McNemar's p of 6 against 0."""
    rows = [
        point(strategy, asked, right, seed=seed)
        for seed in range(3)
        for strategy, asked, right in (("one_shot", 0.0, 306 + seed), ("one_shot", 0.9, 300))
    ]
    table = matrix([*in_run(rows, "a", 0), *in_run(rows, "b", 0, 1, 2)], DENSE, ALL)
    assert (table.pairs, table.image_tests, table.seed_tests) == (1, 3, 1)
    first, second = (cell(table, "one-shot at 90 %", run) for run in (0, 1))
    # 2 / 2^6, 2 / 2^7 and 2 / 2^8: the largest of three is not multiplied, four would give 0.0625.
    assert [test.p for test in second.tests[:3]] == [0.03125, 0.015625, 0.0078125]
    assert [test.adjusted for test in second.tests[:3]] == [0.03125, 0.03125, 0.0234375]
    assert [test.adjusted for test in first.tests] == [0.03125]
    assert "for 1 pair (\u2022), corrected with Holm's method over 1 test" in table.caption
    assert [(row["Run"], row["Paired over"]) for row in table.tests] == [
        ("a and b", "images, seed 0"),
        ("b", "images, seed 1"),
        ("b", "images, seed 2"),
        ("b", "3 seeds"),
    ]


def test_a_pinned_model_that_runs_share_has_the_seeds_of_all() -> None:
    rows = three_seeds()
    shared = [*in_run(rows, "a", 1), *in_run(rows, "b", 0, 1, 2)]
    pinned = next(row["key"] for row in shared if row["strategy"] == "one_shot_equal_budget")
    names = references(shared)
    assert names[pinned] == 'one-shot (equal budget) at 90 % of run "b"'
    assert len(names) == 1 + 2 + 11  # dense, two runs, the models of one of them
    one = cell(matrix(shared, pinned, 0.9), "iterative at 90 %", 1)
    assert [row["seed"] for row in one.comparison.first] == [0, 1, 2]


def test_of_a_chain_with_final_fine_tuning_its_end_counts() -> None:
    final = point("iterative", 0.9, 372, iteration=6)
    assert cell(matrix([*comparison(), final]), "iterative at 90 %").mean == 0.93


def test_a_missing_model_leaves_an_empty_cell() -> None:
    rows = [*comparison(), *other_run()[:3]]
    (row,) = [row for row in matrix(rows).rows if row.name == "iterative at 90 %"]
    assert row.cells[0]
    assert row.cells[1] is None


def test_the_usual_target_is_the_highest_that_most_runs_share() -> None:
    assert usual_target(comparison()) == 0.9
    assert usual_target([*comparison(), point("one_shot", 0.99)]) == 0.9
    shared = [*comparison(), *(r for r in other_run() if r["sparsity_asked"] <= 0.7)]
    assert usual_target(shared) == 0.7
    assert usual_target([point("baseline")]) is None


def test_the_difference_over_seeds_covers_the_true_one() -> None:
    """Two ways of pruning whose accuracies differ by 1 point, in runs with three seeds."""
    random, covered, runs = np.random.default_rng(3), 0, 400
    for _ in range(runs):
        rows = []
        for run, accuracy in (("run-1", 0.9), ("run-2", 0.91)):
            for seed in range(3):
                right = round(400 * float(np.clip(random.normal(accuracy, 0.008), 0, 1)))
                labels = {"seed": seed, "run": run, "run_id": run}
                rows.append(point("one_shot", 0.9, right, **labels))
        one = cell(matrix(rows, "run-1"), "one-shot at 90 %", 1)
        over = one.comparison.over_seeds()
        assert over
        covered += over.low <= 0.01 <= over.high
    assert covered / runs > 0.92
