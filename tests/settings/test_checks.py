"""The needs of a criterion decide about keys and refusals, before anything is trained."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pruning_core.common.errors import Choice, Ref, SpecError
from pruning_core.methods.criteria import CRITERIA, IMAGES, needs
from pruning_core.methods.recovery import RECOVERY_METHODS
from pruning_core.methods.sparsity_schedules import SPARSITY_SCHEDULES
from pruning_core.planning.plan import plan
from pruning_core.planning.presets import QUICKSTART
from pruning_core.planning.stage import Stage
from pruning_core.settings.pruning import PruningSpec
from pruning_core.settings.recovery import RecoverySpec
from pruning_core.settings.sensitivity import SensitivitySpec
from pruning_core.settings.spec import Spec
from tests.helpers.inspections import DATA, MODEL, Facts

REGROWING = [name for name, schedule in SPARSITY_SCHEDULES.items() if schedule.regrowth]


def spec_with(criterion: str, **pruning: Any) -> Spec:
    return replace(QUICKSTART, pruning=PruningSpec(criterion, **pruning))


def models(spec: Spec) -> dict[str, list[Stage]]:
    """The stages of the models of each strategy."""
    planned = plan(spec, Facts(spec))
    stages = {stage.key: stage for stage in planned.stages}
    by_strategy: dict[str, list[Stage]] = {}
    for model in planned.models:
        by_strategy.setdefault(model.strategy, []).append(stages[model.key])
    return by_strategy


@pytest.mark.parametrize("criterion", CRITERIA)
def test_calibration_images_enter_the_key_of_criteria_that_use_them(criterion: str) -> None:
    one, other = (models(spec_with(criterion, calibration_images=n)) for n in (512, 64))
    differ = [a.key != b.key for a, b in zip(one["iterative"], other["iterative"], strict=True)]
    assert set(differ) == {needs(criterion, IMAGES)}
    assert one["baseline"][0].key == other["baseline"][0].key


@pytest.mark.parametrize("criterion", CRITERIA)
def test_calibration_images_enter_the_key_of_a_sensitivity_analysis(criterion: str) -> None:
    keys = []
    for count in (512, 64):
        spec = replace(
            spec_with(criterion, calibration_images=count),
            sensitivity=SensitivitySpec(enabled=True),
        )
        stages = plan(spec, Facts(spec)).stages
        keys.append([stage.key for stage in stages if stage.kind == "sensitivity"])
    assert len(keys[0]) == 2
    assert (keys[0] != keys[1]) == needs(criterion, IMAGES)


@pytest.mark.parametrize("criterion", CRITERIA)
def test_movement_is_kept_before_each_pruning_step_by_movement(criterion: str) -> None:
    by_strategy = models(spec_with(criterion))
    is_movement = criterion == "movement"
    kept = {
        name: ["keep_movement" in stage.settings for stage in stages]
        for name, stages in by_strategy.items()
    }
    assert kept["baseline"] == [is_movement]
    assert kept["iterative"] == [is_movement] * 4 + [False]
    assert not any(kept["one_shot"] + kept["one_shot_equal_budget"])
    same = by_strategy["baseline"][0].key == models(QUICKSTART)["baseline"][0].key
    assert same == (not is_movement)


def test_movement_is_kept_before_final_fine_tuning() -> None:
    """Final fine-tuning is a step of its own, which prunes nothing but has the same criterion."""
    spec = spec_with("movement")
    final = replace(spec, iterative=replace(spec.iterative, final_epochs=1.0))
    kept = ["keep_movement" in stage.settings for stage in models(final)["iterative"]]
    assert kept == [True] * 5 + [False]
    one_step = replace(final.iterative, iterations=1, epochs=0)
    with pytest.raises(SpecError, match="every pruning step after the first"):
        models(replace(spec, iterative=one_step))


def test_movement_without_training_before_a_pruning_step_is_refused() -> None:
    spec = spec_with("movement")
    chain = replace(spec.iterative, epochs=0)
    for wrong, setting, step in (
        (replace(spec, baseline_epochs=0), "baseline_epochs", "the first pruning step"),
        (
            replace(spec, iterative=chain),
            "iterative.epochs",
            "every pruning step after the first",
        ),
    ):
        with pytest.raises(SpecError, match="so there is no training before") as caught:
            plan(wrong, Facts(wrong))
        assert caught.value.field == "pruning.criterion"
        assert caught.value.values["setting"] == Ref(setting)
        assert caught.value.values["step"] == step
        magnitude = replace(wrong, pruning=PruningSpec())
        assert plan(magnitude, Facts(magnitude)).complete
    for valid_chain in (replace(chain, iterations=1), replace(chain, enabled=False)):
        valid = replace(spec, iterative=valid_chain)
        assert plan(valid, Facts(valid)).complete


def test_a_model_that_a_criterion_cannot_score_is_refused() -> None:
    model = {**MODEL, "unsupported": {"synflow": "the model has layers of the kind Sigmoid"}}
    spec = spec_with("synflow")
    with pytest.raises(SpecError, match=r"synflow cannot score mobilenet_v2: .* Sigmoid") as caught:
        plan(spec, Facts(spec, DATA, model))
    assert caught.value.field == "pruning.criterion"
    assert caught.value.values["criterion"] == Choice("pruning.criterion", "synflow")
    other = spec_with("taylor")
    assert plan(other, Facts(other, DATA, model)).complete
    assert plan(spec, Facts(spec)).complete


@pytest.mark.parametrize("count", [0, -1])
def test_calibration_without_images_is_refused(count: int) -> None:
    with pytest.raises(SpecError, match=r"pruning\.calibration_images.*at least 1"):
        PruningSpec(calibration_images=count)


def test_lamp_with_signed_scores_is_refused() -> None:
    spec = replace(QUICKSTART, pruning=PruningSpec(criterion="movement", allocation="lamp"))
    with pytest.raises(SpecError, match="can be negative") as caught:
        plan(spec, Facts(spec))
    assert caught.value.field == "pruning.allocation"


@pytest.mark.parametrize("schedule", REGROWING)
def test_regrowth_with_scores_that_never_change_is_refused(schedule: str) -> None:
    chain = replace(QUICKSTART.iterative, schedule=schedule)
    for pruning, field in (
        (PruningSpec(criterion="snip"), "pruning.criterion"),
        (PruningSpec(criterion="obs"), "pruning.criterion"),
        (PruningSpec(calibration_images=1), "pruning.calibration_images"),
    ):
        spec = replace(QUICKSTART, pruning=pruning, iterative=chain)
        with pytest.raises(SpecError, match=schedule) as caught:
            plan(spec, Facts(spec))
        assert caught.value.field == field
        without = replace(spec, iterative=replace(chain, enabled=False))
        assert plan(without, Facts(without)).complete


@pytest.mark.parametrize("method", RECOVERY_METHODS)
def test_compensated_weights_are_not_replaced(method: str) -> None:
    """With a criterion that changes the remaining weights, no method may replace them."""
    recovery = RecoverySpec(method=method)
    spec = replace(spec_with("obs"), recovery=recovery)
    if not RECOVERY_METHODS[method].restarts:
        assert plan(spec, Facts(spec)).complete
        return
    with pytest.raises(SpecError, match="make up for the pruned ones") as caught:
        plan(spec, Facts(spec))
    assert caught.value.field == "recovery.method"
    other = replace(spec_with("wanda"), recovery=recovery)
    assert plan(other, Facts(other)).complete
