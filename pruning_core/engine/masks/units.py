"""Scores of pruning units (weights, kernels, filters), and masks made of units.

Shapes: a weight is (O, I, *K); its units are counted along the axes that `unit_axes` names.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pruning_core.methods.criteria import CRITERIA, Join
from pruning_core.methods.granularity import GRANULARITIES, unit_axes

KERNEL_NORM = 2.0
SINGLE_WEIGHTS = ("unstructured", *(n for n, g in GRANULARITIES.items() if g.pattern))
Joining = Callable[[Tensor, tuple[int, ...], float], Tensor]


def by_norm(scores: Tensor, others: tuple[int, ...], norm: float) -> Tensor:
    """The Ln norm of a piece's magnitudes. Li et al. 2017 (n = 1); torch's `ln_structured`."""
    return torch.linalg.vector_norm(scores, norm, others)


def by_sum(scores: Tensor, others: tuple[int, ...], norm: float) -> Tensor:
    """The sum of a piece's scores. Molchanov et al. 2019."""
    return scores.sum(others)


def by_draw(scores: Tensor, others: tuple[int, ...], norm: float) -> Tensor:
    """A piece's first score: of random ones a sum would favour large pieces."""
    for axis in sorted(others, reverse=True):
        scores = scores.select(axis, 0)
    return scores


JOINS: dict[Join, Joining] = {"norm": by_norm, "sum": by_sum, "first": by_draw}


def piece_scores(scores: Tensor, pruning: Mapping[str, Any]) -> Tensor:
    """One score a piece, of the shape of the axes that `unit_axes` names.

    Scores of weights are given back as they are; others are float64, joined as `JOINS` says by
    the criterion, and by their sum where it says nothing. What is not a number becomes inf.
    """
    if _single(pruning):
        return scores
    whole = scores.detach().cpu().contiguous().double()
    others = _others(whole, pruning)
    if not others:
        return whole
    filters = pruning["granularity"] == "filter"
    norm = float(pruning.get("filter_norm", KERNEL_NORM)) if filters else KERNEL_NORM
    joined = JOINS[_join(pruning)](whole, others, norm)
    return torch.nan_to_num(joined, nan=math.inf, posinf=math.inf)


def joined(scores: Mapping[str, Tensor], pruning: Mapping[str, Any]) -> dict[str, Tensor]:
    """The scores of all layers' pieces, 0 or more.

    Where some are negative all are moved up by the least of them, which changes no order: in
    double precision that of float32 sums stays as it is, to within 1e-16 of their range.
    """
    found = {name: piece_scores(score, pruning) for name, score in scores.items()}
    least = min((float(score.min()) for score in found.values() if score.numel()), default=0.0)
    return found if not least < 0 else {n: score.double() - least for n, score in found.items()}


def pieces_left(mask: Tensor, pruning: Mapping[str, Any]) -> np.ndarray:
    """Which pieces a mask leaves, flat: those of which any weight stays."""
    mask = mask.cpu().contiguous()
    for axis in sorted(_others(mask, pruning), reverse=True):
        mask = mask.any(axis)
    return mask.reshape(-1).numpy()


def as_mask(kept: np.ndarray, weight: Tensor, pruning: Mapping[str, Any]) -> Tensor:
    """A mask of the weight's shape and memory format from its pieces, which are flat."""
    mask = torch.empty_like(weight, dtype=torch.bool, requires_grad=False)
    axes = unit_axes(pruning, weight.ndim)
    shape = [size if axis in axes else 1 for axis, size in enumerate(weight.shape)]
    return mask.copy_(torch.from_numpy(kept).reshape(shape))


def _single(pruning: Mapping[str, Any]) -> bool:
    """Whether a unit is a single weight; the weights of an N:M pattern are too."""
    return pruning["granularity"] in SINGLE_WEIGHTS


def _join(pruning: Mapping[str, Any]) -> Join:
    """How the scores of a unit are joined: as the criterion says, or as `pruning` overrides it."""
    join: Join = pruning.get("join") or CRITERIA[pruning["criterion"]].join
    return join


def _others(weight: Tensor, pruning: Mapping[str, Any]) -> tuple[int, ...]:
    axes = unit_axes(pruning, weight.ndim)
    return tuple(axis for axis in range(weight.ndim) if axis not in axes)
