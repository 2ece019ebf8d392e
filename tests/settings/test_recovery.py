"""Recovery settings: refusals, notes, and their part in keys and estimates."""

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
from pruning_core.planning.estimate import START_SECONDS, estimate
from pruning_core.planning.plan import plan
from pruning_core.planning.presets import QUICKSTART
from pruning_core.planning.pruned import (
    CONTROL_WITHOUT_TEACHER,
    LOADED_WEIGHTS_NOTE,
    recovery_notes,
)
from pruning_core.planning.stage import Stage
from pruning_core.settings.data import ModelSpec
from pruning_core.settings.pruning import PruningSpec
from pruning_core.settings.recovery import RecoverySpec
from pruning_core.settings.spec import Spec
from pruning_core.settings.strategies import IterativeSpec, OneShotSpec
from pruning_core.settings.training import TrainSpec
from tests.helpers.inspections import Facts
from tests.helpers.refusals import without_worker
from tests.helpers.workers import TINY_OPTIONS

NO_BASELINE = replace(QUICKSTART, baseline_epochs=0)
FROZEN = "norms_biases_classifier"
LOADING = ModelSpec(weights="mine.safetensors")


def with_recovery(spec: Spec = QUICKSTART, **settings: Any) -> Spec:
    return replace(spec, recovery=RecoverySpec(**settings))


def planned(spec: Spec) -> list[Stage]:
    return list(plan(spec, Facts(spec)).stages)


def stages(spec: Spec, kind: str) -> list[Stage]:
    return [stage for stage in planned(spec) if stage.kind == kind]


def keys(spec: Spec, kind: str) -> list[str]:
    return [stage.key for stage in stages(spec, kind)]


WRONG: list[tuple[Callable[[], object], str, str]] = [
    (lambda: RecoverySpec("rewind"), "recovery.method", "is not one of"),
    (lambda: RecoverySpec("lr_rewinding", -1), "recovery.rewind_epoch", "must be at least 0"),
    (lambda: RecoverySpec("fine_tuning", 3), "recovery.rewind_epoch", "does not rewind"),
    (lambda: RecoverySpec("random_reinit", 3), "recovery.rewind_epoch", "does not rewind"),
    (
        lambda: RecoverySpec(distillation_weight=1.5),
        "recovery.distillation_weight",
        "must be at least 0 and at most 1",
    ),
    (
        lambda: RecoverySpec(distillation_temperature=0.0),
        "recovery.distillation_temperature",
        "must be above 0",
    ),
    (lambda: TrainSpec(warmup=1.0), "warmup", "must be at least 0 and below 1"),
    (lambda: TrainSpec(label_smoothing=-0.1), "label_smoothing", "must be at least 0 and below 1"),
    (
        lambda: replace(
            with_recovery(method=FROZEN), iterative=IterativeSpec(schedule="rigl", iterations=3)
        ),
        "recovery.method",
        "trains no weights of convolutions",
    ),
    (
        lambda: planned(
            replace(with_recovery(method=FROZEN), pruning=PruningSpec(criterion="movement"))
        ),
        "pruning.criterion",
        "trains no weights of convolutions",
    ),
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
    (lambda: with_recovery(NO_BASELINE, method="lr_rewinding"), "recovery.method", "has 0 epochs"),
    (
        lambda: with_recovery(
            replace(QUICKSTART, finetune=TrainSpec(optimizer="adamw")), method="lr_rewinding"
        ),
        "finetune.optimizer",
        "for sgd, not for adamw",
    ),
    (
        lambda: with_recovery(
            replace(QUICKSTART, lr_schedule_span="pruning"), method="weight_rewinding"
        ),
        "lr_schedule_span",
        "restarts the baseline's schedule after each pruning step",
    ),
    (
        lambda: with_recovery(NO_BASELINE, distillation_weight=0.5),
        "recovery.distillation_weight",
        "untrained baseline",
    ),
]


@pytest.mark.parametrize(("make", "field", "words"), WRONG)
def test_contradictory_settings_are_refused(
    make: Callable[[], object], field: str, words: str
) -> None:
    with pytest.raises(SpecError, match=words) as caught:
        make()
    assert caught.value.field == field


def test_consistent_settings_are_not_refused() -> None:
    loaded = replace(NO_BASELINE, model=LOADING)
    assert with_recovery(loaded, method="weight_rewinding").recovery.rewind_epoch == 0
    assert with_recovery(loaded, distillation_weight=1.0)
    assert with_recovery(method="lr_rewinding", rewind_epoch=11)
    one_shot = replace(QUICKSTART.iterative, enabled=False)
    assert with_recovery(
        replace(QUICKSTART, lr_schedule_span="pruning", iterative=one_shot), method="lr_rewinding"
    )


def test_the_command_line_names_the_option() -> None:
    contradictory = ["compare", "--recovery", "lr_rewinding", "--rewind-epoch", "12"]
    with pytest.raises(SpecError) as caught:
        spec_from(parser().parse_args(contradictory))
    assert caught.value.field == "--rewind-epoch"
    consistent = ["compare", "--recovery", "weight_rewinding", "--rewind-epoch", "3"]
    assert spec_from(parser().parse_args(consistent)).recovery == RecoverySpec(
        "weight_rewinding", 3
    )


def test_the_baseline_keeps_weights_for_weight_rewinding_only() -> None:
    plain = keys(QUICKSTART, "baseline")
    for method in ("lr_rewinding", "random_reinit"):
        assert keys(with_recovery(method=method), "baseline") == plain
    (kept,) = stages(with_recovery(method="weight_rewinding", rewind_epoch=3), "baseline")
    assert kept.settings["keep_epoch"] == 3
    assert kept.key not in plain
    assert all("keep_epoch" not in s.settings for s in stages(QUICKSTART, "baseline"))


def test_the_key_of_a_pruned_model_has_the_settings_that_can_change_it() -> None:
    plain = keys(QUICKSTART, "pruned")
    assert keys(with_recovery(distillation_temperature=9.0), "pruned") == plain
    distilled = [keys(with_recovery(distillation_weight=w), "pruned") for w in (0.5, 0.6)]
    hot = keys(with_recovery(distillation_weight=0.5, distillation_temperature=9.0), "pruned")
    (control,) = set(plain) & set(distilled[0]) & set(distilled[1]) & set(hot)
    dense = next(s for s in stages(QUICKSTART, "pruned") if s.settings["target"] == "0.0")
    assert control == dense.key, "the dense control has no teacher"
    assert len({*plain, *distilled[0], *distilled[1], *hot}) == 4 * len(plain) - 3


def test_a_dense_last_step_is_trained_with_distillation() -> None:
    """Its weights differ from those of its teacher, unlike those of the dense control."""
    chain = replace(QUICKSTART.iterative, schedule="dense_sparse_dense", final_epochs=1)
    planned_stages = stages(
        with_recovery(replace(QUICKSTART, iterative=chain), distillation_weight=0.5), "pruned"
    )
    dense = [s for s in planned_stages if s.settings["target"] == "0.0"]
    distilled = ["distillation_weight" in s.settings["recovery"] for s in dense]
    assert distilled == [False, False, True, True], "control, equal budget, last step, final"


def test_a_note_tells_that_the_control_has_no_teacher() -> None:
    (note,) = recovery_notes(with_recovery(distillation_weight=0.5))
    assert note == CONTROL_WITHOUT_TEACHER
    without_control = replace(QUICKSTART, one_shot=OneShotSpec((0.5,)))
    assert recovery_notes(with_recovery(without_control, distillation_weight=0.5)) == []


def test_a_model_without_epochs_has_no_teacher() -> None:
    without = replace(
        QUICKSTART,
        one_shot=OneShotSpec(epochs=0),
        iterative=replace(QUICKSTART.iterative, epochs=0),
    )
    assert keys(with_recovery(without, distillation_weight=0.5), "pruned") == keys(
        without, "pruned"
    )


def test_rewinding_ignores_the_learning_rate_schedule_of_fine_tuning() -> None:
    spec = with_recovery(method="lr_rewinding", rewind_epoch=2)
    other = replace(spec.finetune, lr=0.5, lr_schedule="step", warmup=0.1)
    assert keys(replace(spec, finetune=other), "pruned") == keys(spec, "pruned")
    assert {stage.settings["train"]["lr"] for stage in stages(spec, "pruned")} == {0.03}
    decayed = replace(spec.finetune, weight_decay=0.1)
    assert keys(replace(spec, finetune=decayed), "pruned") != keys(spec, "pruned")


def test_rewinding_trains_for_the_epochs_of_the_pruning_step() -> None:
    """So budgets and total epochs are those of fine-tuning."""
    rewinding = with_recovery(method="lr_rewinding", rewind_epoch=2)
    epochs = [[s.settings["epochs"] for s in stages(x, "pruned")] for x in (QUICKSTART, rewinding)]
    assert epochs[0] == epochs[1]


def test_notes_tell_the_effect_on_other_settings() -> None:
    assert recovery_notes(QUICKSTART) == []
    first, second = recovery_notes(with_recovery(method="lr_rewinding", rewind_epoch=2))
    assert "from epoch 2 of 12 to the end" in first
    assert second == "The paper uses 10 epochs per step."
    as_published = with_recovery(method="lr_rewinding", rewind_epoch=10)
    assert len(recovery_notes(as_published)) == 1
    loaded = replace(with_recovery(method="weight_rewinding"), model=LOADING)
    assert recovery_notes(loaded)[-1] == LOADED_WEIGHTS_NOTE
    final = replace(as_published, iterative=replace(QUICKSTART.iterative, final_epochs=2))
    assert recovery_notes(final)[-1] == (
        "Final fine-tuning does not rewind; it uses the learning rate of fine-tuning."
    )
    untrained = replace(as_published, one_shot=OneShotSpec((0.5,), 0))
    assert "With 0 epochs, there is no training" in recovery_notes(untrained)[-1]


def test_the_command_line_prints_the_notes_before_the_run(
    cache: Cache, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also with a run in the background: notes on the settings, and notes on the layers."""
    without_worker(monkeypatch)
    given = ["compare", *TINY_OPTIONS, "--amounts", "0,0.5", "--no-iterative", "--epochs", "0"]
    given += ["--recovery", "lr_rewinding", "--granularity", "2:4", "--detach"]
    assert main.main([*given, "--cache-dir", str(cache.root)]) == 0
    lines = capsys.readouterr().err.splitlines()
    notes = recovery_notes(spec_from(main.parser().parse_args(given)))
    assert [f"Note: {note}" in lines for note in notes] == [True] * len(notes)
    dense = "Note: Layers stay dense if their number of inputs is not a multiple of 4"
    assert any(line.startswith(dense) and "depthwise" in line for line in lines)


def test_distillation_takes_a_third_more_time() -> None:
    """Of the pruned models: the baseline has no teacher."""
    one = replace(
        QUICKSTART,
        baseline_epochs=1,
        one_shot=OneShotSpec(amounts=(0.5,), epochs=1000),
        iterative=replace(QUICKSTART.iterative, enabled=False),
    )
    facts = Facts(one)
    estimates = [
        estimate(spec, plan(spec, facts), facts, 2)
        for spec in (one, with_recovery(one, distillation_weight=0.5))
    ]
    fine_tuned, distilled = estimates
    assert fine_tuned
    assert distilled
    ratio = (distilled.high - START_SECONDS[1]) / (fine_tuned.high - START_SECONDS[1])
    assert ratio == pytest.approx(4 / 3, rel=0.01)
