"""What a criterion needs decides about keys and refusals, before anything is trained."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pruning_core.common.errors import SpecError
from pruning_core.methods.criteria import CRITERIA, IMAGES, needs
from pruning_core.methods.sparsity_schedules import EXCHANGES
from pruning_core.planning import plan as plans
from pruning_core.planning.plan import plan
from pruning_core.planning.presets import QUICKSTART
from pruning_core.planning.stage import Stage
from pruning_core.settings.pruning import PruningSpec
from pruning_core.settings.sensitivity import SensitivitySpec
from pruning_core.settings.spec import Spec
from tests.helpers.inspections import DATA, MODEL, Facts


def spec_with(criterion: str, **pruning: Any) -> Spec:
    return replace(QUICKSTART, pruning=PruningSpec(criterion, **pruning))


def trained(spec: Spec) -> dict[str, list[Stage]]:
    plan = plans.plan(spec, Facts(spec))
    stages = {stage.key: stage for stage in plan.stages}
    found: dict[str, list[Stage]] = {}
    for point in plan.models:
        found.setdefault(point.strategy, []).append(stages[point.key])
    return found


@pytest.mark.parametrize("criterion", CRITERIA)
def test_the_number_of_images_counts_only_where_images_are_looked_at(criterion: str) -> None:
    one, other = (trained(spec_with(criterion, calibration_images=n)) for n in (512, 64))
    differ = [a.key != b.key for a, b in zip(one["iterative"], other["iterative"], strict=True)]
    assert set(differ) == {needs(criterion, IMAGES)}
    assert one["baseline"][0].key == other["baseline"][0].key


@pytest.mark.parametrize("criterion", CRITERIA)
def test_so_it_is_in_a_scan(criterion: str) -> None:
    keys = []
    for count in (512, 64):
        spec = replace(
            spec_with(criterion, calibration_images=count),
            sensitivity=SensitivitySpec(enabled=True),
        )
        plan = plans.plan(spec, Facts(spec))
        keys.append([stage.key for stage in plan.stages if stage.kind == "sensitivity"])
    assert len(keys[0]) == 2
    assert (keys[0] != keys[1]) == needs(criterion, IMAGES)


@pytest.mark.parametrize("criterion", CRITERIA)
def test_only_what_comes_before_a_cut_by_movement_adds_it_up(criterion: str) -> None:
    found = trained(spec_with(criterion))
    is_movement = criterion == "movement"
    flags = {name: ["keep_movement" in s.settings for s in made] for name, made in found.items()}
    assert flags["baseline"] == [is_movement]
    assert flags["iterative"] == [is_movement] * 4 + [False]
    assert not any(flags["one_shot"] + flags["one_shot_equal_budget"])
    same = found["baseline"][0].key == trained(QUICKSTART)["baseline"][0].key
    assert same == (not is_movement)


def test_the_last_cut_before_a_tail_adds_it_up_for_the_tail() -> None:
    """The tail is a step of its own, which cuts nothing but asks the same criterion."""
    spec = spec_with("movement")
    tailed = replace(spec, iterative=replace(spec.iterative, final_epochs=1.0))
    flags = ["keep_movement" in stage.settings for stage in trained(tailed)["iterative"]]
    assert flags == [True] * 5 + [False]
    one = replace(tailed.iterative, iterations=1, epochs=0)
    with pytest.raises(SpecError, match="every cut after the first"):
        trained(replace(spec, iterative=one))


def test_movement_without_training_before_a_cut_is_refused() -> None:
    spec = spec_with("movement")
    chain = replace(spec.iterative, epochs=0)
    wrong = {
        "baseline_epochs at 0 nothing is trained before the first cut": replace(
            spec, baseline_epochs=0
        ),
        "iterative.epochs at 0 nothing is trained before every cut after the first": replace(
            spec, iterative=chain
        ),
    }
    for words, made in wrong.items():
        with pytest.raises(SpecError, match=words) as caught:
            plans.plan(made, Facts(made))
        assert caught.value.field == "pruning.criterion"
        plain = replace(made, pruning=PruningSpec())
        assert plans.plan(plain, Facts(plain)).complete
    for right in (replace(chain, iterations=1), replace(chain, enabled=False)):
        made = replace(spec, iterative=right)
        assert plans.plan(made, Facts(made)).complete


def test_a_model_that_a_criterion_cannot_score_is_refused() -> None:
    model = {**MODEL, "unfit": {"synflow": "the model has layers of the kind Sigmoid"}}
    spec = spec_with("synflow")
    with pytest.raises(
        SpecError, match=r"`synflow` cannot score mobilenet_v2: .* Sigmoid"
    ) as caught:
        plans.plan(spec, Facts(spec, DATA, model))
    assert caught.value.field == "pruning.criterion"
    other = spec_with("taylor")
    assert plans.plan(other, Facts(other, DATA, model)).complete
    assert plans.plan(spec, Facts(spec)).complete


@pytest.mark.parametrize("count", [0, -1])
def test_no_images_to_look_at_are_refused(count: int) -> None:
    with pytest.raises(SpecError, match=r"pruning\.calibration_images"):
        PruningSpec(calibration_images=count)


def test_movement_has_signs_which_lamp_cannot_weigh() -> None:
    spec = replace(QUICKSTART, pruning=PruningSpec(criterion="movement", allocation="lamp"))
    with pytest.raises(SpecError, match="may be negative") as caught:
        plan(spec, Facts(spec))
    assert caught.value.field == "pruning.allocation"


@pytest.mark.parametrize("schedule", EXCHANGES)
def test_scores_that_never_change_do_not_exchange(schedule: str) -> None:
    chain = replace(QUICKSTART.iterative, schedule=schedule)
    for pruning, field in (
        (PruningSpec(criterion="snip"), "pruning.criterion"),
        (PruningSpec(calibration_images=1), "pruning.calibration_images"),
    ):
        spec = replace(QUICKSTART, pruning=pruning, iterative=chain)
        with pytest.raises(SpecError, match=schedule) as caught:
            plan(spec, Facts(spec))
        assert caught.value.field == field
        without = replace(spec, iterative=replace(chain, enabled=False))
        assert plan(without, Facts(without)).complete
