"""Multiply-accumulates: counted by hand and per weight; `test_every_network` has the published."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pruning_core.engine.models.build import make
from pruning_core.engine.models.devices import place
from pruning_core.engine.models.macs import macs, weight_uses


class Small(nn.Module):
    """A convolution, a depthwise and a grouped convolution, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.grouped = nn.Conv2d(8, 12, 1, groups=4)
        self.last = nn.Linear(12, 5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        maps: torch.Tensor = self.grouped(self.depthwise(self.first(images)))
        return self.last(maps.mean((2, 3)))


BY_HAND = {
    "first.weight": (16 * 16, 3 * 9 * 8),
    "depthwise.weight": (16 * 16, 9 * 8),
    "grouped.weight": (16 * 16, 2 * 12),
    "last.weight": (1, 12 * 5),
}


def test_counts_by_hand_with_groups() -> None:
    model = Small().train()
    assert macs(model, 32) == sum(uses * size for uses, size in BY_HAND.values())
    assert weight_uses(model, 32) == {name: uses for name, (uses, _) in BY_HAND.items()}
    assert model.training


def test_small_convolutions_count_the_same() -> None:
    model = make("mobilenet_v2", 10)
    before = macs(model, 32)
    assert macs(place(model, "cpu"), 32) == before


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "vgg11_bn", "convnext_tiny"])
def test_weights_times_their_uses_are_all_macs(name: str) -> None:
    with torch.device("meta"):
        model = make(name, 10)
    sizes = dict(model.named_parameters())
    total = sum(uses * sizes[weight].numel() for weight, uses in weight_uses(model, 64).items())
    assert total == macs(model, 64)
