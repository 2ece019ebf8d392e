"""Movement: what steps do to weights, added up in training, past left-out steps and kills."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from pruning_core.engine.masks.masks import Masks
from pruning_core.engine.training.optimizers import make_optimizer
from pruning_core.engine.training.state import OPTIMIZERS, Movement, TrainingState
from pruning_core.engine.training.step import step
from pruning_core.engine.training.train import train
from pruning_core.settings.serialization import to_dict
from pruning_core.settings.training import TrainSpec
from pruning_core.storage.stage_context import Progress
from tests.engine.training.test_train import SPLITS, plan, trainee
from tests.helpers.pruning import masks_of

SETTINGS = to_dict(TrainSpec(lr=0.1, weight_decay=0.0))


def made(optimizer: str = "sgd") -> TrainingState:
    found = trainee(optimizer)
    layers = {"0.weight": found.model[0].weight, "5.weight": found.model[5].weight}  # type: ignore
    found.movement = Movement(layers)
    return found


def linear() -> tuple[TrainingState, torch.Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    weight = model[1].weight
    assert isinstance(weight, torch.Tensor)
    found = TrainingState(model, make_optimizer(model, SETTINGS), movement=Movement({"w": weight}))
    return found, weight


def test_the_sum_over_steps_of_minus_weight_times_gradient() -> None:
    """Worked out with autograd before each step."""
    found, weight = linear()
    wanted = torch.zeros(3, 4)
    for seed in range(4):
        torch.manual_seed(seed)
        images, labels = torch.randn(6, 1, 2, 2), torch.randint(3, (6,))
        loss = nn.functional.cross_entropy(found.model(images), labels)
        wanted -= weight.detach() * torch.autograd.grad(loss, weight)[0]
        step(found, images, labels, 0.1, 0.0)
    assert found.movement is not None
    torch.testing.assert_close(found.movement.total["w"], wanted)


def test_a_weight_that_shrinks_scores_below_one_that_grows() -> None:
    found, weight = linear()
    before = weight.detach().clone()
    images, labels = torch.randn(6, 1, 2, 2), torch.randint(3, (6,))
    step(found, images, labels, 0.001, 0.0)
    grown = weight.detach().abs() > before.abs()
    assert found.movement is not None
    assert torch.equal(found.movement.total["w"] > 0, grown)


def test_a_step_that_is_left_out_moves_nothing() -> None:
    found, weight = linear()
    images, labels = torch.randn(6, 1, 2, 2), torch.randint(3, (6,))
    step(found, images, labels, 0.1, 1.0)
    assert found.movement is not None
    before, stood = found.movement.total["w"].clone(), weight.detach().clone()
    step(found, images * float("inf"), labels, 0.1, 1.0)
    assert found.skipped == 1
    assert torch.equal(found.movement.total["w"], before)
    assert torch.equal(weight, stood)


def test_removed_weights_do_not_move() -> None:
    found, weight = linear()
    found.masks = Masks({"w": weight}, masks_of({"w": weight}, 0.5))
    found.masks.multiply()
    step(found, torch.randn(6, 1, 2, 2), torch.randint(3, (6,)), 0.1, 1.0)
    assert found.movement is not None
    assert torch.equal(found.movement.total["w"] == 0, weight == 0)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_training_that_goes_on_adds_up_to_the_same_bits(optimizer: str, tmp_path: Path) -> None:
    whole, stopped, again = made(optimizer), made(optimizer), made(optimizer)
    train(whole, SPLITS, plan(3, optimizer), tmp_path / "whole", Progress())
    # Killed in its second epoch: of what it did then nothing is left.
    train(stopped, SPLITS, plan(2, optimizer, lr_epochs=3), tmp_path / "part", Progress())
    train(again, SPLITS, plan(3, optimizer), tmp_path / "part", Progress())
    assert whole.movement is not None
    assert again.movement is not None
    for name, total in whole.movement.total.items():
        assert float(total.abs().sum()) > 0
        assert torch.equal(again.movement.total[name], total)


def test_adding_up_changes_no_training(tmp_path: Path) -> None:
    with_it, without = made(), trainee()
    for found, name in ((with_it, "with"), (without, "without")):
        train(found, SPLITS, plan(2), tmp_path / name, Progress())
    states = with_it.model.state_dict(), without.model.state_dict()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_adding_up_asks_for_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    found, _ = linear()
    images, labels = torch.randn(6, 1, 2, 2), torch.randint(3, (6,))
    step(found, images, labels, 0.1, 1.0)
    asked: list[str] = []
    for name in ("item", "__bool__", "__float__", "__int__", "tolist", "numpy"):
        plain = getattr(torch.Tensor, name)
        monkeypatch.setattr(
            torch.Tensor, name, lambda *values, n=name, p=plain: asked.append(n) or p(*values)
        )
    step(found, images, labels, 0.1, 1.0)
    assert asked == []
