"""Which pruning units are pruned of each layer, from sortable keys (see `ranking`).

A selection takes the layers by name and gives, for each, a flat bool array (U,) in which the
units to prune are True. Units that are pruned already have the key `REMOVED` and stay pruned.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pruning_core.common.errors import Choice, Share, SpecError
from pruning_core.engine.masks.ranking import order, smallest
from pruning_core.methods.allocation import (
    ALLOCATIONS,
    Counts,
    LayerUnits,
    check_grows,
    check_min_density,
)
from pruning_core.methods.granularity import fits, pattern_of, pattern_sparsity
from pruning_core.methods.layers import units_to_keep

REMOVED = -1


@dataclass(frozen=True)
class Ranked:
    """A layer: the keys of its pieces, flat, and the shape of its weight."""

    keys: np.ndarray
    shape: tuple[int, ...]


Settings = Mapping[str, Any]
Pruned = dict[str, np.ndarray]


def select(layers: dict[str, Ranked], amount: float, pruning: Settings) -> Pruned:
    """The units to prune of each layer, by the pattern or the allocation in `pruning`.

    Raises `SpecError` where that many cannot be pruned.
    """
    if pattern_of(pruning["granularity"]):
        return by_pattern(layers, amount, pruning)
    counts = ALLOCATIONS[pruning["allocation"]].counts
    if counts is not None:
        return by_counts(counts, layers, amount, pruning)
    pruned: Pruned = ALLOCATIONS.load(pruning["allocation"])(layers, amount, pruning)
    return pruned


def global_threshold(layers: dict[str, Ranked], amount: float, pruning: Settings) -> Pruned:
    """One threshold for all layers, each of which keeps its minimum density of best units.

    LeCun et al. 1990; for deep networks Frankle and Carbin 2019, https://arxiv.org/abs/1803.03635.
    The minimum density is ours.
    """
    return _lowest({name: layer.keys for name, layer in layers.items()}, amount, pruning)


def lamp(layers: dict[str, Ranked], amount: float, pruning: Settings) -> Pruned:
    """One threshold for layer-adaptive scores. Lee et al. 2021, https://arxiv.org/abs/2010.07611"""
    return _lowest({name: _lamp_keys(x.keys) for name, x in layers.items()}, amount, pruning)


def by_counts(
    counts: Counts, layers: dict[str, Ranked], amount: float, pruning: Settings
) -> Pruned:
    """The lowest of each layer, as many as the allocation gives it."""
    sizes = [
        LayerUnits(name, layer.shape, layer.keys.size, int(np.count_nonzero(layer.keys == REMOVED)))
        for name, layer in layers.items()
    ]
    pairs = zip(layers.items(), counts(sizes, amount, pruning), strict=True)
    return {name: smallest(layer.keys, count) for (name, layer), count in pairs}


def lamp_scores(scores: np.ndarray) -> np.ndarray:
    """Each squared score over the sum of it and of those that rank above it. Lee et al. 2021.

    Of equal scores the first ranks lowest. What is not finite ranks above all.
    """
    positions = order(scores)
    values = scores[positions].astype(np.float64)
    finite = np.isfinite(values)
    values[~finite] = 0.0
    squares = (values / (values.max(initial=0.0) or 1.0)) ** 2
    above = np.cumsum(squares[::-1])[::-1]
    found = np.empty(scores.shape)
    ratio = np.divide(squares, above, out=np.zeros(scores.shape), where=above > 0)
    found[positions] = np.where(finite, ratio, np.inf)
    return found


def _lamp_keys(keys: np.ndarray) -> np.ndarray:
    gone = keys == REMOVED
    values = np.where(gone, keys.dtype.type(0), keys)
    scores = values.view(np.float32 if keys.itemsize == 4 else np.float64)
    return np.where(gone, np.int64(REMOVED), lamp_scores(scores).view(np.int64))


def _lowest(keys: dict[str, np.ndarray], amount: float, pruning: Settings) -> Pruned:
    every = np.concatenate(list(keys.values()))
    if any(layer.dtype != every.dtype for layer in keys.values()):
        raise SpecError(
            "pruning.allocation",
            "layers in float32 and in float64 cannot be ranked together. Choose {uniform}.",
            uniform=Choice("pruning.allocation", "uniform"),
        )
    count = round(amount * every.size)
    removed = int(np.count_nonzero(every == REMOVED))
    check_grows(removed, count, every.size, "of all layers", pruning)
    ends = np.cumsum([layer.size for layer in keys.values()])[:-1]
    for layer in np.split(every, ends):
        _protect(layer, pruning["min_density"])
    most = int(np.count_nonzero(every != np.iinfo(every.dtype).max))
    check_min_density(count, most, every.size, pruning)
    return dict(zip(keys, np.split(smallest(every, count), ends), strict=True))


def _protect(keys: np.ndarray, min_density: float) -> None:
    """Raise the keys of a layer's best pieces above all others, in place."""
    rest = smallest(keys, keys.size - units_to_keep(keys.size, min_density))
    keys[~rest & (keys != REMOVED)] = np.iinfo(keys.dtype).max


def by_pattern(layers: dict[str, Ranked], amount: float, pruning: Settings) -> Pruned:
    """N of every M consecutive inputs go; layers that do not fit keep all. Mishra et al. 2021.

    Raises `SpecError` for an amount that is neither 0 nor that of the pattern.
    """
    granularity, share = pruning["granularity"], pattern_sparsity(pruning["granularity"])
    if amount not in (0.0, share):
        raise SpecError(
            "pruning.granularity",
            "{granularity} prunes {share}; {amount} is not possible with it.",
            granularity=Choice("pruning.granularity", granularity),
            share=Share(share),
            amount=Share(amount),
        )
    pattern = pattern_of(granularity)
    assert pattern is not None
    return {
        name: n_of_m(layer, *pattern)
        if amount and fits(layer.shape, granularity)
        else layer.keys == REMOVED
        for name, layer in layers.items()
    }


def n_of_m(layer: Ranked, n: int, m: int) -> np.ndarray:
    """The `n` lowest of every `m` consecutive inputs of one output and one kernel position."""
    outputs, inputs, *_ = layer.shape
    groups = layer.keys.reshape(outputs, inputs // m, m, -1)
    removed = np.count_nonzero(groups == REMOVED, axis=2)
    if removed.max(initial=0) > n:
        raise SpecError("amount", f"more than {n} of {m} consecutive weights are already pruned.")
    ranks = np.argsort(groups, axis=2, kind="stable")
    gone = np.zeros(groups.shape, dtype=bool)
    np.put_along_axis(gone, ranks[:, :, :n], True, axis=2)
    return gone.reshape(-1)
