"""Iterative pruning: custom schedules, fractions of epochs, final fine-tuning, and its stages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pruning_core.common.errors import SpecError
from pruning_core.methods.lr_schedules import LR_SCHEDULES
from pruning_core.methods.sparsity_schedules import SPARSITY_SCHEDULES
from pruning_core.planning.estimate import estimate
from pruning_core.planning.plan import plan
from pruning_core.planning.presets import QUICKSTART
from pruning_core.planning.stage import Plan, Stage
from pruning_core.settings.pruning import PruningSpec
from pruning_core.settings.pruning_steps import steps, targets
from pruning_core.settings.recovery import RecoverySpec
from pruning_core.settings.spec import Spec, from_json, to_json
from pruning_core.settings.strategies import IterativeSpec, OneShotSpec
from pruning_core.storage.job_record import job_id
from tests.helpers.inspections import Facts

CUSTOM = IterativeSpec(
    schedule="custom", custom_schedule=(0.3, 0.3, 0.85), iterations=3, target=0.85
)


def chain(**settings: Any) -> Spec:
    return replace(QUICKSTART, iterative=IterativeSpec(**settings))


RETURNING = [name for name, schedule in SPARSITY_SCHEDULES.items() if schedule.regrows]


def models(spec: Spec, strategy: str = "iterative") -> list[Stage]:
    """The stages of a strategy's models, in order."""
    planned = plan(spec, Facts(spec))
    stages = {stage.key: stage for stage in planned.stages}
    return [stages[model.key] for model in planned.models if model.strategy == strategy]


def settings(spec: Spec, name: str) -> list[Any]:
    return [stage.settings[name] for stage in models(spec)]


def test_a_custom_schedule_gives_the_targets() -> None:
    assert targets(CUSTOM) == [0.3, 0.3, 0.85]
    assert settings(replace(QUICKSTART, iterative=CUSTOM), "target") == ["0.3", "0.3", "0.85"]


WRONG: list[tuple[Callable[[], object], str, str]] = [
    (
        lambda: replace(CUSTOM, custom_schedule=(0.5, 0.3, 0.85)),
        "custom_schedule",
        "0.3 comes after 0.5",
    ),
    (lambda: replace(CUSTOM, custom_schedule=(0.3, 0.5, 1.0)), "custom_schedule", "below 1"),
    (lambda: replace(CUSTOM, custom_schedule=(float("nan"),)), "custom_schedule", "below 1"),
    (lambda: replace(CUSTOM, custom_schedule=()), "custom_schedule", "needs at least one sparsity"),
    (lambda: replace(CUSTOM, schedule="cubic"), "custom_schedule", "not to cubic"),
    (lambda: replace(CUSTOM, iterations=4), "iterations", "4 is not the number"),
    (lambda: replace(CUSTOM, target=0.9), "target", "0.9 is not the last"),
    (lambda: IterativeSpec(final_epochs=-1), "final_epochs", "must be at least 0"),
    (
        lambda: IterativeSpec(schedule="rigl", iterations=1),
        "iterations",
        "needs at least 2 steps, not 1",
    ),
    (lambda: IterativeSpec(schedule="rigl", epochs=0), "epochs", "must be trained"),
    (
        lambda: IterativeSpec(schedule="dense_sparse_dense", iterations=1),
        "iterations",
        "needs at least 2 steps, not 1",
    ),
    (lambda: IterativeSpec(epochs=0.0001), "epochs", "too small"),
    (lambda: IterativeSpec(epochs=float("nan")), "epochs", "out of range"),
    (lambda: IterativeSpec(epochs=float("inf")), "epochs", "at most 10000"),
]


@pytest.mark.parametrize(("make", "name", "words"), WRONG)
def test_impossible_settings_are_refused(make: Callable[[], object], name: str, words: str) -> None:
    with pytest.raises(SpecError, match=words) as caught:
        make()
    assert caught.value.field == f"iterative.{name}"


@given(st.lists(st.floats(0, 0.999).map(lambda x: round(x, 6)), min_size=1, max_size=100))
def test_any_rising_list_is_a_custom_schedule_and_survives_json(sparsities: list[float]) -> None:
    rising = (*sorted(sparsities)[:-1], max(*sparsities, 0.01))
    spec = chain(
        schedule="custom", custom_schedule=rising, iterations=len(rising), target=rising[-1]
    )
    assert from_json(to_json(spec)) == spec
    assert [step.target for step in steps(spec.iterative)] == list(rising)


def test_1_and_1_0_epochs_have_one_key() -> None:
    integers = from_json(
        '{"iterative": {"epochs": 1, "final_epochs": 2}, "one_shot": {"epochs": 1}}'
    )
    floats = from_json(
        '{"iterative": {"epochs": 1.0, "final_epochs": 2.0}, "one_shot": {"epochs": 1.0}}'
    )
    built = Spec(iterative=IterativeSpec(epochs=1, final_epochs=2), one_shot=OneShotSpec(epochs=1))
    assert len({to_json(spec) for spec in (integers, floats, built)}) == 1
    assert len({job_id(spec) for spec in (integers, floats, built)}) == 1
    assert [type(n) for n in settings(built, "epochs")] == [int] * 6


def test_half_epochs_share_one_schedule() -> None:
    spec = replace(chain(iterations=3, epochs=0.5), lr_schedule_span="pruning")
    assert settings(spec, "lr_from_epoch") == [0, 0.5, 1]
    assert settings(spec, "lr_epochs") == [1.5] * 3
    assert settings(spec, "keep_optimizer") == [True, True, False]
    (equal_budget,) = models(spec, "one_shot_equal_budget")
    assert equal_budget.settings["epochs"] == 1.5


def test_epochs_are_free_of_rounding_errors() -> None:
    spec = replace(chain(iterations=3, epochs=0.1, final_epochs=0.2), lr_schedule_span="pruning")
    assert settings(spec, "lr_from_epoch") == [0, 0.1, 0.2, 0]
    assert settings(spec, "lr_epochs") == [0.3, 0.3, 0.3, 0.2]
    assert settings(spec, "keep_optimizer") == [True, True, False, False]
    assert models(spec, "one_shot_equal_budget")[0].settings["epochs"] == 0.5


@pytest.mark.parametrize("span", ["step", "pruning"])
def test_final_fine_tuning_prunes_nothing_and_its_learning_rate_falls_to_zero(span: str) -> None:
    spec = replace(
        chain(target=0.8, iterations=2, epochs=1, final_epochs=2.5),
        lr_schedule_span=span,
        finetune=replace(QUICKSTART.finetune, lr_schedule="constant", warmup=0.1),
    )
    *pruned, final = models(spec)
    assert final.parent == pruned[-1].key
    assert final.settings["target"] == pruned[-1].settings["target"] == "0.8"
    assert [stage.settings["train"]["lr_schedule"] for stage in pruned] == ["constant"] * 2
    cosine = {"lr_schedule": "cosine", "warmup": 0}
    assert final.settings["train"] == {**pruned[0].settings["train"], **cosine}
    names = ("epochs", "lr_from_epoch", "lr_epochs", "keep_optimizer")
    assert [final.settings[name] for name in names] == [2.5, 0, 2.5, False]
    (equal_budget,) = models(spec, "one_shot_equal_budget")
    assert equal_budget.settings["epochs"] == 4.5
    planned = plan(spec, Facts(spec))
    steps_of = [(m.iteration, m.final) for m in planned.models if m.strategy == "iterative"]
    assert steps_of == [(1, False), (2, False), (3, True)]


def test_regrowth_is_a_setting_of_the_step() -> None:
    spec = replace(
        chain(schedule="rigl", target=0.8, iterations=4, epochs=1, final_epochs=1),
        pruning=PruningSpec(calibration_images=99),
    )
    of_steps = [stage.settings for stage in models(spec)]
    assert [s.get("regrowth") for s in of_steps] == [
        *(None, pytest.approx(0.225), pytest.approx(0.075)),
        *(None, None),
    ]
    images = [s["pruning"].get("calibration_images") for s in of_steps]
    assert images == [None, 99, 99, None, None]
    assert {s["target"] for s in of_steps} == {"0.8"}


def test_dense_sparse_dense_and_its_equal_budget_control_end_dense() -> None:
    spec = chain(schedule="dense_sparse_dense", target=0.8, iterations=3, epochs=1, final_epochs=1)
    assert settings(spec, "target") == ["0.8", "0.8", "0.0", "0.0"]
    assert [s.settings.get("dense") for s in models(spec)] == [None, None, True, None]
    (equal_budget,) = models(spec, "one_shot_equal_budget")
    assert equal_budget.settings["target"] == "0.0"
    assert equal_budget.settings["epochs"] == 4


@pytest.mark.parametrize(
    ("iterations", "targets", "dense"),
    [
        (3, ["0.8", "0.0", "0.8"], [None, True, None]),
        (4, ["0.0", "0.8", "0.0", "0.8"], [None, None, True, None]),
    ],
)
def test_ac_dc_alternates_and_ends_sparse(
    iterations: int, targets: list[str], dense: list[bool | None]
) -> None:
    spec = chain(schedule="ac_dc", target=0.8, iterations=iterations, epochs=1)
    assert settings(spec, "target") == targets
    assert [s.settings.get("dense") for s in models(spec)] == dense
    (equal_budget,) = models(spec, "one_shot_equal_budget")
    assert equal_budget.settings["target"] == "0.8"


@pytest.mark.parametrize("method", ["weight_rewinding", "random_reinit"])
@pytest.mark.parametrize("schedule", RETURNING)
def test_returning_weights_are_not_rewound(schedule: str, method: str) -> None:
    with pytest.raises(SpecError, match=f"the weights that {schedule} regrew would") as caught:
        replace(chain(schedule=schedule), recovery=RecoverySpec(method=method))
    assert caught.value.field == "recovery.method"
    replace(chain(schedule=schedule, enabled=False), recovery=RecoverySpec(method=method))


def test_one_schedule_over_pruning_steps_and_final_fine_tuning() -> None:
    """One-shot with an equal budget has the same learning rates in the same epochs."""
    spec = replace(chain(iterations=3, epochs=0.5, final_epochs=1), lr_schedule_span="run")
    assert settings(spec, "lr_from_epoch") == [0, 0.5, 1, 1.5]
    assert settings(spec, "lr_epochs") == [2.5] * 4
    assert settings(spec, "keep_optimizer") == [True, True, True, False]
    (equal_budget,) = models(spec, "one_shot_equal_budget")
    names = ("train", "lr_epochs")
    assert all(
        equal_budget.settings[n] == stage.settings[n] for n in names for stage in models(spec)
    )
    without = chain(iterations=3)
    keys = [
        [s.key for s in models(replace(without, lr_schedule_span=span))]
        for span in ("pruning", "run")
    ]
    assert keys[0] == keys[1]


@pytest.mark.parametrize("schedule", LR_SCHEDULES)
def test_a_schedule_over_the_whole_run_must_fall_to_zero(schedule: str) -> None:
    def with_final(epochs: float) -> Spec:
        finetune = replace(QUICKSTART.finetune, lr_schedule=schedule)
        return replace(chain(final_epochs=epochs), finetune=finetune, lr_schedule_span="run")

    assert with_final(0)
    if schedule in ("cosine", "one_cycle"):
        assert with_final(2)
        return
    with pytest.raises(SpecError, match=f"the schedule {schedule} does not fall") as caught:
        with_final(2)
    assert caught.value.field == "lr_schedule_span"


def test_final_fine_tuning_does_not_change_the_steps_before_it() -> None:
    assert [stage.key for stage in models(chain(iterations=2))] == [
        stage.key for stage in models(chain(iterations=2, final_epochs=3))[:2]
    ]


def test_the_estimate_before_and_after_planning_is_equal_with_final_fine_tuning() -> None:
    plain = replace(QUICKSTART, one_shot=OneShotSpec(amounts=(), epochs=0))
    spec = replace(plain, iterative=IterativeSpec(iterations=3, epochs=0.5, final_epochs=2.5))
    facts = Facts(spec)
    before, after = (estimate(spec, p, facts, 2) for p in (Plan(()), plan(spec, facts)))
    assert before == after
    longer = replace(spec, iterative=replace(spec.iterative, final_epochs=5))
    more = estimate(longer, Plan(()), facts, 2)
    assert before
    assert more
    assert more.remaining > before.remaining


def test_the_budget_is_the_sum_of_the_rounded_epochs_of_the_steps() -> None:
    """A twelfth is 0.083333 epochs, and six of them are less than a half."""
    spec = chain(iterations=6, epochs=1 / 12)
    assert settings(spec, "epochs") == [0.083333] * 6
    (equal_budget,) = models(spec, "one_shot_equal_budget")
    assert equal_budget.settings["epochs"] == round(6 * 0.083333, 6)
    places = [stage.settings.get("first_epoch") for stage in models(spec)]
    assert places == [None, *(round(i * 0.083333, 6) for i in range(1, 6))]


def test_only_fractions_that_are_rounded_with_earlier_epochs_enter_a_key() -> None:
    """Whole epochs have the keys that they had before fractions were rounded together."""

    def marks(span: str = "step", **changes: Any) -> list[Any]:
        spec = replace(chain(iterations=3, **changes), lr_schedule_span=span)
        return [stage.settings.get("first_epoch") for stage in models(spec)]

    assert marks(epochs=2, final_epochs=1.5) == [None] * 4
    assert marks("run", epochs=2, final_epochs=1.5) == [None] * 4
    assert marks(epochs=0.5, final_epochs=1) == [None, 0.5, None, 1.5]
    assert marks("run", epochs=0.5) == [0, 0.5, None]
    spec = chain(iterations=3, epochs=0.5)
    assert [s.settings.get("first_epoch") for s in models(spec, "one_shot_equal_budget")] == [None]


def test_the_equal_schedule_control_is_one_model_where_learning_rates_differ() -> None:
    """The control has one pruning step; where one schedule spans the run, it has no effect."""
    spec = chain(iterations=3, epochs=1, final_epochs=2, equal_schedule=True)
    (control,) = models(spec, "one_shot_equal_schedule")
    assert (control.settings["epochs"], control.settings["target"]) == (5, "0.9")
    segments = control.settings["lr_segments"]
    assert [(s["epochs"], s["lr_from_epoch"], s["lr_epochs"]) for s in segments] == [
        *[(1, 0, 1)] * 3,
        (2, 0, 2),
    ]
    (spanning,) = models(replace(spec, lr_schedule_span="pruning"), "one_shot_equal_schedule")
    assert [s["lr_from_epoch"] for s in spanning.settings["lr_segments"]] == [0, 1, 2, 0]
    without = replace(spec, iterative=replace(spec.iterative, equal_schedule=False))
    for span, number in (("run", 0), ("pruning", 1)):
        spec, plain_spec = (replace(s, lr_schedule_span=span) for s in (spec, without))
        assert len(models(spec, "one_shot_equal_schedule")) == number
        assert (job_id(spec) == job_id(plain_spec)) == (number == 0)
    assert models(chain(iterations=1, equal_schedule=True), "one_shot_equal_schedule") == []
