"""How much each layer alone bears: accuracy on validation images as it loses more and more.

Nothing is trained. Li et al. 2017 ("Pruning Filters for Efficient ConvNets") choose per-layer
amounts from such curves; Han et al. 2015 call it a sensitivity scan.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from pruning_core.common.statistics import wilson
from pruning_core.engine.masks import masks
from pruning_core.engine.training.evaluate import Evaluation
from pruning_core.settings.pruning import PruningSpec
from pruning_core.settings.serialization import to_dict

Look = Callable[[], Evaluation]
Cut = Callable[[float], int]
Row = dict[str, Any]
WEIGHTS = to_dict(PruningSpec())


@torch.no_grad()
def layer_curve(
    name: str,
    weight: Tensor,
    scores: Tensor,
    sparsities: Sequence[float],
    chance: float,
    look: Look,
    pruning: Mapping[str, Any] = WEIGHTS,
) -> list[Row]:
    """Cut one weight to each sparsity in turn and look; afterwards the weight is as before.

    `prune` holds a `PruningSpec`'s settings; sparsities are shares of its pieces. For the rows see
    `walk`.
    """
    dense = weight.detach().clone()
    try:
        return accuracy_curve(
            lambda s: _cut(name, weight, dense, scores, s, pruning), sparsities, chance, look
        )
    finally:
        weight.copy_(dense)


def accuracy_curve(cut: Cut, sparsities: Sequence[float], chance: float, look: Look) -> list[Row]:
    """Cut to each sparsity in turn, each time from the dense model, and look.

    `cut` returns how many weights that were not zero have gone. A row holds `sparsity`, `removed`
    (these weights), `accuracy` and its 95 % Wilson interval `low`, `high`. The first row is the
    dense one. It stops early where the accuracy can no longer be told from `chance`, and leaves
    out a sparsity that removes nothing more.
    """
    rows = [_row(0.0, 0, look())]
    for sparsity in sparsities:
        removed = cut(sparsity)
        if removed == rows[-1]["removed"]:
            continue
        rows.append(_row(sparsity, removed, look()))
        if rows[-1]["low"] <= chance:
            break
    return rows


def _cut(
    name: str,
    weight: Tensor,
    dense: Tensor,
    scores: Tensor,
    sparsity: float,
    pruning: Mapping[str, Any],
) -> int:
    """Returns how many weights that were not zero have gone."""
    kept = masks.choose({name: scores}, sparsity, pruning)[name].to(weight.device)
    weight.copy_(torch.where(kept, dense, 0.0))
    return int(torch.count_nonzero(dense)) - int(torch.count_nonzero(weight))


def _row(sparsity: float, removed: int, found: Evaluation) -> Row:
    right, images = int(found.right.sum()), len(found.right)
    low, high = wilson(right, images)
    return {
        "sparsity": sparsity,
        "removed": removed,
        "accuracy": found.accuracy,
        "low": low,
        "high": high,
        "images": images,
    }
