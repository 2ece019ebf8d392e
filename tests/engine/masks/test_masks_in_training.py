"""Zeros that stay zero while the other weights train."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from pruning_core.engine.masks.masks import Masks
from tests.helpers.models import named_weights
from tests.helpers.pruning import masks_of


def convolutions(channels_last: bool = False) -> nn.Sequential:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.Flatten(), nn.Linear(256, 10))
    return model.to(memory_format=torch.channels_last) if channels_last else model


def train_step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    model(torch.randn(4, 3, 6, 6)).square().mean().backward()
    optimizer.step()


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_zeros_stay_zero_through_training(channels_last: bool, kind: str) -> None:
    model = convolutions(channels_last)
    weights = named_weights(model)
    masks = Masks(weights, masks_of(weights, 0.7))
    options: dict[str, Any] = {"lr": 1e-4, "weight_decay": 0.1}
    optimizer = (
        torch.optim.Adam(model.parameters(), **options)
        if kind == "adam"
        else torch.optim.SGD(model.parameters(), momentum=0.9, **options)
    )
    before = {name: value.detach().clone() for name, value in weights.items()}
    for _ in range(3):
        train_step(model, optimizer)
        masks.multiply()
    masks.check()
    for name, mask in masks.weight_masks.items():
        assert torch.equal(weights[name] != 0, mask)
        assert not bool(torch.signbit(weights[name][~mask]).any())  # no -0.0
        assert not torch.equal(weights[name], before[name])
    train_step(model, optimizer)
    with pytest.raises(RuntimeError, match=r"0\.weight"):
        masks.check()


def test_momentum_of_pruned_weights_is_cleared() -> None:
    model = convolutions()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    train_step(model, optimizer)
    weights = named_weights(model)
    masks = Masks(weights, masks_of(weights, 0.5))
    masks.clear_state(optimizer)
    for name, mask in masks.weight_masks.items():
        momentum = optimizer.state[weights[name]]["momentum_buffer"]
        assert bool((momentum[~mask] == 0).all())
        assert bool((momentum[mask] != 0).any())


def test_diverged_training_is_reported() -> None:
    weights = {"w": torch.arange(4.0)}
    masks = Masks(weights, masks_of(weights, 0.5))
    weights["w"].fill_(math.inf)
    masks.multiply()
    with pytest.raises(RuntimeError, match="diverged"):
        masks.check()
