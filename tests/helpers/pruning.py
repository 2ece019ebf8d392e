"""Masks for tests: the scores of a criterion, and the masks chosen by them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pruning_core.engine.criteria.inputs import CriterionInputs
from pruning_core.engine.masks.masks import compute_masks
from pruning_core.methods.criteria import CRITERIA
from pruning_core.settings.pruning import PruningSpec
from pruning_core.settings.serialization import to_dict

Tensors = dict[str, Tensor]


def cut(
    weights: Tensors,
    amount: float,
    scope: str = "uniform",
    floor: float = 0.0,
    previous: Tensors | None = None,
    criterion: str = "magnitude",
    seed: int = 0,
    **pruning: Any,
) -> Tensors:
    """Masks of these weights; other names are settings of a `PruningSpec`."""
    evidence = CriterionInputs(weights, torch.Generator().manual_seed(seed))
    settings = to_dict(PruningSpec(criterion, scope, floor, **pruning))
    return compute_masks(CRITERIA.load(criterion)(evidence), amount, settings, previous)
