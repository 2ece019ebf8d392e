"""What there is to see of each layer's weights: how many are zero, how large the others are."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from pruning_core.engine.models.layers import layers, parameters
from pruning_core.methods.layers import Layer

BINS = 60


def layer_statistics(model: nn.Module) -> list[dict[str, Any]]:
    """A dict a layer, in the order of the modules.

    `name`, `kind`, `role`, `size`; `zeros`; `channels` (outputs) and `dead`, those of which every
    weight is zero; `largest`, the largest magnitude; `counts`, how many of the weights that are
    not zero lie in each of 60 equal parts from 0 to `largest`.
    """
    named = parameters(model, repeat_shared=True)
    return [_portrait(layer, named[layer.name]) for layer in layers(model)]


def _portrait(layer: Layer, weight: Tensor) -> dict[str, Any]:
    sizes = weight.detach().float().abs()
    set_ones = sizes[sizes > 0].cpu()
    largest = float(sizes.max())
    counts = torch.histc(set_ones, BINS, 0.0, largest) if largest else torch.zeros(BINS)
    alive = sizes.flatten(1).any(1)
    return {
        "name": layer.name,
        "kind": layer.kind,
        "role": layer.role,
        "size": layer.size,
        "zeros": layer.size - set_ones.numel(),
        "channels": len(alive),
        "dead": int((~alive).sum()),
        "largest": largest,
        "counts": [int(count) for count in counts],
    }


def mask_overlap(first: dict[str, Tensor], second: dict[str, Tensor]) -> list[dict[str, Any]]:
    """How far two models keep the same weights: the Jaccard index of each layer both have.

    Both are state dicts. `both` weights are not zero in either, `either` in at least one; the
    index is `both / either`, 1 where neither has any.
    """
    rows = []
    for name, left in first.items():
        right = second.get(name)
        if right is None or right.shape != left.shape:
            continue
        kept = left != 0, right != 0
        both, either = int((kept[0] & kept[1]).sum()), int((kept[0] | kept[1]).sum())
        rows.append({"name": name, "both": both, "either": either, "size": left.numel()})
    return rows
