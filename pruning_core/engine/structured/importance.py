"""By what channels are chosen: torch-pruning's importances, each made ready on a model.

An importance takes a group of coupled layers and gives a score for each of its channels, or None
where no layer of the group has what it looks at. Fang et al. 2023 (DepGraph).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch_pruning as tp
from torch import Tensor, nn
from torch.nn import functional

from pruning_core.engine.criteria.inputs import Batch

Scorer = Callable[[Any], Tensor | None]


@dataclass(frozen=True)
class Sight:
    """What an importance may look at: the model, batches of training images, random numbers."""

    model: nn.Module
    batches: Iterable[Batch] = ()
    generator: torch.Generator | None = None


def taylor(sight: Sight) -> Scorer:
    """Weight times gradient, its size added up over a channel. Molchanov et al. 2019."""
    sight.model.eval().zero_grad()
    for images, labels in sight.batches:
        functional.cross_entropy(sight.model(images), labels, reduction="sum").backward()
    return tp.importance.GroupTaylorImportance()


def hessian(sight: Sight) -> Scorer:
    """Squared weight times mean squared gradient, image by image. LeCun et al. 1990.

    The squares are added up here and stand where torch-pruning looks for gradients: its own
    `accumulate_grad` (1.6.1) keeps those of the last image alone.
    """
    squares: dict[nn.Parameter, Tensor] = {}
    sight.model.eval()
    seen = 0
    for images, labels in sight.batches:
        for image, label in zip(images.split(1), labels.split(1), strict=True):
            sight.model.zero_grad()
            functional.cross_entropy(sight.model(image), label).backward()
            for weight in sight.model.parameters():
                if weight.grad is not None:
                    squares[weight] = squares.get(weight, 0.0) + weight.grad.square()
            seen += 1
    for weight, total in squares.items():
        weight.grad = total / seen
    return tp.importance.GroupHessianImportance()


def random(sight: Sight) -> Scorer:
    """Random scores, from the generator: a control."""

    def draw(group: Any) -> Tensor:
        return torch.rand(len(group[0].idxs), generator=sight.generator)

    return draw


def magnitude_l2(sight: Sight) -> Scorer:
    """The L2 norm of a channel's weights in its group. Fang et al. 2023 (DepGraph)."""
    return tp.importance.GroupMagnitudeImportance(p=2)


def magnitude_l1(sight: Sight) -> Scorer:
    """The L1 norm of a channel's weights in its group. Li et al. 2017."""
    return tp.importance.GroupMagnitudeImportance(p=1)


def bn_scale(sight: Sight) -> Scorer:
    """The scale factor of batch norm. Liu et al. 2017 (network slimming)."""
    return tp.importance.BNScaleImportance()


def lamp(sight: Sight) -> Scorer:
    """Layer-adaptive magnitude. Lee et al. 2021."""
    return tp.importance.LAMPImportance()
