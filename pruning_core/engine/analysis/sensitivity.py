"""Sensitivity analysis: validation accuracy and loss with one layer pruned to rising sparsity.

Nothing is trained. Han et al. 2015 (https://arxiv.org/abs/1506.02626) and Li et al. 2017
(https://arxiv.org/abs/1608.08710) choose the sparsity of each layer from such curves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
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
Correction = Callable[[Tensor], AbstractContextManager[None]]
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
    correction: Correction | None = None,
) -> list[Row]:
    """The accuracy curve of one layer, whose weight is restored afterwards.

    `weight` and its `scores` have the same shape (O, ...). `pruning` holds the settings of a
    `PruningSpec`; sparsities are shares of its pruning units. `initial` is the mask of the zeros
    of an earlier pruning, which count towards the sparsity as in every pruning step. `groups` are
    those of a convolution. `correction` corrects the pruned layer, given its mask. See
    `accuracy_curve` for the rows.
    """
    dense = weight.detach().clone()
    masks: dict[str, Tensor] = {}
    previous = None if initial is None else {name: initial}
    settings = pruning if initial is None else {**pruning, "keep_zeros": True}

    def prune(sparsity: float) -> int:
        masks.update(compute_masks({name: scores}, sparsity, settings, previous, {name: groups}))
        weight.copy_(torch.where(masks[name].to(weight.device), dense, 0.0))
        return int(torch.count_nonzero(dense)) - int(torch.count_nonzero(weight))

    def evaluate_corrected() -> Evaluation:
        assert correction is not None
        with correction(masks[name]):
            return evaluate()

    try:
        corrected = evaluate_corrected if correction else None
        return accuracy_curve(prune, sparsities, chance, evaluate, corrected)
    finally:
        weight.copy_(dense)


def accuracy_curve(
    prune: Prune,
    sparsities: Sequence[float],
    chance: float,
    evaluate: Evaluate,
    evaluate_corrected: Evaluate | None = None,
) -> list[Row]:
    """Prune the dense model to each sparsity, and evaluate it.

    `prune` returns the number of non-zero weights that it removed. A row holds `sparsity`,
    `removed` (this number), `accuracy` with its 95 % Wilson interval `low` to `high`, `loss` (the
    mean cross-entropy), and the number of `images`; with `evaluate_corrected`, which evaluates the
    pruned model with a correction, also `corrected_accuracy` and `corrected_loss`. The first row
    is the dense model. The curve stops once the intervals of all accuracies of a row reach
    `chance`, and leaves out a sparsity that removes no more than the one before.
    """
    dense = evaluate()
    rows = [_row(0.0, 0, dense, dense if evaluate_corrected else None)]
    for sparsity in sparsities:
        removed = prune(sparsity)
        if removed == rows[-1]["removed"]:
            continue
        pruned = evaluate()
        corrected = evaluate_corrected() if evaluate_corrected else None
        rows.append(_row(sparsity, removed, pruned, corrected))
        if max(_lowest(one) for one in (pruned, corrected or pruned)) <= chance:
            break
    return rows


def _lowest(evaluation: Evaluation) -> float:
    """The lower end of the 95 % interval of an accuracy."""
    return wilson(int(evaluation.correct.sum()), len(evaluation.correct))[0]


def _row(
    sparsity: float, removed: int, evaluation: Evaluation, corrected: Evaluation | None
) -> Row:
    correct, images = int(evaluation.correct.sum()), len(evaluation.correct)
    low, high = wilson(correct, images)
    row = {
        "sparsity": sparsity,
        "removed": removed,
        "accuracy": evaluation.accuracy,
        "low": low,
        "high": high,
        "images": images,
        "loss": evaluation.loss,
    }
    if corrected:
        row |= {"corrected_accuracy": corrected.accuracy, "corrected_loss": corrected.loss}
    return row
