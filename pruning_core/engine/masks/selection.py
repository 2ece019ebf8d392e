"""Which units of each layer are pruned, from sortable keys (see `ranking`).

A selection takes the layers by name and returns for each a flat bool array (U,), True for the
units to prune. Units that are pruned already have the key `REMOVED` and stay pruned.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pruning_core.common.errors import Choice, Share, SpecError
from pruning_core.engine.masks.ranking import argsort_scores, smallest
from pruning_core.methods.allocation import (
    ALLOCATIONS,
    Counts,
    LayerUnits,
    check_min_density,
    grown,
)
from pruning_core.methods.granularity import fits, pattern_of, pattern_sparsity
from pruning_core.methods.layers import units_to_keep

REMOVED = -1


@dataclass(frozen=True)
class LayerKeys:
    """A layer: the keys (U,) of its units, and the shape (O, I, *K) of its weight."""

    keys: np.ndarray
    shape: tuple[int, ...]


Settings = Mapping[str, Any]
Pruned = dict[str, np.ndarray]


def select_units(layers: dict[str, LayerKeys], amount: float, pruning: Settings) -> Pruned:
    """The units to prune of each layer, by the N:M pattern or the allocation in `pruning`.

    Raises `SpecError` where that many cannot be pruned.
    """
    if pattern_of(pruning["granularity"]):
        return by_pattern(layers, amount, pruning)
    counts = ALLOCATIONS[pruning["allocation"]].counts
    if counts is not None:
        return by_counts(counts, layers, amount, pruning)
    pruned: Pruned = ALLOCATIONS.load(pruning["allocation"])(layers, amount, pruning)
    return pruned


def global_threshold(layers: dict[str, LayerKeys], amount: float, pruning: Settings) -> Pruned:
    """One threshold for all layers, each of which keeps its minimum density of best units.

    LeCun et al. 1990,
    https://proceedings.neurips.cc/paper/1989/hash/6c9882bbac1c7093bd25041881277658-Abstract.html;
    for deep networks Frankle and Carbin 2019, https://arxiv.org/abs/1803.03635. The minimum
    density is ours.
    """
    return _lowest({name: layer.keys for name, layer in layers.items()}, amount, pruning)


def lamp(layers: dict[str, LayerKeys], amount: float, pruning: Settings) -> Pruned:
    """One threshold for layer-adaptive scores. Lee et al. 2021, https://arxiv.org/abs/2010.07611"""
    return _lowest({name: _lamp_keys(x.keys) for name, x in layers.items()}, amount, pruning)


def by_counts(
    counts: Counts, layers: dict[str, LayerKeys], amount: float, pruning: Settings
) -> Pruned:
    """The lowest units of each layer, as many as the allocation gives it."""
    sizes = [
        LayerUnits(name, layer.shape, layer.keys.size, int(np.count_nonzero(layer.keys == REMOVED)))
        for name, layer in layers.items()
    ]
    pairs = zip(layers.items(), counts(sizes, amount, pruning), strict=True)
    return {name: smallest(layer.keys, count) for (name, layer), count in pairs}


def lamp_scores(scores: np.ndarray) -> np.ndarray:
    """LAMP scores of scores (U,): w^2 over the sum of w^2 and of all that rank above it.

    Of equal scores the first ranks lowest. Scores that are not finite rank above all others.
    Lee et al. 2021, https://arxiv.org/abs/2010.07611
    """
    positions = argsort_scores(scores)
    values = scores[positions].astype(np.float64)
    finite = np.isfinite(values)
    values[~finite] = 0.0
    # Divided by the largest, so that no square overflows; the ratios stay the same.
    squares = (values / (values.max(initial=0.0) or 1.0)) ** 2
    # The reversed cumulative sum of the ascending squares: each one and all that rank above it.
    denominators = np.cumsum(squares[::-1])[::-1]
    ratio = np.divide(squares, denominators, out=np.zeros(scores.shape), where=denominators > 0)
    adaptive = np.empty(scores.shape)
    adaptive[positions] = np.where(finite, ratio, np.inf)
    return adaptive


def _lamp_keys(keys: np.ndarray) -> np.ndarray:
    """Keys (U,) of LAMP scores. Pruned units count as 0 in the sums and stay `REMOVED`."""
    removed = keys == REMOVED
    bits = np.where(removed, keys.dtype.type(0), keys)
    scores = bits.view(np.float32 if keys.itemsize == 4 else np.float64)
    return np.where(removed, np.int64(REMOVED), lamp_scores(scores).view(np.int64))


def _lowest(keys: dict[str, np.ndarray], amount: float, pruning: Settings) -> Pruned:
    """The units with the lowest scores over all layers, except for the minimum density of each."""
    all_keys = np.concatenate(list(keys.values()))
    if any(layer.dtype != all_keys.dtype for layer in keys.values()):
        raise SpecError(
            "pruning.allocation",
            "layers in float32 and in float64 cannot be ranked together. Choose {uniform}.",
            uniform=Choice("pruning.allocation", "uniform"),
        )
    removed = int(np.count_nonzero(all_keys == REMOVED))
    count = round(amount * all_keys.size)
    count = grown(removed, count, all_keys.size, "of all layers", pruning)
    boundaries = np.cumsum([layer.size for layer in keys.values()])[:-1]
    for layer in np.split(all_keys, boundaries):  # views, so the keys change in place
        _protect(layer, pruning["min_density"])
    most = int(np.count_nonzero(all_keys != np.iinfo(all_keys.dtype).max))
    check_min_density(count, most, all_keys.size, pruning)
    return dict(zip(keys, np.split(smallest(all_keys, count), boundaries), strict=True))


def _protect(keys: np.ndarray, min_density: float) -> None:
    """Give the best units of a layer (U,) the highest key, in place, so that they stay.

    Pruned units are never protected: a layer below its minimum density regains nothing.
    """
    others = smallest(keys, keys.size - units_to_keep(keys.size, min_density))
    keys[~others & (keys != REMOVED)] = np.iinfo(keys.dtype).max


def by_pattern(layers: dict[str, LayerKeys], amount: float, pruning: Settings) -> Pruned:
    """N of every M consecutive inputs; layers whose inputs do not divide by M stay dense.

    Mishra et al. 2021, https://arxiv.org/abs/2104.08378; Zhou et al. 2021,
    https://arxiv.org/abs/2102.04010. Raises `SpecError` for an amount that is neither 0 nor that
    of the pattern.
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
        name: n_of_m(layer, *pattern, bool(pruning.get("keep_zeros")))
        if amount and fits(layer.shape, granularity)
        else layer.keys == REMOVED
        for name, layer in layers.items()
    }


def n_of_m(layer: LayerKeys, n: int, m: int, keep_zeros: bool = False) -> np.ndarray:
    """The `n` lowest of every `m` consecutive inputs of one output and one kernel position.

    Returns a flat bool array (U,). Where more than `n` are pruned already, they all stay pruned
    with `keep_zeros`; without, `SpecError` is raised.
    """
    outputs, inputs, *_ = layer.shape
    groups = layer.keys.reshape(outputs, inputs // m, m, -1)
    already_pruned = np.count_nonzero(groups == REMOVED, axis=2)
    if already_pruned.max(initial=0) > n and not keep_zeros:
        raise SpecError("amount", f"more than {n} of {m} consecutive weights are already pruned.")
    ranks = np.argsort(groups, axis=2, kind="stable")
    pruned = np.zeros(groups.shape, dtype=bool)
    np.put_along_axis(pruned, ranks[:, :, :n], True, axis=2)
    return (pruned | (groups == REMOVED)).reshape(-1)
