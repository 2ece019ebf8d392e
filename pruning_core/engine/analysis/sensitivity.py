"""Sensitivity analysis: validation accuracy with one layer pruned to increasing sparsity.

Nothing is trained. Han et al. 2015 (https://arxiv.org/abs/1506.02626) and Li et al. 2017
(https://arxiv.org/abs/1608.08710) choose the sparsity of each layer from such curves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from pruning_core.common.statistics import wilson
from pruning_core.engine.masks.masks import compute_masks
from pruning_core.engine.training.evaluate import Evaluation
from pruning_core.settings.pruning import PruningSpec
from pruning_core.settings.serialization import to_dict

Evaluate = Callable[[], Evaluation]
Prune = Callable[[float], int]
Row = dict[str, Any]
DEFAULTS = to_dict(PruningSpec())


@torch.no_grad()
def layer_curve(
    name: str,
    weight: Tensor,
    scores: Tensor,
    sparsities: Sequence[float],
    chance: float,
    evaluate: Evaluate,
    pruning: Mapping[str, Any] = DEFAULTS,
    initial: Tensor | None = None,
    groups: int = 1,
) -> list[Row]:
    """The accuracy curve of one layer, whose weight is restored afterwards.

    `weight` and its `scores` have the same shape (O, ...). `pruning` holds the settings of a
    `PruningSpec`; sparsities are shares of its pruning units. `initial` is the mask of the zeros
    of an earlier pruning, which count towards the sparsity as in every pruning step. `groups` are
    those of a convolution. See `accuracy_curve` for the rows.
    """
    dense = weight.detach().clone()
    previous = None if initial is None else {name: initial}
    settings = pruning if initial is None else {**pruning, "keep_zeros": True}

    def prune(sparsity: float) -> int:
        masks = compute_masks({name: scores}, sparsity, settings, previous, {name: groups})
        kept = masks[name].to(weight.device)
        weight.copy_(torch.where(kept, dense, 0.0))
        return int(torch.count_nonzero(dense)) - int(torch.count_nonzero(weight))

    try:
        return accuracy_curve(prune, sparsities, chance, evaluate)
    finally:
        weight.copy_(dense)


def accuracy_curve(
    prune: Prune, sparsities: Sequence[float], chance: float, evaluate: Evaluate
) -> list[Row]:
    """Prune the dense model to each sparsity, and evaluate it.

    `prune` returns the number of non-zero weights that it removed. A row holds `sparsity`,
    `removed` (this number), `accuracy` with its 95 % Wilson interval `low` to `high`, and the
    number of `images`. The first row is the dense model. The curve stops once the interval
    reaches `chance`, and leaves out a sparsity that removes no more than the one before.
    """
    rows = [_row(0.0, 0, evaluate())]
    for sparsity in sparsities:
        removed = prune(sparsity)
        if removed == rows[-1]["removed"]:
            continue
        rows.append(_row(sparsity, removed, evaluate()))
        if rows[-1]["low"] <= chance:
            break
    return rows


def _row(sparsity: float, removed: int, evaluation: Evaluation) -> Row:
    correct, images = int(evaluation.correct.sum()), len(evaluation.correct)
    low, high = wilson(correct, images)
    return {
        "sparsity": sparsity,
        "removed": removed,
        "accuracy": evaluation.accuracy,
        "low": low,
        "high": high,
        "images": images,
    }
