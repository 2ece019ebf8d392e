"""Weights that change places: some of those that are left go, as many that were removed come back.

Evci et al. 2020, "Rigging the Lottery: Making All Tickets Winners".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from pruning_core.engine.criteria.evidence import Evidence
from pruning_core.engine.criteria.gradients import summed
from pruning_core.engine.criteria.scoring import in_training
from pruning_core.engine.pieces import as_mask, piece_scores, pieces_left
from pruning_core.engine.ranking import smallest, sortable

Tensors = dict[str, Tensor]
SIZES = {"criterion": "magnitude"}  # a piece's gradients are joined as its magnitudes are


def growth(evidence: Evidence) -> Tensors:
    """The size of the gradient of the loss by each weight, removed ones too, of its shape.

    As a training step would have it, on all images of the evidence. Raises `StageError` where
    the loss is not finite.
    """
    with in_training(evidence.model):
        return {name: slope.abs() for name, slope in summed(evidence, "rigl").items()}


def exchange(
    kept: Tensors, scores: Tensors, slopes: Tensors, share: float, prune: Mapping[str, Any]
) -> Tensors:
    """Masks with as many True in each layer as `kept` has, a `share` of them at other places.

    Of each layer the share of what is left with the lowest `scores` goes (rounded), and of all
    that is then missing, what has just gone included, as many with the largest `slopes` come
    back. Nothing comes back where the slope is zero, since it would stay zero: there fewer go.
    Pieces are those of `prune`, a `PruneSpec`'s settings; of equal ones the first goes, and the
    first comes back.
    """
    return {name: _exchanged(kept[name], scores[name], slopes[name], share, prune) for name in kept}


def _exchanged(
    kept: Tensor, scores: Tensor, slopes: Tensor, share: float, prune: Mapping[str, Any]
) -> Tensor:
    left = pieces_left(kept, prune)
    wanted = sortable(piece_scores(slopes, {**prune, **SIZES}))
    alive = wanted > 0
    most = int(np.count_nonzero(alive & ~left))
    count = min(round(share * int(np.count_nonzero(left))), most)
    keys = sortable(piece_scores(scores, prune))
    stay = left & ~smallest(_last(keys, ~left), count)
    return as_mask(stay | smallest(_last(wanted.max(initial=0) - wanted, stay), count), kept, prune)


def _last(keys: np.ndarray, behind: np.ndarray) -> np.ndarray:
    """The keys with those `behind` moved to the end of the order."""
    return np.where(behind, np.iinfo(keys.dtype).max, keys)
