"""RigL: drop the remaining weights with the lowest scores, regrow as many pruned weights.

Evci et al. 2020, "Rigging the Lottery: Making All Tickets Winners",
https://arxiv.org/abs/1911.11134
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor

from pruning_core.engine.criteria.gradients import summed_gradients
from pruning_core.engine.criteria.inputs import CriterionInputs
from pruning_core.engine.masks.ranking import smallest, sortable_keys
from pruning_core.engine.masks.units import (
    NO_GROUPS,
    joined_scores,
    mask_of_units,
    remaining_units,
)
from pruning_core.engine.models.modes import training_mode

Tensors = dict[str, Tensor]
GRADIENT_NORM = {"join": "norm"}  # gradients of a unit are joined as its magnitudes are


def growth_scores(inputs: CriterionInputs) -> Tensors:
    """The absolute gradient (O, I, *K) of the loss for each weight, pruned ones too.

    It is computed in training mode, on all images of the inputs. Raises `StageError` where the
    loss is not finite.
    """
    # Batch norm needs two images; a last batch of one is left out, as in training.
    batches = [(images, labels) for images, labels in inputs.batches if len(labels) > 1]
    with training_mode(inputs.model):
        gradients = summed_gradients(replace(inputs, batches=batches), "rigl")
    return {name: gradient.abs() for name, gradient in gradients.items()}


def drop_and_grow(
    masks: Tensors,
    scores: Tensors,
    growth: Tensors,
    share: float,
    pruning: Mapping[str, Any],
    groups: Mapping[str, int] = NO_GROUPS,
) -> Tensors:
    """New masks with as many units in each layer, after `share` of them moved.

    `masks`, `scores` and `growth` are (O, I, *K) by name. In each layer `share` of the remaining
    units (rounded), those with the lowest `scores`, are dropped. As many are then grown among all
    that are missing, including the ones just dropped: those with the largest `growth`. A unit
    with growth 0 is never grown, because it would stay zero; then fewer are dropped. `pruning`
    holds a `PruningSpec`'s settings, `groups` those of grouped convolutions by name. Of equal units
    the first is dropped, and the first is grown.
    """
    dropping = joined_scores(scores, pruning, groups)
    growing = joined_scores(growth, {**pruning, **GRADIENT_NORM}, groups)
    return {
        name: _moved(mask, dropping[name], growing[name], share, pruning, groups.get(name, 1))
        for name, mask in masks.items()
    }


def _moved(
    mask: Tensor,
    scores: Tensor,
    growth: Tensor,
    share: float,
    pruning: Mapping[str, Any],
    groups: int,
) -> Tensor:
    """The new mask of one layer."""
    remaining = remaining_units(mask, pruning, groups)
    keys, growth_keys = sortable_keys(scores), sortable_keys(growth)
    growable = int(np.count_nonzero((growth_keys > 0) & ~remaining))
    count = min(round(share * int(np.count_nonzero(remaining))), growable)
    staying = remaining & ~smallest(_at_end(keys, ~remaining), count)
    # Descending order by ascending keys: the largest growth becomes 0.
    descending = growth_keys.max(initial=0) - growth_keys
    units = staying | smallest(_at_end(descending, staying), count)
    return mask_of_units(units, mask, pruning, groups)


def _at_end(keys: np.ndarray, units: np.ndarray) -> np.ndarray:
    """Keys (U,) in which the `units` (True) come after all others."""
    return np.where(units, np.iinfo(keys.dtype).max, keys)
