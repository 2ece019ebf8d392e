"""Batch norm's statistics, estimated anew.

While weights change, the running statistics lag behind: after a deep cut a channel's variance
can fall by orders of magnitude, and the share of the old one that a running average still holds
is then larger than the new one. Wu and Johnson 2021 ("Rethinking 'Batch' in BatchNorm") average
over some batches with the final weights instead; Li et al. 2020 (EagleEye) do so after pruning.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from pruning_core.engine.data.augment import normalize
from pruning_core.engine.data.loading import ImageSet


def has_batch_norm(model: nn.Module) -> bool:
    """Whether there are statistics to estimate."""
    return any(isinstance(module, _BatchNorm) for module in model.modules())


@torch.no_grad()
def reestimate(
    model: nn.Module,
    images: ImageSet,
    data: dict[str, Any],
    device: str,
    count: int,
    batch: int,
    generator: torch.Generator,
) -> None:
    """Replace the running statistics by averages over `count` of the images, in batches.

    The images are drawn by the generator and not augmented. A model without batch norm and a
    `count` of 0 stay as they are.
    """
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    chosen = torch.randperm(len(images), generator=generator)[:count]
    batches = [part for part in chosen.split(batch) if len(part) > 1]
    if not norms or not batches:
        return
    momenta = [norm.momentum for norm in norms]
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    for positions in batches:
        pixels = images.batch(positions).to(device)
        model(normalize(pixels, data["mean"], data["std"]))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.eval()
