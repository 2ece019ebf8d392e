"""Ways to recover as settings: what is refused, what is said, what keys and estimates hold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from pruning_core.cli import main
from pruning_core.cli.main import parser
from pruning_core.cli.options import spec_from
from pruning_core.common.errors import SpecError
from pruning_core.common.paths import Cache
from pruning_core.planning import plan as plans
from pruning_core.planning.estimate import START_SECONDS, estimate
from pruning_core.planning.presets import QUICKSTART
from pruning_core.planning.pruned import (
    CONTROL_WITHOUT_TEACHER,
    LOADED_WEIGHTS_NOTE,
    recovery_notes,
)
from pruning_core.planning.stage import Stage
from pruning_core.settings.data import ModelSpec
from pruning_core.settings.recovery import RecoverySpec
from pruning_core.settings.spec import Spec
from pruning_core.settings.strategies import OneShotSpec
from pruning_core.settings.training import TrainSpec
from tests.helpers.inspections import Facts
from tests.helpers.refusals import without_worker
from tests.helpers.workers import TINY_OPTIONS

NO_BASELINE = replace(QUICKSTART, baseline_epochs=0)
LOADING = ModelSpec(weights="mine.safetensors")


def with_recovery(spec: Spec = QUICKSTART, **settings: Any) -> Spec:
    return replace(spec, recovery=RecoverySpec(**settings))


def planned(spec: Spec) -> list[Stage]:
    return list(plans.plan(spec, Facts(spec)).stages)


def stages(spec: Spec, kind: str) -> list[Stage]:
    return [stage for stage in planned(spec) if stage.kind == kind]


def keys(spec: Spec, kind: str) -> list[str]:
    return [stage.key for stage in stages(spec, kind)]


WRONG: list[tuple[Callable[[], object], str, str]] = [
    (lambda: RecoverySpec("rewind"), "recovery.method", "not one of"),
    (lambda: RecoverySpec("lr_rewinding", -1), "recovery.rewind_epoch", "too small"),
    (lambda: RecoverySpec("fine_tuning", 3), "recovery.rewind_epoch", "goes back to no epoch"),
    (lambda: RecoverySpec("random_reinit", 3), "recovery.rewind_epoch", "goes back to no epoch"),
    (
        lambda: RecoverySpec(distillation_weight=1.5),
        "recovery.distillation_weight",
        "outside 0 to 1",
    ),
    (
        lambda: RecoverySpec(distillation_temperature=0.0),
        "recovery.distillation_temperature",
        "above 0",
    ),
    (lambda: TrainSpec(warmup=1.0), "warmup", "not in"),
    (lambda: TrainSpec(label_smoothing=-0.1), "label_smoothing", "not in"),
    (
        lambda: with_recovery(method="weight_rewinding", rewind_epoch=12),
        "recovery.rewind_epoch",
        "Give 0 to 11",
    ),
    (
        lambda: with_recovery(NO_BASELINE, method="weight_rewinding", rewind_epoch=1),
        "recovery.rewind_epoch",
        "Give 0[.]",
    ),
    (lambda: with_recovery(NO_BASELINE, method="lr_rewinding"), "recovery.method", "no curve"),
    (
        lambda: with_recovery(
            replace(QUICKSTART, finetune=TrainSpec(optimizer="adamw")), method="lr_rewinding"
        ),
        "finetune.optimizer",
        "those of sgd, not of adamw",
    ),
    (
        lambda: with_recovery(
            replace(QUICKSTART, lr_schedule_span="pruning"), method="weight_rewinding"
        ),
        "lr_schedule_span",
        "anew after each cut",
    ),
    (
        lambda: with_recovery(NO_BASELINE, distillation_weight=0.5),
        "recovery.distillation_weight",
        "knows nothing",
    ),
]


@pytest.mark.parametrize(("make", "field", "words"), WRONG)
def test_what_makes_no_sense_is_refused(make: Callable[[], object], field: str, words: str) -> None:
    with pytest.raises(SpecError, match=words) as caught:
        make()
    assert caught.value.field == field


def test_what_makes_sense_is_not() -> None:
    loaded = replace(NO_BASELINE, model=LOADING)
    assert with_recovery(loaded, method="weight_rewinding").recovery.rewind_epoch == 0
    assert with_recovery(loaded, distillation_weight=1.0)
    assert with_recovery(method="lr_rewinding", rewind_epoch=11)
    one_shot = replace(QUICKSTART.iterative, enabled=False)
    assert with_recovery(
        replace(QUICKSTART, lr_schedule_span="pruning", iterative=one_shot), method="lr_rewinding"
    )


def test_the_command_line_names_the_option() -> None:
    wrong = ["compare", "--recovery", "lr_rewinding", "--rewind-epoch", "12"]
    with pytest.raises(SpecError) as caught:
        spec_from(parser().parse_args(wrong))
    assert caught.value.field == "--rewind-epoch"
    right = ["compare", "--recovery", "weight_rewinding", "--rewind-epoch", "3"]
    assert spec_from(parser().parse_args(right)).recovery == RecoverySpec("weight_rewinding", 3)


def test_the_baseline_keeps_weights_only_where_they_are_rewound() -> None:
    plain = keys(QUICKSTART, "baseline")
    for method in ("lr_rewinding", "random_reinit"):
        assert keys(with_recovery(method=method), "baseline") == plain
    (kept,) = stages(with_recovery(method="weight_rewinding", rewind_epoch=3), "baseline")
    assert kept.settings["keep_epoch"] == 3
    assert kept.key not in plain
    assert all("keep_epoch" not in s.settings for s in stages(QUICKSTART, "baseline"))


def test_a_level_s_key_holds_what_can_change_it() -> None:
    plain = keys(QUICKSTART, "pruned")
    assert keys(with_recovery(distillation_temperature=9.0), "pruned") == plain
    taught = [keys(with_recovery(distillation_weight=w), "pruned") for w in (0.5, 0.6)]
    warm = keys(with_recovery(distillation_weight=0.5, distillation_temperature=9.0), "pruned")
    (control,) = set(plain) & set(taught[0]) & set(taught[1]) & set(warm)
    dense = next(s for s in stages(QUICKSTART, "pruned") if s.settings["target"] == "0.0")
    assert control == dense.key, "the dense control has no teacher"
    assert len({*plain, *taught[0], *taught[1], *warm}) == 4 * len(plain) - 3


def test_a_dense_last_step_is_taught() -> None:
    """Its weights have been away, so the baseline has something to teach."""
    chain = replace(QUICKSTART.iterative, schedule="dense_sparse_dense", final_epochs=1)
    found = stages(
        with_recovery(replace(QUICKSTART, iterative=chain), distillation_weight=0.5), "pruned"
    )
    dense = [s for s in found if s.settings["target"] == "0.0"]
    taught = ["distillation_weight" in s.settings["recovery"] for s in dense]
    assert taught == [False, False, True, True], "control, equal_budget, last step, tail"


def test_that_the_control_has_no_teacher_is_said() -> None:
    (said,) = recovery_notes(with_recovery(distillation_weight=0.5))
    assert said == CONTROL_WITHOUT_TEACHER
    cut = replace(QUICKSTART, one_shot=OneShotSpec((0.5,)))
    assert recovery_notes(with_recovery(cut, distillation_weight=0.5)) == []


def test_a_level_without_epochs_has_no_teacher() -> None:
    without = replace(
        QUICKSTART,
        one_shot=OneShotSpec(epochs=0),
        iterative=replace(QUICKSTART.iterative, epochs=0),
    )
    assert keys(with_recovery(without, distillation_weight=0.5), "pruned") == keys(
        without, "pruned"
    )


def test_fine_tuning_s_own_curve_does_not_matter_where_the_baseline_s_is_rewound() -> None:
    spec = with_recovery(method="lr_rewinding", rewind_epoch=2)
    other = replace(spec.finetune, lr=0.5, lr_schedule="step", warmup=0.1)
    assert keys(replace(spec, finetune=other), "pruned") == keys(spec, "pruned")
    assert {stage.settings["train"]["lr"] for stage in stages(spec, "pruned")} == {0.03}
    decayed = replace(spec.finetune, weight_decay=0.1)
    assert keys(replace(spec, finetune=decayed), "pruned") != keys(spec, "pruned")


def test_rewinding_trains_for_the_level_s_own_epochs() -> None:
    """So equal_budget runs and epochs in all are counted as for fine-tuning."""
    rewinding = with_recovery(method="lr_rewinding", rewind_epoch=2)
    found = [[s.settings["epochs"] for s in stages(x, "pruned")] for x in (QUICKSTART, rewinding)]
    assert found[0] == found[1]


def test_what_becomes_of_other_settings_is_said() -> None:
    assert recovery_notes(QUICKSTART) == []
    first, second = recovery_notes(with_recovery(method="lr_rewinding", rewind_epoch=2))
    assert "from epoch 2 of 12 to the end" in first
    assert "10 epochs" in second
    as_published = with_recovery(method="lr_rewinding", rewind_epoch=10)
    assert len(recovery_notes(as_published)) == 1
    loaded = replace(with_recovery(method="weight_rewinding"), model=LOADING)
    assert recovery_notes(loaded)[-1] == LOADED_WEIGHTS_NOTE
    tailed = replace(as_published, iterative=replace(QUICKSTART.iterative, final_epochs=2))
    assert "it fine-tunes, with fine-tuning's own rate" in recovery_notes(tailed)[-1]
    untrained = replace(as_published, one_shot=OneShotSpec((0.5,), 0))
    assert "With 0 epochs nothing is trained" in recovery_notes(untrained)[-1]


def test_the_command_line_says_it_before_the_run(
    cache: Cache, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where the run is left to the worker: what the settings tell, and what the layers do."""
    without_worker(monkeypatch)
    given = ["compare", *TINY_OPTIONS, "--amounts", "0,0.5", "--no-iterative", "--epochs", "0"]
    given += ["--recovery", "lr_rewinding", "--granularity", "2:4", "--detach"]
    assert main.main([*given, "--cache-dir", str(cache.root)]) == 0
    said = capsys.readouterr().err.splitlines()
    first = recovery_notes(spec_from(main.parser().parse_args(given)))
    assert [f"Note: {remark}" in said for remark in first] == [True] * len(first)
    assert any(line.startswith("Note: Not cut to 2:4") and "depthwise" in line for line in said)


def test_a_teacher_costs_a_third_more() -> None:
    """Of the levels' training alone: the baseline has none."""
    one = replace(
        QUICKSTART,
        baseline_epochs=1,
        one_shot=OneShotSpec(amounts=(0.5,), epochs=1000),
        iterative=replace(QUICKSTART.iterative, enabled=False),
    )
    facts = Facts(one)
    found = [
        estimate(spec, plans.plan(spec, facts), facts, 2)
        for spec in (one, with_recovery(one, distillation_weight=0.5))
    ]
    assert found[0]
    assert found[1]
    ratio = (found[1].left - START_SECONDS) / (found[0].left - START_SECONDS)
    assert ratio == pytest.approx(4 / 3, rel=0.01)
