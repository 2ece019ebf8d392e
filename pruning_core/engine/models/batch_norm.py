"""Recalibration of batch norm: its running statistics, estimated again.

While weights change, the running statistics lag behind. After a large pruning step the variance of
a channel can fall by orders of magnitude, and the share of the old variance that a running average
still holds is then larger than the new variance. Wu and Johnson 2021 ("Rethinking 'Batch' in
BatchNorm", https://arxiv.org/abs/2105.07576) average over some batches with the final weights
instead; Li et al. 2020 (EagleEye, https://arxiv.org/abs/2007.02491) do so after pruning.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from pruning_core.engine.data.augment import normalize
from pruning_core.engine.data.loading import ImageSet
from pruning_core.engine.models.modes import evaluation_mode


def has_batch_norm(model: nn.Module) -> bool:
    """Whether the model has batch norm."""
    return any(isinstance(module, _BatchNorm) for module in model.modules())


@torch.no_grad()
def recalibrate(
    model: nn.Module,
    images: ImageSet,
    data: dict[str, Any],
    device: str,
    count: int,
    batch: int,
    generator: torch.Generator,
) -> None:
    """Replace the running statistics by averages over `count` random images, in batches.

    The images are normalized with the `mean` and `std` in `data` and not augmented. A model
    without batch norm, and any model with a `count` of 0, stays as it is. The model keeps its
    modes.
    """
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    positions = torch.randperm(len(images), generator=generator)[:count]
    batches = [part for part in positions.split(batch) if len(part) > 1]
    if not norms or not batches:
        return
    momenta = [norm.momentum for norm in norms]
    try:
        with evaluation_mode(model):
            for norm in norms:
                norm.reset_running_stats()
                # With no momentum, batch norm keeps the plain average over all batches.
                norm.momentum = None
                norm.train()
            for part in batches:
                pixels = images.batch(part).to(device)
                model(normalize(pixels, data["mean"], data["std"]))
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
