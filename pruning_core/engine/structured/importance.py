"""Channel importances: torch-pruning's importances, each prepared on a model.

A scorer takes one of torch-pruning's groups of coupled layers and returns a score (U,) for each of
its channels, or None where no layer of the group has what it scores. Fang et al. 2023 (DepGraph),
https://arxiv.org/abs/2301.12900
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
from pruning_core.engine.models.modes import evaluation_mode

Scorer = Callable[[Any], Tensor | None]


@dataclass(frozen=True)
class ImportanceInputs:
    """What an importance may use.

    `batches` are calibration images (N, 3, S, S), normalized, with labels (N,), on the device of
    the model.
    """

    model: nn.Module
    batches: Iterable[Batch] = ()
    generator: torch.Generator | None = None


def magnitude_l2(inputs: ImportanceInputs) -> Scorer:
    """The L2 norm of a channel's weights in all coupled layers.

    Fang et al. 2023 (DepGraph), https://arxiv.org/abs/2301.12900
    """
    return tp.importance.GroupMagnitudeImportance(p=2)


def magnitude_l1(inputs: ImportanceInputs) -> Scorer:
    """The L1 norm of a channel's weights in all coupled layers.

    Li et al. 2017, https://arxiv.org/abs/1608.08710
    """
    return tp.importance.GroupMagnitudeImportance(p=1)


def bn_scale(inputs: ImportanceInputs) -> Scorer:
    """The scale factor of batch norm. Liu et al. 2017 (network slimming).

    https://arxiv.org/abs/1708.06519
    """
    return tp.importance.BNScaleImportance()


def lamp(inputs: ImportanceInputs) -> Scorer:
    """Layer-adaptive magnitude. Lee et al. 2021, https://arxiv.org/abs/2010.07611"""
    return tp.importance.LAMPImportance()


def taylor(inputs: ImportanceInputs) -> Scorer:
    """|weight * gradient|, summed over a channel.

    Molchanov et al. 2019, https://arxiv.org/abs/1906.10771
    """
    inputs.model.zero_grad()
    with evaluation_mode(inputs.model):
        for images, labels in inputs.batches:
            functional.cross_entropy(inputs.model(images), labels, reduction="sum").backward()
    return tp.importance.GroupTaylorImportance()


def hessian(inputs: ImportanceInputs) -> Scorer:
    """Squared weight times squared gradient, the mean over images. LeCun et al. 1990 (OBD).

    https://proceedings.neurips.cc/paper/1989/hash/6c9882bbac1c7093bd25041881277658-Abstract.html
    """
    # Added up here and stored where torch-pruning looks for gradients: its own `accumulate_grad`
    # (1.6.1) keeps only those of the last image.
    squares: dict[nn.Parameter, Tensor] = {}
    count = 0
    with evaluation_mode(inputs.model):
        for images, labels in inputs.batches:
            for image, label in zip(images.split(1), labels.split(1), strict=True):
                inputs.model.zero_grad()
                functional.cross_entropy(inputs.model(image), label).backward()
                for weight in inputs.model.parameters():
                    if weight.grad is not None:
                        squares[weight] = squares.get(weight, 0.0) + weight.grad.square()
                count += 1
    for weight, total in squares.items():
        weight.grad = total / count
    return tp.importance.GroupHessianImportance()


def random(inputs: ImportanceInputs) -> Scorer:
    """Random scores from the generator: a control.

    Mittal et al. 2018, https://arxiv.org/abs/1801.10447
    """

    def draw(group: Any) -> Tensor:
        return torch.rand(len(group[0].idxs), generator=inputs.generator)

    return draw
