"""The learning rate of every step is that of the schedule, for every schedule span."""

from __future__ import annotations

from dataclasses import replace
from math import cos, pi
from pathlib import Path
from typing import Any

import pytest
import torch

from pruning_core.common.paths import Cache
from pruning_core.engine.stage_training import training_plan
from pruning_core.engine.training import train as training
from pruning_core.engine.training.rewinding import schedule_start
from pruning_core.engine.training.train import train
from pruning_core.methods.lr_schedules import LR_SCHEDULES, rate
from pruning_core.planning.model_types import BaselineSettings, PrunedSettings
from pruning_core.planning.plan import plan
from pruning_core.planning.stage_types import restored
from pruning_core.settings.recovery import RecoverySpec
from pruning_core.settings.serialization import to_dict
from pruning_core.settings.spec import Spec
from pruning_core.settings.strategies import OneShotSpec
from pruning_core.settings.training import TrainSpec
from pruning_core.storage.stage_context import Progress
from tests.helpers.inspections import Facts
from tests.helpers.stages import run_here
from tests.helpers.training import DATA, SPLITS, plan_of, state_of
from tests.helpers.workers import TINY

STEPS = 4  # 50 images in batches of 16
TINY_STEPS = 7  # nine tenths of 240 images in batches of 32


@pytest.fixture
def rates(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The learning rate of each step; nothing is trained."""
    recorded: list[float] = []

    def recording(state: Any, lr: float, clip: float) -> None:
        recorded.append(lr)

    monkeypatch.setattr(training, "compute_gradients", lambda *_: torch.zeros(()))
    monkeypatch.setattr(training, "update", recording)
    return recorded


def test_warm_up_rises_from_0_to_the_schedule() -> None:
    """Over a fifth of a cosine with peak 2: half of it after a tenth."""
    settings = to_dict(TrainSpec(lr=2.0, lr_schedule="cosine", warmup=0.2))
    assert rate(settings, 0.0) == 0.0
    assert rate(settings, 0.1) == pytest.approx((1 + cos(0.1 * pi)) / 2)
    for done in (0.2, 0.5, 0.9, 1.0):
        assert rate(settings, done) == pytest.approx(1 + cos(done * pi))


@pytest.mark.parametrize("warmup", [0.0, 0.25])
@pytest.mark.parametrize("schedule", LR_SCHEDULES)
@pytest.mark.parametrize("span", ["step", "pruning"])
def test_every_step_has_its_learning_rate(
    rates: list[float], tmp_path: Path, schedule: str, warmup: float, span: str
) -> None:
    """Three trainings of two epochs, each with its own schedule or as parts of one."""
    settings = to_dict(TrainSpec(lr=0.1, lr_schedule=schedule, batch_size=16, warmup=warmup))
    whole = 6 if span == "pruning" else 2
    for i in range(3):
        start = 2 * i if span == "pruning" else 0
        part = plan_of(2, settings=settings, lr_from_epoch=start, lr_epochs=whole)
        train(state_of(), SPLITS, part, tmp_path / f"{i}", Progress())
    steps = whole * STEPS
    expected = [lr_factor(schedule, i / steps, warmup) for i in range(steps)]
    assert rates == pytest.approx([0.1 * factor for factor in expected * (6 // whole)])


def lr_factor(schedule: str, done: float, warmup: float) -> float:
    """The factor for the peak rate."""
    risen = done / warmup if done < warmup else 1.0
    return risen * LR_SCHEDULES[schedule].factor(done)


@pytest.mark.parametrize("span", ["step", "pruning"])
def test_stages_train_with_these_rates(rates: list[float], cache: Cache, span: str) -> None:
    finetune = replace(TINY.finetune, warmup=0.3)
    iterative = replace(TINY.iterative, epochs=2, equal_budget=False)
    spec = replace(
        TINY, one_shot=OneShotSpec(amounts=()), iterative=iterative, lr_schedule_span=span
    )
    run_here(cache, replace(spec, finetune=finetune))
    steps = TINY_STEPS * (4 if span == "pruning" else 2)
    expected = [0.02 * lr_factor("cosine", i / steps, 0.3) for i in range(steps)]
    baseline, pruned = rates[: 2 * TINY_STEPS], rates[2 * TINY_STEPS :]
    assert pruned == pytest.approx(expected * (1 if span == "pruning" else 2))
    steps = 2 * TINY_STEPS
    assert baseline == pytest.approx(
        [0.05 * lr_factor("one_cycle", i / steps, 0) for i in range(steps)]
    )


def test_one_schedule_spans_pruning_steps_and_final_fine_tuning(
    rates: list[float], cache: Cache
) -> None:
    iterative = replace(TINY.iterative, epochs=1, final_epochs=2, equal_budget=False)
    spec = replace(
        TINY, one_shot=OneShotSpec(amounts=()), iterative=iterative, lr_schedule_span="run"
    )
    run_here(cache, spec)
    steps = TINY_STEPS * 4
    expected = [0.02 * lr_factor("cosine", i / steps, 0) for i in range(steps)]
    assert rates[2 * TINY_STEPS :] == pytest.approx(expected)


def rewound(method: str, epoch: int) -> Spec:
    recovery = RecoverySpec(method, epoch)
    return replace(
        TINY,
        recovery=recovery,
        baseline_epochs=3,
        baseline=replace(TINY.baseline, warmup=0.5),
        one_shot=OneShotSpec(amounts=(0.5,), epochs=2),
        iterative=replace(TINY.iterative, equal_budget=False),
    )


@pytest.mark.parametrize(("method", "epoch"), [("lr_rewinding", 1), ("random_reinit", 0)])
def test_rewinding_uses_the_rest_of_the_baseline_s_schedule(
    rates: list[float], cache: Cache, method: str, epoch: int
) -> None:
    """Equal rates in as many epochs as remain of the baseline; in fewer, a faster schedule."""
    run_here(cache, rewound(method, epoch))
    dense, rest = rates[: 3 * TINY_STEPS], rates[3 * TINY_STEPS :]
    one_shot, chain = rest[: 2 * TINY_STEPS], rest[2 * TINY_STEPS :]
    if epoch == 1:
        assert one_shot == pytest.approx(dense[TINY_STEPS:])
    start = epoch / 3
    shares = [start + (1 - start) * i / TINY_STEPS for i in range(TINY_STEPS)]
    assert chain == pytest.approx([0.05 * lr_factor("one_cycle", done, 0.5) for done in shares] * 2)


def test_the_control_with_an_equal_schedule_has_the_learning_rates_of_a_rewinding_chain(
    rates: list[float], tmp_path: Path
) -> None:
    """Each step begins within the schedule of the baseline; final fine-tuning does not."""
    spec = rewound("weight_rewinding", 1)
    chain = replace(spec.iterative, epochs=0.75, final_epochs=1, equal_schedule=True)
    spec = replace(spec, one_shot=OneShotSpec(amounts=()), iterative=chain)
    planned = plan(spec, Facts(spec))
    stages = {stage.key: stage for stage in planned.stages}
    base = restored(BaselineSettings, stages[planned.models[0].key].settings)

    def rates_of(strategy: str) -> list[float]:
        rates.clear()
        before = 0.0
        for model in (model for model in planned.models if model.strategy == strategy):
            settings = restored(PrunedSettings, stages[model.key].settings)
            span = (settings.lr_from_epoch, settings.lr_epochs)
            start = schedule_start(settings.recovery, base)
            stage_plan = training_plan(settings, DATA, span, "level", before, start)
            train(state_of(), SPLITS, stage_plan, tmp_path / model.key, Progress())
            before += settings.epochs
        return list(rates)

    control = rates_of("one_shot_equal_schedule")
    assert control == rates_of("iterative")
    assert len(control) == 5  # 2.5 epochs of two batches
