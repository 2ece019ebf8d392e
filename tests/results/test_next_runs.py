"""What to run next follows from the verdict, and is never a run that exists."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from pruning_core.planning.presets import QUICKSTART
from pruning_core.results.goal import DEFAULT_GOAL, Goal
from pruning_core.results.next_runs import proposals
from pruning_core.results.proposed_changes import Proposal, expected_bytes
from pruning_core.results.verdict import MET, MISSED, UNRELIABLE, Verdict, verdicts_of
from pruning_core.settings.pruning import PruningSpec
from pruning_core.settings.spec import Spec
from pruning_core.settings.structured import StructuredSpec
from tests.helpers.frames import comparison, point, three_seeds
from tests.results.test_best_model import on_validation


def verdict(rows: list[dict[str, Any]], goal: Goal = DEFAULT_GOAL) -> Verdict:
    (only,) = verdicts_of(rows, goal)
    return only


def proposed(
    rows: list[dict[str, Any]], goal: Goal = DEFAULT_GOAL, spec: Spec = QUICKSTART
) -> dict[str, Proposal]:
    """The proposals for one run, by their names."""
    specs = {"run-1": spec}
    return {one.name: one for one in proposals(verdicts_of(rows, goal), rows, specs, unknown)}


def unknown(spec: Spec) -> bool:
    """No other run exists."""
    return False


def of_runs(
    rows: list[dict[str, Any]], specs: dict[str, Spec], goal: Goal = DEFAULT_GOAL
) -> list[Proposal]:
    """The proposals for several runs, by their ids."""
    return proposals(verdicts_of(rows, goal), rows, specs, unknown)


def test_after_a_model_that_meets_the_goal_comes_a_sparser_one_and_more_seeds() -> None:
    assert verdict(comparison()).kind == MET
    further, seeds, longer = proposed(comparison()).values()
    assert further.name == "79.5 % sparsity"  # between 74.9 %, which meets it, and 84.2 %
    assert further.specs[0].iterative.target == 0.795
    assert "Between 74.9 %, which meets the goal, and 84.2 %, which does not." in further.reason
    sizes = [row["sparse_bytes"] for row in comparison() if row["sparsity_asked"] in (0.749, 0.842)]
    assert min(sizes) < further.bytes < max(sizes)
    assert (seeds.name, seeds.specs[0].seeds) == ("three seeds", (0, 1, 2))
    assert longer.reason == "With more fine-tuning, a sparser model may meet the goal."
    assert longer.bytes == next(r["sparse_bytes"] for r in comparison() if r["iteration"] == 4)
    assert seeds.specs[0].label == "Quick start, three seeds"
    assert "three seeds" not in proposed(comparison(), spec=replace(QUICKSTART, seeds=(4, 5)))


def test_where_all_models_meet_the_goal_the_next_is_beyond_the_sparsest() -> None:
    further = proposed(comparison(), Goal(0.5))["95 % sparsity"]
    assert further.specs[0].one_shot.amounts[-1] == 0.95  # of equal models the fastest is the best
    assert further.bytes < min(row["sparse_bytes"] for row in comparison())


def test_a_sparser_model_lowers_the_minimum_density_where_it_must() -> None:
    pruning = replace(QUICKSTART.pruning, allocation="global", min_density=0.05)
    spec = replace(QUICKSTART, pruning=pruning)
    further = proposed(comparison(), Goal(0.5), spec)["95 % sparsity"]
    assert further.specs[0].pruning.min_density == 0.025
    assert further.reason.endswith("The minimum density per layer becomes 2.5 %.")
    near = proposed(comparison(), DEFAULT_GOAL, spec)["79.5 % sparsity"]
    assert near.specs[0].pruning.min_density == 0.05


def test_the_strategy_of_the_model_decides_which_setting_changes() -> None:
    one_shot = [row for row in comparison() if row["strategy"] in ("baseline", "one_shot")]
    amounts = proposed(one_shot)["60 % sparsity"].specs[0].one_shot.amounts
    assert amounts == (0.0, 0.3, 0.5, 0.6, 0.7, 0.9)
    structured = [
        point("baseline"),
        point("structured", 0.3, 380),
        point("structured", 0.5, 300),
    ]
    spec = replace(QUICKSTART, structured=StructuredSpec(True, (0.3, 0.5)))
    assert proposed(structured, spec=spec)["40 % pruning ratio"].specs[0].structured.ratios == (
        0.3,
        0.4,
        0.5,
    )


def test_after_a_drop_that_is_too_large_come_epochs_less_pruning_and_global_allocation() -> None:
    rows = [row for row in comparison() if row["sparsity_asked"] in (0.0, 0.9)]
    assert verdict(rows).kind == MISSED
    longer, less, allocation = proposed(rows, spec=uniform()).values()
    assert (longer.name, longer.specs[0].iterative.epochs) == ("twice the epochs", 4)
    assert longer.specs[0].one_shot.epochs == 4
    assert less.name == "45 % sparsity"
    assert (allocation.name, allocation.specs[0].pruning.allocation) == (
        "global allocation",
        "global",
    )
    assert "global allocation" not in proposed(rows, spec=uniform("lamp"))


def test_between_an_accurate_file_and_a_small_one_comes_a_sparsity_between_them() -> None:
    """74.9 % is accurate enough and 2.45 MB; 84.2 % is small enough and loses too much."""
    goal = Goal(0.01, 2_100_000)
    (between,) = [p for p in proposed(comparison(), goal).values() if "sparsity" in p.name]
    assert between.reason == "74.9 % is accurate enough, but too large."
    assert 0.749 < between.specs[0].iterative.target < 0.842
    assert between.bytes <= 2_100_000


def uniform(allocation: str = "uniform") -> Spec:
    return replace(QUICKSTART, pruning=PruningSpec(allocation=allocation))


def test_after_files_that_are_too_large_comes_the_sparsity_that_the_size_needs() -> None:
    goal = Goal(None, 800_000)
    assert verdict(comparison(), goal).kind == MISSED
    first = next(iter(proposed(comparison(), goal).values()))
    target = first.specs[0].iterative.target
    assert 0.9 < target < 1
    assert first.bytes <= 800_000
    actual = point("one_shot", target)["sparse_bytes"]  # sizes of the helper lie on a line
    assert first.bytes == pytest.approx(actual, rel=0.01)
    both = list(proposed(comparison(), Goal(0.01, 800_000)))
    assert both == [first.name, f"{first.name}, twice the epochs", "width 0.5"]


def test_after_a_size_that_no_sparsity_reaches_comes_a_narrower_model() -> None:
    narrower, *others = proposed(comparison(), Goal(None, 1)).values()
    assert (narrower.name, narrower.specs[0].model.width) == ("width 0.5", 0.5)
    assert [one.name for one in others] == ["three seeds"]
    resnet = replace(QUICKSTART, model=replace(QUICKSTART.model, name="resnet18"))
    assert list(proposed(comparison(), Goal(None, 1), resnet)) == [
        "three seeds",
        "twice the epochs",
    ]


def test_after_too_few_validation_images_comes_a_larger_split() -> None:
    rows = [point("baseline"), point("one_shot", 0.5, **on_validation(0, 0, 144))]
    assert verdict(rows).kind == UNRELIABLE
    split, seeds = proposed(rows).values()
    assert split.name == "validation split 35 %"  # 388 of 1,440 images, and a quarter more
    assert split.specs[0].data.validation_split == 0.35
    assert "About 504 validation images in place of 144" in split.reason
    assert seeds.name == "three seeds"
    hopeless = [point("baseline"), point("one_shot", 0.5, **on_validation(0, 0, 20))]
    assert list(proposed(hopeless)) == ["three seeds", "twice the epochs"]
    few = replace(QUICKSTART, data=replace(QUICKSTART.data, train_size=200))
    assert proposed(hopeless, spec=few)["all training images"].specs[0].data.train_size == 0


def at_chance(*losses: float, **changes: Any) -> list[dict[str, Any]]:
    """A comparison whose baseline is at chance, with its training losses."""
    rows = comparison(chance=0.1, **changes)
    history = [{"loss": loss} for loss in losses]
    rows[0] |= {"validation_accuracy": 0.11, "validation_images": 100, "history": history}
    return rows


@pytest.mark.parametrize(
    ("losses", "name", "reason"),
    [
        (
            (2.3, 2.29),
            "baseline learning rate 0.3",
            "The training loss fell only from 2.3 to 2.29.",
        ),
        ((2.3, 9.0), "baseline learning rate 0.033", "The training loss did not fall (from 2.3 to"),
        ((2.3, math.nan), "baseline learning rate 0.033", "The training loss did not fall"),
    ],
)
def test_after_a_baseline_at_chance_comes_other_training_of_it(
    losses: tuple[float, ...], name: str, reason: str
) -> None:
    spec = replace(QUICKSTART, baseline=replace(QUICKSTART.baseline, lr=0.1))
    longer, rate, pretrained = proposed(at_chance(*losses), spec=spec).values()
    assert longer.specs[0].baseline_epochs == 24
    assert rate.name == name
    assert rate.reason.startswith(reason)
    assert rate.specs[0].baseline.lr == float(name.split()[-1])
    assert pretrained.specs[0].model.weights == "pretrained"


def test_a_learning_rate_is_not_changed_where_the_loss_fell() -> None:
    few = replace(QUICKSTART, data=replace(QUICKSTART.data, train_size=200))
    assert list(proposed(at_chance(2.3, 0.2), spec=few)) == [
        "24 baseline epochs",
        "ImageNet-pretrained weights",
        "all training images",
    ]


def test_without_a_goal_come_a_sparser_model_more_seeds_and_more_epochs() -> None:
    further, seeds, longer = proposed(comparison(), Goal(None, None)).values()
    assert further.name == "95 % sparsity"
    assert "goal" not in further.reason
    assert (seeds.name, longer.name) == ("three seeds", "twice the epochs")
    assert longer.specs[0].one_shot.epochs == 2 * QUICKSTART.one_shot.epochs


def test_runs_that_differ_by_less_than_their_interval_get_the_same_seeds() -> None:
    """Also where one of them has more already, and where they share none."""
    specs = {"run-1": QUICKSTART, "run-b": replace(QUICKSTART, label="B", baseline_epochs=9)}
    rows = comparison() + comparison(luck=-2, run="b", run_id="run-b")
    both, *others = of_runs(rows, specs)
    assert both.title == '3 seeds (runs "run" and "b")'
    assert [spec.seeds for spec in both.specs] == [(0, 1, 2)] * 2
    assert [spec.label for spec in both.specs] == ["Quick start, 3 seeds", "B, 3 seeds"]
    assert 'At 90 %, runs "run" and "b" differ by 0.5 points (95 % interval' in both.reason
    assert [one.runs for one in others] == [("run",)] * 2, "the run of the best model"

    more = {**specs, "run-b": replace(specs["run-b"], seeds=(0, 1, 2))}
    unequal = comparison() + three_seeds((-2, 2, -6), run="b", run_id="run-b")
    (one,) = of_runs(unequal, more)[0].specs
    assert (one.label, one.seeds) == ("Quick start, 3 seeds", (0, 1, 2))

    other = {**specs, "run-b": replace(specs["run-b"], seeds=(5,))}
    none = of_runs(comparison() + comparison(5, run="b", run_id="run-b"), other)[0]
    assert (
        none.reason
        == 'At 90 %, runs "run" and "b" cannot be compared: they have no seed in common.'
    )
    assert {spec.seeds for spec in none.specs} == {(0, 1, 5)}

    clear = comparison() + comparison(luck=-150, run="b", run_id="run-b")
    assert "3 seeds" not in [one.name for one in of_runs(clear, specs)]


def test_each_set_of_test_images_and_a_run_at_chance_has_its_turn() -> None:
    specs = {"run-1": QUICKSTART, "run-b": replace(QUICKSTART, baseline_epochs=9)}
    others = comparison(run="b", run_id="run-b", test_digest="images-2")
    assert [one.title for one in of_runs(comparison() + others, specs)] == [
        '79.5 % sparsity (run "run")',
        '79.5 % sparsity (run "b")',
        'three seeds (run "run")',
    ]
    weak = comparison(chance=0.1) + at_chance(run="b", run_id="run-b")
    assert [one.title for one in of_runs(weak, specs)][:2] == [
        '79.5 % sparsity (run "run")',
        '18 baseline epochs (run "b")',
    ]


@pytest.mark.parametrize(
    "goal", [DEFAULT_GOAL, Goal(None, None), Goal(None, 1), Goal(0.0), Goal(0.5, 1e6)]
)
@pytest.mark.parametrize("kind", ["one run", "two runs", "seeds", "two data sets", "at chance"])
def test_there_are_two_or_three_proposals_in_every_case(goal: Goal, kind: str) -> None:
    rows = {
        "one run": comparison(),
        "two runs": comparison() + comparison(luck=-2, run="b", run_id="run-b"),
        "seeds": three_seeds(),
        "two data sets": comparison() + comparison(run="b", run_id="run-b", test_digest="2"),
        "at chance": at_chance(),
    }[kind]
    specs = {"run-1": QUICKSTART, "run-b": replace(QUICKSTART, baseline_epochs=9)}
    if kind == "seeds":
        specs["run-1"] = replace(QUICKSTART, seeds=(0, 1, 2))
    present = {row["run_id"] for row in rows}
    chosen = of_runs(rows, {name: spec for name, spec in specs.items() if name in present}, goal)
    assert 2 <= len(chosen) <= 3
    assert len({one.title for one in chosen}) == len(chosen)
    assert all(one.reason.endswith(".") for one in chosen)
    assert chosen == of_runs(rows, {k: s for k, s in specs.items() if k in present}, goal)


def test_a_run_that_prunes_nothing_gets_one_shot_pruning() -> None:
    spec = replace(
        QUICKSTART,
        one_shot=replace(QUICKSTART.one_shot, amounts=(0.0,)),
        iterative=replace(QUICKSTART.iterative, enabled=False),
    )
    (first,) = proposed([point("baseline"), point("one_shot")], spec=spec).values()
    assert first.specs[0].one_shot.amounts == (0.0, 0.5, 0.7, 0.9)
    assert proposed([point("baseline")]) == {}, "its models have not finished"


def test_nothing_is_proposed_that_exists_or_cannot_run() -> None:
    rows, specs = comparison(), {"run-1": QUICKSTART}
    every = proposals(verdicts_of(rows), rows, specs, unknown)
    seeds = every[1].specs[0].seeds
    left = proposals(verdicts_of(rows), rows, specs, lambda spec: spec.seeds == seeds)
    assert [one.name for one in left] == [every[0].name, every[2].name]
    assert proposals(verdicts_of(rows), rows, specs, lambda spec: True) == []
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
