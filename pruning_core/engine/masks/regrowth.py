"""Weights that change places: some of those that are left go, as many that were removed come back.

Evci et al. 2020, "Rigging the Lottery: Making All Tickets Winners".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor

from pruning_core.engine.criteria.gradients import summed
from pruning_core.engine.criteria.inputs import Evidence
from pruning_core.engine.criteria.model_modes import in_training
from pruning_core.engine.masks.ranking import smallest, sortable
from pruning_core.engine.masks.units import as_mask, joined, pieces_left

Tensors = dict[str, Tensor]
SIZES = {"join": "norm"}  # gradients of a unit are joined as its magnitudes are


def growth(evidence: Evidence) -> Tensors:
    """The size of the gradient of the loss by each weight, removed ones too, of its shape.

    As a training step would have it, on all images of the evidence. Raises `StageError` where
    the loss is not finite.
    """
    # Batch norm needs two images; a last batch of one is left out, as in training.
    several = replace(evidence, batches=[pair for pair in evidence.batches if len(pair[1]) > 1])
    with in_training(evidence.model):
        return {name: slope.abs() for name, slope in summed(several, "rigl").items()}


def exchange(
    kept: Tensors, scores: Tensors, slopes: Tensors, share: float, pruning: Mapping[str, Any]
) -> Tensors:
    """Masks with as many True in each layer as `kept` has, a `share` of them at other places.

    Of each layer the share of what is left with the lowest `scores` goes (rounded), and of all
    that is then missing, what has just gone included, as many with the largest `slopes` come
    back. Nothing comes back where the slope is zero, since it would stay zero: there fewer go.
    Pieces are those of `prune`, a `PruningSpec`'s settings; of equal ones the first goes, and the
    first comes back.
    """
    pieces, wanted = joined(scores, pruning), joined(slopes, {**pruning, **SIZES})
    return {
        name: _exchanged(kept[name], pieces[name], wanted[name], share, pruning) for name in kept
    }


def _exchanged(
    kept: Tensor, scores: Tensor, slopes: Tensor, share: float, pruning: Mapping[str, Any]
) -> Tensor:
    left = pieces_left(kept, pruning)
    wanted = sortable(slopes)
    alive = wanted > 0
    most = int(np.count_nonzero(alive & ~left))
    count = min(round(share * int(np.count_nonzero(left))), most)
    keys = sortable(scores)
    stay = left & ~smallest(_last(keys, ~left), count)
    return as_mask(
        stay | smallest(_last(wanted.max(initial=0) - wanted, stay), count), kept, pruning
    )


def _last(keys: np.ndarray, behind: np.ndarray) -> np.ndarray:
    """The keys with those `behind` moved to the end of the order."""
    return np.where(behind, np.iinfo(keys.dtype).max, keys)
