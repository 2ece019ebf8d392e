"""What to run next follows from the verdict, and is never a run that exists."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pruning_core.planning.presets import QUICKSTART
from pruning_core.results.goal import DEFAULT_GOAL, Goal
from pruning_core.results.next_runs import Proposal, expected_bytes, proposals
from pruning_core.results.verdict import MET, MISSED, UNRELIABLE, Verdict, verdicts_of
from pruning_core.settings.pruning import PruningSpec
from pruning_core.settings.spec import Spec
from pruning_core.settings.structured import StructuredSpec
from tests.helpers.frames import comparison, point
from tests.results.test_best_model import on_validation


def verdict(rows: list[dict[str, Any]], goal: Goal = DEFAULT_GOAL) -> Verdict:
    (only,) = verdicts_of(rows, goal)
    return only


def proposed(
    rows: list[dict[str, Any]], goal: Goal = DEFAULT_GOAL, spec: Spec = QUICKSTART
) -> dict[str, Proposal]:
    return {one.name: one for one in proposals(verdict(rows, goal), spec, lambda spec: False)}


def test_after_a_model_that_meets_the_goal_comes_a_sparser_one_and_more_seeds() -> None:
    assert verdict(comparison()).kind == MET
    further, seeds, longer = proposed(comparison()).values()
    assert further.name == "79.5 % sparsity"  # between 74.9 %, which meets it, and 84.2 %
    assert further.spec.iterative.target == 0.795
    assert "Between 74.9 %, which meets the goal, and 84.2 %, which does not." in further.reason
    sizes = [row["sparse_bytes"] for row in comparison() if row["sparsity_asked"] in (0.749, 0.842)]
    assert min(sizes) < further.bytes < max(sizes)
    assert (seeds.name, seeds.spec.seeds) == ("three seeds", (0, 1, 2))
    assert longer.reason == "With more fine-tuning, a sparser model may meet the goal."
    assert longer.bytes == next(r["sparse_bytes"] for r in comparison() if r["iteration"] == 4)
    assert seeds.spec.label == "Quick start, three seeds"
    assert "three seeds" not in proposed(comparison(), spec=replace(QUICKSTART, seeds=(4, 5)))


def test_where_all_models_meet_the_goal_the_next_is_beyond_the_sparsest() -> None:
    further = proposed(comparison(), Goal(0.5))["95 % sparsity"]
    assert further.spec.one_shot.amounts[-1] == 0.95  # of equal models the fastest is the best
    assert further.bytes < min(row["sparse_bytes"] for row in comparison())


def test_a_sparser_model_lowers_the_minimum_density_where_it_must() -> None:
    pruning = replace(QUICKSTART.pruning, allocation="global", min_density=0.05)
    spec = replace(QUICKSTART, pruning=pruning)
    further = proposed(comparison(), Goal(0.5), spec)["95 % sparsity"]
    assert further.spec.pruning.min_density == 0.025
    assert further.reason.endswith("The minimum density per layer becomes 2.5 %.")
    near = proposed(comparison(), DEFAULT_GOAL, spec)["79.5 % sparsity"]
    assert near.spec.pruning.min_density == 0.05


def test_the_strategy_of_the_model_decides_which_setting_changes() -> None:
    one_shot = [row for row in comparison() if row["strategy"] in ("baseline", "one_shot")]
    amounts = proposed(one_shot)["60 % sparsity"].spec.one_shot.amounts
    assert amounts == (0.0, 0.3, 0.5, 0.6, 0.7, 0.9)
    structured = [
        point("baseline"),
        point("structured", 0.3, 380),
        point("structured", 0.5, 300),
    ]
    spec = replace(QUICKSTART, structured=StructuredSpec(True, (0.3, 0.5)))
    assert proposed(structured, spec=spec)["40 % pruning ratio"].spec.structured.ratios == (
        0.3,
        0.4,
        0.5,
    )


def test_after_a_drop_that_is_too_large_come_epochs_less_pruning_and_global_allocation() -> None:
    rows = [row for row in comparison() if row["sparsity_asked"] in (0.0, 0.9)]
    assert verdict(rows).kind == MISSED
    longer, less, allocation = proposed(rows, spec=uniform()).values()
    assert (longer.name, longer.spec.iterative.epochs) == ("twice the epochs", 4)
    assert longer.spec.one_shot.epochs == 4
    assert less.name == "45 % sparsity"
    assert (allocation.name, allocation.spec.pruning.allocation) == ("global allocation", "global")
    assert "global allocation" not in proposed(rows, spec=uniform("lamp"))


def test_between_an_accurate_file_and_a_small_one_comes_a_sparsity_between_them() -> None:
    """74.9 % is accurate enough and 2.45 MB; 84.2 % is small enough and loses too much."""
    goal = Goal(0.01, 2_100_000)
    (between,) = [p for p in proposed(comparison(), goal).values() if "sparsity" in p.name]
    assert between.reason == "74.9 % is accurate enough, but too large."
    assert 0.749 < between.spec.iterative.target < 0.842
    assert between.bytes <= 2_100_000


def uniform(allocation: str = "uniform") -> Spec:
    return replace(QUICKSTART, pruning=PruningSpec(allocation=allocation))


def test_after_files_that_are_too_large_comes_the_sparsity_that_the_size_needs() -> None:
    goal = Goal(None, 800_000)
    assert verdict(comparison(), goal).kind == MISSED
    (first,) = proposed(comparison(), goal).values()
    target = first.spec.iterative.target
    assert 0.9 < target < 1
    assert first.bytes <= 800_000
    actual = point("one_shot", target)["sparse_bytes"]  # sizes of the helper lie on a line
    assert first.bytes == pytest.approx(actual, rel=0.01)
    assert proposed(comparison(), Goal(None, 1)) == {}
    both = list(proposed(comparison(), Goal(0.01, 800_000)))
    assert both == [first.name, f"{first.name}, twice the epochs"]


def test_after_too_few_validation_images_comes_a_larger_split() -> None:
    rows = [point("baseline"), point("one_shot", 0.5, **on_validation(0, 0, 144))]
    assert verdict(rows).kind == UNRELIABLE
    split, seeds = proposed(rows).values()
    assert split.name == "validation split 35 %"  # 388 of 1,440 images, and a quarter more
    assert split.spec.data.validation_split == 0.35
    assert "About 504 validation images in place of 144" in split.reason
    assert seeds.name == "three seeds"
    hopeless = [point("baseline"), point("one_shot", 0.5, **on_validation(0, 0, 20))]
    assert list(proposed(hopeless)) == ["three seeds"]
    few = replace(QUICKSTART, data=replace(QUICKSTART.data, train_size=200))
    assert proposed(hopeless, spec=few)["all training images"].spec.data.train_size == 0


def test_after_a_baseline_at_chance_comes_more_training_of_it() -> None:
    rows = comparison(chance=0.1)
    rows[0] |= {"validation_accuracy": 0.11, "validation_images": 100}
    (longer,) = proposed(rows).values()
    assert longer.spec.baseline_epochs == 24


def test_nothing_is_proposed_that_exists_or_cannot_run() -> None:
    every = proposals(verdict(comparison()), QUICKSTART, lambda spec: False)
    seeds = every[1].spec
    left = proposals(verdict(comparison()), QUICKSTART, lambda spec: spec.seeds == seeds.seeds)
    assert [one.name for one in left] == [every[0].name, every[2].name]
    assert proposals(verdict(comparison()), QUICKSTART, lambda spec: True) == []
    pattern = replace(
        QUICKSTART,
        pruning=PruningSpec(granularity="2:4"),
        one_shot=replace(QUICKSTART.one_shot, amounts=(0.0, 0.5)),
        iterative=replace(QUICKSTART.iterative, enabled=False),
    )
    rows = [point("baseline"), point("one_shot", 0.5)]
    assert list(proposed(rows, spec=pattern)) == ["three seeds", "twice the epochs"]


def test_the_expected_size_is_interpolated() -> None:
    known = verdict(comparison())
    sizes = {row["sparsity_asked"]: row["sparse_bytes"] for row in comparison()[2:]}
    assert expected_bytes(known, "run-1", 0.5) == sizes[0.5]
    assert sizes[0.602] < expected_bytes(known, "run-1", 0.55) < sizes[0.5]
    assert expected_bytes(known, "run-1", 0.5, ratio=True) != expected_bytes(known, "run-1", 0.5)
