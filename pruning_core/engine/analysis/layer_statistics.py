"""Statistics of the weights of each layer (zeros, zero channels, histogram), and mask overlap."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from pruning_core.engine.models.layers import layers, parameters
from pruning_core.methods.layers import Layer

BINS = 60


def layer_statistics(model: nn.Module) -> list[dict[str, Any]]:
    """A dict for each layer, in the order of the modules.

    `name`, `kind`, `role`, `size`; `zeros`; `channels` (output channels), and `zero_channels`,
    those whose weights are all zero; `largest`, the largest magnitude; `counts`, the histogram of
    the non-zero magnitudes in 60 equal bins from 0 to `largest`.
    """
    named = parameters(model, repeat_shared=True)
    return [_statistics(layer, named[layer.name]) for layer in layers(model)]


def _statistics(layer: Layer, weight: Tensor) -> dict[str, Any]:
    """The statistics of a weight (O, ...)."""
    magnitudes = weight.detach().float().abs()
    zeros = layer.size - int(torch.count_nonzero(magnitudes))
    largest = float(magnitudes.max())
    has_weights = magnitudes.flatten(1).any(1)
    return {
        "name": layer.name,
        "kind": layer.kind,
        "role": layer.role,
        "size": layer.size,
        "zeros": zeros,
        "channels": len(has_weights),
        "zero_channels": int((~has_weights).sum()),
        "largest": largest,
        "counts": _histogram(magnitudes, largest, zeros),
    }


def _histogram(magnitudes: Tensor, largest: float, zeros: int) -> list[int]:
    """The numbers of non-zero magnitudes in equal bins from 0 to `largest`.

    `torch.histc` counts in float32, in which a bin has at most 2**24 values.
    """
    if not largest:
        return [0] * BINS
    bins = (magnitudes.flatten() / largest * BINS).int().clamp_(max=BINS - 1)
    counts = torch.bincount(bins, minlength=BINS)
    counts[0] -= zeros
    return [int(count) for count in counts.tolist()]


def mask_overlap(first: dict[str, Tensor], second: dict[str, Tensor]) -> list[dict[str, Any]]:
    """The mask overlap of two state dicts, for each layer with the same shape in both.

    `both` counts the weights that are non-zero in both models, `either` those that are non-zero
    in at least one. The Jaccard index is `both / either`, 1 where `either` is 0.
    """
    rows = []
    for name, weight in first.items():
        other = second.get(name)
        if other is None or other.shape != weight.shape:
            continue
        kept, other_kept = weight != 0, other != 0
        rows.append(
            {
                "name": name,
                "both": int((kept & other_kept).sum()),
                "either": int((kept | other_kept).sum()),
                "size": weight.numel(),
            }
        )
    return rows
