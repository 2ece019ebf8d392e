"""The expected size of a pruned model, from the sizes of its layers, before anything is trained.

The sparse file stores a mask with one bit for each weight of a pruned layer, and the weights that
are not zero, both compressed without loss. A mask takes about its entropy; the rows of a block's
outputs are equal, so all but the first are short references to it. Of a trained weight only the
exponent compresses: the other bits are random. The single weights that magnitude pruning keeps have
similar exponents, so they compress better; those of larger units do not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pruning_core.methods.allocation import ALLOCATIONS, LayerUnits
from pruning_core.methods.granularity import block_of, fits, pattern_of, pattern_sparsity, units
from pruning_core.methods.layers import Layer, prunable
from pruning_core.settings.serialization import to_dict
from pruning_core.settings.spec import Spec

FLOAT_BYTES = 4
# The share of their bytes that dense weights take, and how much less it is at sparsity 1; fitted to
# the sparse files of a MobileNetV2, whose sizes they give within 2 %.
COMPRESSED, COMPRESSED_LESS = 0.825, 0.05
# zlib refers to repeated bytes in pieces of up to 258. The bytes for a piece, and for the rest that
# compresses less beside it, are fitted to masks of random blocks of MobileNetV2 and ResNet-18.
LONGEST_MATCH, MATCH_BYTES = 258, 4.5
HALVINGS = 20  # of the sparsity from 0 to 1: it is exact to 1e-6
MOST_SPARSITY = 0.999


@dataclass(frozen=True)
class ExpectedSize:
    """The parameters of a model that are not zero, and the bytes of its sparse file."""

    nonzero: int
    parameters: int
    bytes: float


def expected_size(
    spec: Spec, layers: Sequence[Layer], parameters: int, sparsity: float
) -> ExpectedSize:
    """The size of a model that is pruned by masks to `sparsity`, a fraction of its prunable layers.

    `layers` are all layers of the model, `parameters` is the number of its parameters. Where the
    scores decide how many weights each layer keeps (global and LAMP), every layer counts with the
    mean; the mask then takes at most this. Raises `SpecError` where an allocation refuses it.
    """
    pruned, in_units, mask_bytes = 0, 0, 0.0
    for layer, removed, number in _removed_units(spec, layers, sparsity):
        zeros = removed * layer.size // number
        pruned += zeros
        in_units += (layer.size - zeros) * (number < layer.size)
        mask_bytes += _mask_bytes(layer, removed, number, block_of(spec.pruning.granularity))
    nonzero = parameters - pruned
    # Batch norm has as many statistics, which are no parameters, as weights and biases.
    statistics = parameters - sum(layer.size for layer in layers)
    less = COMPRESSED_LESS * sparsity * (nonzero + statistics - in_units)
    values = FLOAT_BYTES * (COMPRESSED * (nonzero + statistics) - less)
    return ExpectedSize(nonzero, parameters, values + mask_bytes)


def layer_bytes(spec: Spec, layer: Layer, sparsity: float) -> float:
    """The bytes that a prunable layer takes in the sparse file of a model, at its own sparsity."""
    number = units(layer.shape, to_dict(spec.pruning), layer.groups)
    removed = round(sparsity * number)
    kept = layer.size - removed * layer.size // number
    share = COMPRESSED - COMPRESSED_LESS * sparsity * (number == layer.size)
    block = block_of(spec.pruning.granularity)
    return FLOAT_BYTES * share * kept + _mask_bytes(layer, removed, number, block)


def sparsity_for(
    spec: Spec, layers: Sequence[Layer], parameters: int, max_bytes: float
) -> float | None:
    """The lowest sparsity with which the sparse file has at most `max_bytes`; None without one.

    The size falls with the sparsity, so it is found by bisection.
    """

    def size(sparsity: float) -> float:
        return expected_size(spec, layers, parameters, sparsity).bytes

    low, high = 0.0, MOST_SPARSITY
    if size(low) <= max_bytes:
        return low
    if size(high) > max_bytes:
        return None
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if size(middle) <= max_bytes else (middle, high)
    return high


def _removed_units(
    spec: Spec, layers: Sequence[Layer], sparsity: float
) -> list[tuple[Layer, int, int]]:
    """Each prunable layer, how many of its pruning units are removed, and how many it has."""
    pruning: dict[str, Any] = to_dict(spec.pruning)
    selected = prunable(layers, spec.pruning.layers, spec.pruning.exclude)
    granularity = spec.pruning.granularity
    if pattern_of(granularity):
        share = min(sparsity, pattern_sparsity(granularity))
        patterned = [layer for layer in selected if fits(layer.shape, granularity)]
        return [(layer, round(share * layer.size), layer.size) for layer in patterned]
    numbers = [units(layer.shape, pruning, layer.groups) for layer in selected]
    counts = ALLOCATIONS[spec.pruning.allocation].counts
    if counts is None or not sparsity:
        removed = [round(sparsity * number) for number in numbers]
    else:
        sizes = [
            LayerUnits(layer.name, layer.shape, number)
            for layer, number in zip(selected, numbers, strict=True)
        ]
        removed = counts(sizes, sparsity, pruning)
    return list(zip(selected, removed, numbers, strict=True))


def _mask_bytes(layer: Layer, removed: int, number: int, block: int | None) -> float:
    """The bytes of a layer's mask, with `removed` of its pruning units, `number` in all."""
    bits, row = _entropy(removed / number) if removed else 0.0, math.prod(layer.shape[1:])
    if block is None:
        return number * bits / 8
    single = layer.size * bits / 8  # rows that are no whole bytes repeat no bytes
    matches = number // row * math.ceil((block - 1) * row / 8 / LONGEST_MATCH)
    return single if row % 8 else min(single, number * bits / 8 + MATCH_BYTES * matches)


def _entropy(share: float) -> float:
    """The bits of a mask for each unit, of which this share is removed (Shannon 1948)."""
    if not 0 < share < 1:
        return 0.0
    return -(share * math.log2(share) + (1 - share) * math.log2(1 - share))
