"""Scores of pruning units (weights, blocks, kernels, filters), and masks that are made of units.

A weight has the shape (O, I, *K). Its U units are counted along the axes that `unit_axes` names;
a unit extends along all other axes. A block extends over up to n of the O outputs: with B blocks
along them, U = B * I * K. Flat arrays (U,) are in logical (contiguous) order, whatever the memory
format of the weight. `groups` are those of a convolution, 1 for other layers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pruning_core.methods.criteria import CRITERIA, Join
from pruning_core.methods.granularity import (
    GRANULARITIES,
    UNSTRUCTURED,
    block_of,
    block_sizes,
    unit_axes,
)

KERNEL_NORM = 2.0  # of blocks, too
SINGLE_WEIGHTS = (UNSTRUCTURED, *(n for n, g in GRANULARITIES.items() if g.pattern))
NO_GROUPS: Mapping[str, int] = MappingProxyType({})  # no grouped convolution
JoinScores = Callable[[Tensor, tuple[int, ...], float], Tensor]


def by_norm(scores: Tensor, axes: tuple[int, ...], norm: float) -> Tensor:
    """The Lp norm of scores (O, I, *K) along the axes of a unit.

    Li et al. 2017 (p = 1), https://arxiv.org/abs/1608.08710; torch's `ln_structured`.
    """
    return torch.linalg.vector_norm(scores, norm, axes)


def by_sum(scores: Tensor, axes: tuple[int, ...], norm: float) -> Tensor:
    """The sum of scores (O, I, *K) along the axes of a unit.

    Molchanov et al. 2019, https://arxiv.org/abs/1906.10771
    """
    return scores.sum(axes)


def by_first(scores: Tensor, axes: tuple[int, ...], norm: float) -> Tensor:
    """The first score (O, I, *K) of a unit. A sum of random scores would favor large units."""
    for axis in sorted(axes, reverse=True):
        scores = scores.select(axis, 0)
    return scores


JOINS: dict[Join, JoinScores] = {"norm": by_norm, "sum": by_sum, "first": by_first}


# The power of n / size by which the score of a block of `size` outputs grows where whole ones have
# n: the score of n outputs with the same mean, or the same mean square.
SIZE_POWERS: dict[Join, float] = {"norm": 1 / KERNEL_NORM, "sum": 1.0, "first": 0.0}


def unit_scores(scores: Tensor, pruning: Mapping[str, Any], groups: int = 1) -> Tensor:
    """Scores of weights (O, I, *K) as one score for each unit, of the shape of the units' axes.

    `pruning` holds a `PruningSpec`'s settings. Scores of single weights are returned as they are.
    Others are float64, joined as the criterion says; NaN becomes infinity. A smaller last block
    gets the score of a whole block with the same mean: otherwise its fewer weights alone would
    make it the first to be pruned.
    """
    if pruning["granularity"] in SINGLE_WEIGHTS:
        return scores
    double = scores.detach().cpu().contiguous().double()
    if block_of(pruning["granularity"]):
        return _block_scores(double, pruning, groups)
    axes = _axes_of_a_unit(double, pruning)
    if not axes:
        return double
    filters = pruning["granularity"] == "filter"
    norm = float(pruning.get("filter_norm", KERNEL_NORM)) if filters else KERNEL_NORM
    return _finite(JOINS[_join_of(pruning)](double, axes, norm))


def _block_scores(scores: Tensor, pruning: Mapping[str, Any], groups: int) -> Tensor:
    """Scores (O, I, *K) in float64 as scores of blocks (B, I, *K)."""
    sizes = block_sizes(scores.shape, pruning["granularity"], groups)
    join, whole = _join_of(pruning), float(block_of(pruning["granularity"]) or 1)
    joined = JOINS[join](_by_block(scores, sizes), (1,), KERNEL_NORM)
    factors = (whole / torch.tensor(sizes, dtype=torch.float64)) ** SIZE_POWERS[join]
    return _finite(joined * factors.reshape(-1, *[1] * (joined.ndim - 1)))


def _join_of(pruning: Mapping[str, Any]) -> Join:
    """How the scores of a unit are joined: as its criterion says, or as `pruning` says itself."""
    join: Join = pruning.get("join") or CRITERIA[pruning["criterion"]].join
    return join


def _finite(scores: Tensor) -> Tensor:
    """Scores in which NaN is infinity, so that such a unit is pruned last."""
    return torch.nan_to_num(scores, nan=math.inf, posinf=math.inf)


def _by_block(values: Tensor, sizes: Sequence[int]) -> Tensor:
    """Values (O, ...) as (B, n, ...): those of each block, and 0 or False to the largest size n."""
    lengths = torch.tensor(sizes)
    block = torch.arange(len(sizes)).repeat_interleave(lengths)
    position = torch.arange(len(values)) - (lengths.cumsum(0) - lengths)[block]
    blocks = values.new_zeros((len(sizes), max(sizes), *values.shape[1:]))
    blocks[block, position] = values
    return blocks


def joined_scores(
    scores: Mapping[str, Tensor],
    pruning: Mapping[str, Any],
    groups: Mapping[str, int] = NO_GROUPS,
) -> dict[str, Tensor]:
    """The scores (O, I, *K) of all layers as scores of units, 0 or more.

    `groups` are those of grouped convolutions by name. If some scores are negative, the lowest is
    subtracted from all. This changes no order: in double precision float32 sums keep theirs, to
    within 1e-16 of their range.
    """
    joined = {
        name: unit_scores(score, pruning, groups.get(name, 1)) for name, score in scores.items()
    }
    lowest = min((float(score.min()) for score in joined.values() if score.numel()), default=0.0)
    if not lowest < 0:
        return joined
    return {name: score.double() - lowest for name, score in joined.items()}


def remaining_units(mask: Tensor, pruning: Mapping[str, Any], groups: int = 1) -> np.ndarray:
    """Whether a mask (O, I, *K) keeps any weight of each unit, as a flat bool array (U,)."""
    mask = mask.cpu().contiguous()
    if block_of(pruning["granularity"]):
        sizes = block_sizes(mask.shape, pruning["granularity"], groups)
        return _by_block(mask, sizes).any(1).reshape(-1).numpy()
    for axis in sorted(_axes_of_a_unit(mask, pruning), reverse=True):
        mask = mask.any(axis)
    return mask.reshape(-1).numpy()


def mask_of_units(
    kept: np.ndarray, weight: Tensor, pruning: Mapping[str, Any], groups: int = 1
) -> Tensor:
    """A mask of the shape (O, I, *K) and memory format of a weight, from its units (U,)."""
    mask = torch.empty_like(weight, dtype=torch.bool, requires_grad=False)
    if block_of(pruning["granularity"]):
        sizes = block_sizes(weight.shape, pruning["granularity"], groups)
        blocks = torch.from_numpy(kept).reshape(len(sizes), *weight.shape[1:])
        return mask.copy_(blocks.repeat_interleave(torch.tensor(sizes), 0))
    axes = unit_axes(pruning, weight.ndim)
    shape = [size if axis in axes else 1 for axis, size in enumerate(weight.shape)]
    return mask.copy_(torch.from_numpy(kept).reshape(shape))


def _axes_of_a_unit(weight: Tensor, pruning: Mapping[str, Any]) -> tuple[int, ...]:
    """The axes along which a unit extends."""
    counted = unit_axes(pruning, weight.ndim)
    return tuple(axis for axis in range(weight.ndim) if axis not in counted)
