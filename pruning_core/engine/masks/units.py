"""Scores of pruning units (weights, kernels, filters), and masks that are made of units.

A weight has the shape (O, I, *K). Its U units are counted along the axes that `unit_axes` names;
a unit extends along all other axes. Flat arrays (U,) are in logical (contiguous) order, whatever
the memory format of the weight.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pruning_core.methods.criteria import CRITERIA, Join
from pruning_core.methods.granularity import GRANULARITIES, UNSTRUCTURED, unit_axes

KERNEL_NORM = 2.0
SINGLE_WEIGHTS = (UNSTRUCTURED, *(n for n, g in GRANULARITIES.items() if g.pattern))
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


def unit_scores(scores: Tensor, pruning: Mapping[str, Any]) -> Tensor:
    """Scores of weights (O, I, *K) as one score for each unit, of the shape of the units' axes.

    `pruning` holds a `PruningSpec`'s settings. Scores of single weights are returned as they are.
    Others are float64, joined as the criterion says; NaN becomes infinity.
    """
    if pruning["granularity"] in SINGLE_WEIGHTS:
        return scores
    double = scores.detach().cpu().contiguous().double()
    axes = _axes_of_a_unit(double, pruning)
    if not axes:
        return double
    filters = pruning["granularity"] == "filter"
    norm = float(pruning.get("filter_norm", KERNEL_NORM)) if filters else KERNEL_NORM
    join = JOINS[pruning.get("join") or CRITERIA[pruning["criterion"]].join]
    return torch.nan_to_num(join(double, axes, norm), nan=math.inf, posinf=math.inf)


def joined_scores(scores: Mapping[str, Tensor], pruning: Mapping[str, Any]) -> dict[str, Tensor]:
    """The scores (O, I, *K) of all layers as scores of units, 0 or more.

    If some are negative, the lowest is subtracted from all. This changes no order: in double
    precision float32 sums keep theirs, to within 1e-16 of their range.
    """
    joined = {name: unit_scores(score, pruning) for name, score in scores.items()}
    lowest = min((float(score.min()) for score in joined.values() if score.numel()), default=0.0)
    if not lowest < 0:
        return joined
    return {name: score.double() - lowest for name, score in joined.items()}


def remaining_units(mask: Tensor, pruning: Mapping[str, Any]) -> np.ndarray:
    """Whether a mask (O, I, *K) keeps any weight of each unit, as a flat bool array (U,)."""
    mask = mask.cpu().contiguous()
    for axis in sorted(_axes_of_a_unit(mask, pruning), reverse=True):
        mask = mask.any(axis)
    return mask.reshape(-1).numpy()


def mask_of_units(kept: np.ndarray, weight: Tensor, pruning: Mapping[str, Any]) -> Tensor:
    """A mask of the shape (O, I, *K) and memory format of a weight, from its units (U,)."""
    mask = torch.empty_like(weight, dtype=torch.bool, requires_grad=False)
    axes = unit_axes(pruning, weight.ndim)
    shape = [size if axis in axes else 1 for axis, size in enumerate(weight.shape)]
    return mask.copy_(torch.from_numpy(kept).reshape(shape))


def _axes_of_a_unit(weight: Tensor, pruning: Mapping[str, Any]) -> tuple[int, ...]:
    """The axes along which a unit extends."""
    counted = unit_axes(pruning, weight.ndim)
    return tuple(axis for axis in range(weight.ndim) if axis not in counted)
