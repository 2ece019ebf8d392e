"""Masks as tests need them: the scores of a criterion, and the masks that follow from them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pruning_core.engine.criteria.inputs import CriterionInputs
from pruning_core.engine.masks.masks import compute_masks
from pruning_core.methods.allocation import ALLOCATIONS
from pruning_core.methods.criteria import CRITERIA
from pruning_core.settings.pruning import PruningSpec
from pruning_core.settings.serialization import to_dict

Tensors = dict[str, Tensor]
# The allocations that follow from scores and sizes. In a pruning step, the one by a budget becomes
# a custom one, with sparsities from a sensitivity analysis.
MASK_ALLOCATIONS = [name for name, one in ALLOCATIONS.items() if not one.reads_sensitivity]


def masks_of(
    weights: Tensors,
    amount: float,
    allocation: str = "uniform",
    min_density: float = 0.0,
    previous: Tensors | None = None,
    criterion: str = "magnitude",
    seed: int = 0,
    **pruning: Any,
) -> Tensors:
    """Masks of these weights; further names are settings of a `PruningSpec`."""
    inputs = CriterionInputs(weights, torch.Generator().manual_seed(seed))
    spec = PruningSpec(
        criterion=criterion, allocation=allocation, min_density=min_density, **pruning
    )
    return compute_masks(CRITERIA.load(criterion)(inputs), amount, to_dict(spec), previous)
