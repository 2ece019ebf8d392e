"""When weights go: typed targets, fractions of epochs, the tail, and the stages they make."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pruning_core.common.errors import SpecError
from pruning_core.methods.lr_schedules import LR_SCHEDULES
from pruning_core.methods.sparsity_schedules import RETURNING
from pruning_core.planning import plan as plans
from pruning_core.planning.estimate import estimate
from pruning_core.planning.presets import QUICKSTART
from pruning_core.planning.stage import Plan, Stage
from pruning_core.settings.pruning import PruningSpec
from pruning_core.settings.pruning_steps import steps, targets
from pruning_core.settings.recovery import RecoverySpec
from pruning_core.settings.spec import Spec, from_json, to_json
from pruning_core.settings.strategies import IterativeSpec, OneShotSpec
from pruning_core.storage.jobs import job_id
from tests.helpers.inspections import Facts

LIST = IterativeSpec(schedule="custom", custom_schedule=(0.3, 0.3, 0.85), iterations=3, target=0.85)


def chain(**settings: Any) -> Spec:
    return replace(QUICKSTART, iterative=IterativeSpec(**settings))


def points(spec: Spec, strategy: str = "iterative") -> list[Stage]:
    """The stages of a strategy's points, in their order."""
    made = plans.plan(spec, Facts(spec))
    stages = {stage.key: stage for stage in made.stages}
    return [stages[point.key] for point in made.models if point.strategy == strategy]


def settings(spec: Spec, name: str) -> list[Any]:
    return [stage.settings[name] for stage in points(spec)]


def test_typed_targets_are_the_chain() -> None:
    assert targets(LIST) == [0.3, 0.3, 0.85]
    assert settings(replace(QUICKSTART, iterative=LIST), "target") == ["0.3", "0.3", "0.85"]


WRONG: list[tuple[Callable[[], object], str, str]] = [
    (
        lambda: replace(LIST, custom_schedule=(0.5, 0.3, 0.85)),
        "custom_schedule",
        "0.3 after 0.5 falls",
    ),
    (lambda: replace(LIST, custom_schedule=(0.3, 0.5, 1.0)), "custom_schedule", "not a fraction"),
    (lambda: replace(LIST, custom_schedule=(float("nan"),)), "custom_schedule", "not a fraction"),
    (lambda: replace(LIST, custom_schedule=()), "custom_schedule", "at least one"),
    (lambda: replace(LIST, schedule="cubic"), "custom_schedule", "not for `cubic`"),
    (lambda: replace(LIST, iterations=4), "iterations", "4 is not the number"),
    (lambda: replace(LIST, target=0.9), "target", "0.9 is not the last"),
    (lambda: IterativeSpec(final_epochs=-1), "final_epochs", "too small"),
    (lambda: IterativeSpec(schedule="rigl", iterations=1), "iterations", "needs 2 steps"),
    (lambda: IterativeSpec(schedule="rigl", epochs=0), "epochs", "must be trained"),
    (
        lambda: IterativeSpec(schedule="dense_sparse_dense", iterations=1),
        "iterations",
        "needs 2 steps",
    ),
    (lambda: IterativeSpec(epochs=0.0001), "epochs", "too little"),
    (lambda: IterativeSpec(epochs=float("nan")), "epochs", "too small"),
    (lambda: IterativeSpec(epochs=float("inf")), "epochs", "too many"),
]


@pytest.mark.parametrize(("make", "name", "said"), WRONG)
def test_what_cannot_be_is_refused(make: Callable[[], object], name: str, said: str) -> None:
    with pytest.raises(SpecError, match=said) as caught:
        make()
    assert caught.value.field == f"iterative.{name}"


@given(st.lists(st.floats(0, 0.999).map(lambda x: round(x, 6)), min_size=1, max_size=100))
def test_any_rising_list_is_a_schedule_and_survives_json(found: list[float]) -> None:
    rising = (*sorted(found)[:-1], max(*found, 0.01))
    made = chain(
        schedule="custom", custom_schedule=rising, iterations=len(rising), target=rising[-1]
    )
    assert from_json(to_json(made)) == made
    assert [step.target for step in steps(made.iterative)] == list(rising)


def test_one_epoch_is_one_key_however_it_is_written() -> None:
    typed = from_json('{"iterative": {"epochs": 1, "final_epochs": 2}, "one_shot": {"epochs": 1}}')
    written = from_json(
        '{"iterative": {"epochs": 1.0, "final_epochs": 2.0}, "one_shot": {"epochs": 1.0}}'
    )
    made = Spec(iterative=IterativeSpec(epochs=1, final_epochs=2), one_shot=OneShotSpec(epochs=1))
    assert len({to_json(spec) for spec in (typed, written, made)}) == 1
    assert len({job_id(spec) for spec in (typed, written, made)}) == 1
    assert [type(n) for n in settings(made, "epochs")] == [int] * 6


def test_half_epochs_go_down_one_curve() -> None:
    spec = replace(chain(iterations=3, epochs=0.5), lr_schedule_span="pruning")
    assert settings(spec, "lr_from_epoch") == [0, 0.5, 1]
    assert settings(spec, "lr_epochs") == [1.5] * 3
    assert settings(spec, "keep_optimizer") == [True, True, False]
    (equal_budget,) = points(spec, "one_shot_equal_budget")
    assert equal_budget.settings["epochs"] == 1.5


def test_thirds_and_tenths_leave_no_dust() -> None:
    spec = replace(chain(iterations=3, epochs=0.1, final_epochs=0.2), lr_schedule_span="pruning")
    assert settings(spec, "lr_from_epoch") == [0, 0.1, 0.2, 0]
    assert settings(spec, "lr_epochs") == [0.3, 0.3, 0.3, 0.2]
    assert settings(spec, "keep_optimizer") == [True, True, False, False]
    assert points(spec, "one_shot_equal_budget")[0].settings["epochs"] == 0.5


@pytest.mark.parametrize("span", ["step", "pruning"])
def test_a_tail_is_a_step_without_a_cut_whose_rate_falls_to_zero(span: str) -> None:
    spec = replace(
        chain(target=0.8, iterations=2, epochs=1, final_epochs=2.5),
        lr_schedule_span=span,
        finetune=replace(QUICKSTART.finetune, lr_schedule="constant", warmup=0.1),
    )
    *cuts, tail = points(spec)
    assert tail.parent == cuts[-1].key
    assert tail.settings["target"] == cuts[-1].settings["target"] == "0.8"
    assert [cut.settings["train"]["lr_schedule"] for cut in cuts] == ["constant"] * 2
    curve = {"lr_schedule": "cosine", "warmup": 0}
    assert tail.settings["train"] == {**cuts[0].settings["train"], **curve}
    names = ("epochs", "lr_from_epoch", "lr_epochs", "keep_optimizer")
    assert [tail.settings[name] for name in names] == [2.5, 0, 2.5, False]
    (equal_budget,) = points(spec, "one_shot_equal_budget")
    assert equal_budget.settings["epochs"] == 4.5
    made = plans.plan(spec, Facts(spec))
    marks = [(p.iteration, p.final) for p in made.models if p.strategy == "iterative"]
    assert marks == [(1, False), (2, False), (3, True)]


def test_weights_that_change_places_are_a_setting_of_the_step() -> None:
    spec = replace(
        chain(schedule="rigl", target=0.8, iterations=4, epochs=1, final_epochs=1),
        pruning=PruningSpec(calibration_images=99),
    )
    found = [stage.settings for stage in points(spec)]
    assert [s.get("exchange") for s in found] == [
        *(None, pytest.approx(0.225), pytest.approx(0.075)),
        *(None, None),
    ]
    assert [s.get("exchange_images") for s in found] == [None, 99, 99, None, None]
    assert {s["target"] for s in found} == {"0.8"}


def test_dense_sparse_dense_ends_dense_and_so_does_what_it_is_compared_with() -> None:
    spec = chain(schedule="dense_sparse_dense", target=0.8, iterations=3, epochs=1, final_epochs=1)
    assert settings(spec, "target") == ["0.8", "0.8", "0.0", "0.0"]
    assert [s.settings.get("lifted") for s in points(spec)] == [None, None, True, None]
    (equal_budget,) = points(spec, "one_shot_equal_budget")
    assert equal_budget.settings["target"] == "0.0"
    assert equal_budget.settings["epochs"] == 4


@pytest.mark.parametrize("method", ["weight_rewinding", "random_reinit"])
@pytest.mark.parametrize("schedule", RETURNING)
def test_what_comes_back_is_not_rewound(schedule: str, method: str) -> None:
    with pytest.raises(SpecError, match=f"forgets what `{schedule}` has trained") as caught:
        replace(chain(schedule=schedule), recovery=RecoverySpec(method=method))
    assert caught.value.field == "recovery.method"
    replace(chain(schedule=schedule, enabled=False), recovery=RecoverySpec(method=method))


def test_one_curve_over_cuts_and_tail() -> None:
    """As the equal_budget one-shot run has it: the same rates in the same epochs."""
    spec = replace(chain(iterations=3, epochs=0.5, final_epochs=1), lr_schedule_span="run")
    assert settings(spec, "lr_from_epoch") == [0, 0.5, 1, 1.5]
    assert settings(spec, "lr_epochs") == [2.5] * 4
    assert settings(spec, "keep_optimizer") == [True, True, True, False]
    (equal_budget,) = points(spec, "one_shot_equal_budget")
    names = ("train", "lr_epochs")
    assert all(
        equal_budget.settings[n] == stage.settings[n] for n in names for stage in points(spec)
    )
    bare = chain(iterations=3)
    keys = [
        [s.key for s in points(replace(bare, lr_schedule_span=span))] for span in ("pruning", "run")
    ]
    assert keys[0] == keys[1]


@pytest.mark.parametrize("curve", LR_SCHEDULES)
def test_one_curve_with_a_tail_must_fall_to_zero(curve: str) -> None:
    def made(tail: float) -> Spec:
        finetune = replace(QUICKSTART.finetune, lr_schedule=curve)
        return replace(chain(final_epochs=tail), finetune=finetune, lr_schedule_span="run")

    assert made(0)
    if curve in ("cosine", "one_cycle"):
        assert made(2)
        return
    with pytest.raises(SpecError, match=f"the curve `{curve}` over cuts and tail") as caught:
        made(2)
    assert caught.value.field == "lr_schedule_span"


def test_without_a_tail_a_chain_is_what_it_was() -> None:
    assert [stage.key for stage in points(chain(iterations=2))] == [
        stage.key for stage in points(chain(iterations=2, final_epochs=3))[:2]
    ]


def test_the_estimate_knows_fractions_and_the_tail_before_and_after_planning() -> None:
    plain = replace(QUICKSTART, one_shot=OneShotSpec(amounts=(), epochs=0))
    spec = replace(plain, iterative=IterativeSpec(iterations=3, epochs=0.5, final_epochs=2.5))
    facts = Facts(spec)
    before, after = (estimate(spec, made, facts, 2) for made in (Plan(()), plans.plan(spec, facts)))
    assert before == after
    longer = replace(spec, iterative=replace(spec.iterative, final_epochs=5))
    assert before
    assert estimate(longer, Plan(()), facts, 2).left > before.left  # type: ignore[union-attr]
