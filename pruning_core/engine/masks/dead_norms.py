"""Batch norm of channels whose whole filter was removed: its weight and bias go with them.

A filter of zeros gives 0, but the batch norm after it would make its bias of that, a constant that
goes on through the network. With both zero the channel is 0, and can be folded away.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pruning_core.engine.models.sites import sites

Tensors = dict[str, Tensor]


def norms_of_dead(model: nn.Module, kept: Tensors, image_size: int) -> Tensors:
    """Masks over weight and bias of batch norms, False where the filter before is all removed.

    `kept` are the masks of the weights by name. Batch norms behind layers of which no filter is
    dead are left out. The model is in evaluation mode afterwards.
    """
    device = next(model.parameters()).device
    names = {module: name for name, module in model.named_modules()}
    found: Tensors = {}
    for site in sites(model, torch.zeros(1, 3, image_size, image_size, device=device)):
        if site.norm is None or not site.norm.affine or site.weight_name not in kept:
            continue
        alive = kept[site.weight_name].flatten(1).any(1)
        if not bool(alive.all()):
            name = names[site.norm]
            found |= {f"{name}.weight": alive, f"{name}.bias": alive.clone()}
    return found
