"""Weight movement: accumulated in training, across skipped steps and checkpoints."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from pruning_core.engine.masks.masks import Masks
from pruning_core.engine.training.optimizers import make_optimizer
from pruning_core.engine.training.state import Movement, TrainingState
from pruning_core.engine.training.step import step
from pruning_core.engine.training.train import train
from pruning_core.methods.optimizers import OPTIMIZERS
from pruning_core.settings.serialization import to_dict
from pruning_core.settings.training import TrainSpec
from pruning_core.storage.stage_context import Progress
from tests.helpers.models import weight_of
from tests.helpers.pruning import masks_of
from tests.helpers.training import SPLITS, plan_of, prunable_weights, recorded_reads, state_of

SETTINGS = to_dict(TrainSpec(lr=0.1, weight_decay=0.0))


def moving(optimizer: str = "sgd") -> TrainingState:
    state = state_of(optimizer)
    state.movement = Movement(prunable_weights(state.model))
    return state


def movement_in(state: TrainingState) -> Movement:
    assert state.movement is not None
    return state.movement


def linear() -> tuple[TrainingState, nn.Parameter]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    weight = weight_of(model, "1")
    state = TrainingState(model, make_optimizer(model, SETTINGS), movement=Movement({"w": weight}))
    return state, weight


def test_the_sum_over_steps_of_minus_weight_times_gradient() -> None:
    """Computed with autograd before each step."""
    state, weight = linear()
    expected = torch.zeros(3, 4)
    for seed in range(4):
        torch.manual_seed(seed)
        images, labels = torch.randn(6, 1, 2, 2), torch.randint(3, (6,))
        loss = nn.functional.cross_entropy(state.model(images), labels)
        expected -= weight.detach() * torch.autograd.grad(loss, weight)[0]
        step(state, images, labels, 0.1, 0.0)
    torch.testing.assert_close(movement_in(state).total["w"], expected)


def test_a_weight_that_shrinks_scores_below_one_that_grows() -> None:
    state, weight = linear()
    before = weight.detach().clone()
    images, labels = torch.randn(6, 1, 2, 2), torch.randint(3, (6,))
    step(state, images, labels, 0.001, 0.0)
    grown = weight.detach().abs() > before.abs()
    assert torch.equal(movement_in(state).total["w"] > 0, grown)


def test_a_skipped_step_moves_nothing() -> None:
    state, weight = linear()
    images, labels = torch.randn(6, 1, 2, 2), torch.randint(3, (6,))
    step(state, images, labels, 0.1, 1.0)
    before, value = movement_in(state).total["w"].clone(), weight.detach().clone()
    step(state, images * float("inf"), labels, 0.1, 1.0)
    assert state.skipped == 1
    assert torch.equal(movement_in(state).total["w"], before)
    assert torch.equal(weight, value)


def test_pruned_weights_do_not_move() -> None:
    state, weight = linear()
    state.masks = Masks({"w": weight}, masks_of({"w": weight}, 0.5))
    state.masks.multiply()
    step(state, torch.randn(6, 1, 2, 2), torch.randint(3, (6,)), 0.1, 1.0)
    assert torch.equal(movement_in(state).total["w"] == 0, weight == 0)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_training_from_a_checkpoint_accumulates_the_same_bits(
    optimizer: str, tmp_path: Path
) -> None:
    whole, stopped, again = moving(optimizer), moving(optimizer), moving(optimizer)
    train(whole, SPLITS, plan_of(3, optimizer), tmp_path / "whole", Progress())
    # Killed in its second epoch, which is lost.
    train(stopped, SPLITS, plan_of(2, optimizer, lr_epochs=3), tmp_path / "part", Progress())
    train(again, SPLITS, plan_of(3, optimizer), tmp_path / "part", Progress())
    for name, total in movement_in(whole).total.items():
        assert float(total.abs().sum()) > 0
        assert torch.equal(movement_in(again).total[name], total)


def test_recording_movement_does_not_change_training(tmp_path: Path) -> None:
    with_it, without = moving(), state_of()
    for state, name in ((with_it, "with"), (without, "without")):
        train(state, SPLITS, plan_of(2), tmp_path / name, Progress())
    states = with_it.model.state_dict(), without.model.state_dict()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_recording_movement_reads_no_value(monkeypatch: pytest.MonkeyPatch) -> None:
    state, _ = linear()
    images, labels = torch.randn(6, 1, 2, 2), torch.randint(3, (6,))
    step(state, images, labels, 0.1, 1.0)
    reads = recorded_reads(monkeypatch)
    step(state, images, labels, 0.1, 1.0)
    assert reads == []
