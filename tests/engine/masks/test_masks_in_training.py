"""Zeros that stay zero while the other weights train."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pruning_core.engine.masks.masks import Masks
from tests.helpers.pruning import cut

Tensors = dict[str, Tensor]


def convolutions(channels_last: bool = False) -> nn.Sequential:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.Flatten(), nn.Linear(256, 10))
    return model.to(memory_format=torch.channels_last) if channels_last else model


def weights_of(model: nn.Module) -> Tensors:
    return {name: value for name, value in model.named_parameters() if "weight" in name}


def train_step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    model(torch.randn(4, 3, 6, 6)).square().mean().backward()
    optimizer.step()


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_zeros_stay_zero_through_training(channels_last: bool, kind: str) -> None:
    model = convolutions(channels_last)
    weights = weights_of(model)
    held = Masks(weights, cut(weights, 0.7))
    options: dict[str, Any] = {"lr": 1e-4, "weight_decay": 0.1}
    optimizer = (
        torch.optim.Adam(model.parameters(), **options)
        if kind == "adam"
        else torch.optim.SGD(model.parameters(), momentum=0.9, **options)
    )
    before = {name: value.detach().clone() for name, value in weights.items()}
    for _ in range(3):
        train_step(model, optimizer)
        held.multiply()
    held.check()
    for name, mask in held.kept.items():
        assert torch.equal(weights[name] != 0, mask)
        assert not bool(torch.signbit(weights[name][~mask]).any())  # no -0.0
        assert not torch.equal(weights[name], before[name])
    train_step(model, optimizer)
    with pytest.raises(RuntimeError, match=r"0\.weight"):
        held.check()


def test_momentum_of_removed_weights_is_forgotten() -> None:
    model = convolutions()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    train_step(model, optimizer)
    weights = weights_of(model)
    held = Masks(weights, cut(weights, 0.5))
    held.clear_state(optimizer)
    for name, mask in held.kept.items():
        momentum = optimizer.state[weights[name]]["momentum_buffer"]
        assert bool((momentum[~mask] == 0).all())
        assert bool((momentum[mask] != 0).any())


def test_a_diverged_training_is_named() -> None:
    weights = {"w": torch.arange(4.0)}
    held = Masks(weights, cut(weights, 0.5))
    weights["w"].fill_(math.inf)
    held.multiply()
    with pytest.raises(RuntimeError, match="diverged"):
        held.check()
