"""Where pieces compete: which go of each layer, from sortable keys (see `ranking`).

A scope takes the layers by name and gives, for each, a flat bool array in which the pieces that
go are True. What is removed already has the key `REMOVED` and stays removed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pruning_core.common.errors import SpecError
from pruning_core.engine.masks.ranking import order, smallest
from pruning_core.methods.allocation import COUNTS, Part, check_floor, check_grows
from pruning_core.methods.granularity import PATTERNS, fits, pattern_share
from pruning_core.methods.layers import floor_size

REMOVED = -1


@dataclass(frozen=True)
class Ranked:
    """A layer: the keys of its pieces, flat, and the shape of its weight."""

    keys: np.ndarray
    shape: tuple[int, ...]


Settings = Mapping[str, Any]
Gone = dict[str, np.ndarray]
Scope = Callable[[dict[str, Ranked], float, Settings], Gone]


def together(layers: dict[str, Ranked], amount: float, prune: Settings) -> Gone:
    """One threshold for all layers, each of which keeps its floor of best pieces.

    LeCun et al. 1990 and, for deep networks, Frankle and Carbin 2019; the floor is ours.
    """
    return _lowest({name: layer.keys for name, layer in layers.items()}, amount, prune)


def lamp(layers: dict[str, Ranked], amount: float, prune: Settings) -> Gone:
    """The same by layer-adaptive scores. Lee et al. 2021."""
    return _lowest({name: _lamp_keys(x.keys) for name, x in layers.items()}, amount, prune)


def by_counts(name: str, layers: dict[str, Ranked], amount: float, prune: Settings) -> Gone:
    """The lowest of each layer, as many as `COUNTS[name]` gives it."""
    parts = [
        Part(name, layer.shape, layer.keys.size, int(np.count_nonzero(layer.keys == REMOVED)))
        for name, layer in layers.items()
    ]
    counts = COUNTS[name](parts, amount, prune)
    pairs = zip(layers.items(), counts, strict=True)
    return {name: smallest(layer.keys, count) for (name, layer), count in pairs}


SCOPES: dict[str, Scope] = {
    "global": together,
    "lamp": lamp,
    **{name: functools.partial(by_counts, name) for name in COUNTS},
}


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


def _lowest(keys: dict[str, np.ndarray], amount: float, prune: Settings) -> Gone:
    every = np.concatenate(list(keys.values()))
    if any(layer.dtype != every.dtype for layer in keys.values()):
        message = (
            "layers in float32 and in float64 cannot be ranked together. Take the scope layer."
        )
        raise SpecError("prune.scope", message)
    count = round(amount * every.size)
    removed = int(np.count_nonzero(every == REMOVED))
    check_grows(removed, count, every.size, "of all layers", prune)
    ends = np.cumsum([layer.size for layer in keys.values()])[:-1]
    for layer in np.split(every, ends):
        _protect(layer, prune["keep_floor"])
    most = int(np.count_nonzero(every != np.iinfo(every.dtype).max))
    check_floor(count, most, every.size, prune)
    return dict(zip(keys, np.split(smallest(every, count), ends), strict=True))


def _protect(keys: np.ndarray, keep_floor: float) -> None:
    """Raise the keys of a layer's best pieces above all others, in place."""
    rest = smallest(keys, keys.size - floor_size(keys.size, keep_floor))
    keys[~rest & (keys != REMOVED)] = np.iinfo(keys.dtype).max


def by_pattern(layers: dict[str, Ranked], amount: float, prune: Settings) -> Gone:
    """N of every M consecutive inputs go; layers that do not fit keep all. Mishra et al. 2021.

    Raises `SpecError` for an amount that is neither 0 nor that of the pattern.
    """
    granularity, share = prune["granularity"], pattern_share(prune["granularity"])
    if amount not in (0.0, share):
        message = f"'{granularity}' removes {share:.0%}; {amount:.2%} cannot be had with it."
        raise SpecError("prune.granularity", message)
    return {
        name: n_of_m(layer, *PATTERNS[granularity])
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
        message = f"more than {n} of {m} neighbouring weights are removed already."
        raise SpecError("amount", message)
    ranks = np.argsort(groups, axis=2, kind="stable")
    gone = np.zeros(groups.shape, dtype=bool)
    np.put_along_axis(gone, ranks[:, :, :n], True, axis=2)
    return gone.reshape(-1)
