"""What a criterion may use, and the checks of its scores."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from pruning_core.storage.stage_context import StageError

Tensors = dict[str, Tensor]
Batch = tuple[Tensor, Tensor]
LOWER_RATE = "a lower learning rate before the pruning step may help"


def _no_masks(scores: Tensors, amount: float) -> Tensors:
    raise ValueError("This criterion prunes in rounds, but its inputs have no `compute_masks`.")


@dataclass(frozen=True)
class CriterionInputs:
    """What a criterion may use; each takes what it needs.

    `weights` are the prunable parameters (O, I, *K) of `model` by name. `batches` are calibration
    images (N, 3, S, S), normalized, with labels (N,), on the device of the model; they can be
    iterated more than once. `movement` is the weight movement (O, I, *K) that training before the
    pruning step accumulated. `compute_masks` gives the masks (True: stays) of scores at an
    amount, `target` is the amount of this pruning step, and `image_size` is S. `block` output
    channels are pruned together; it is 1 for other granularities than blocks.
    """

    weights: Tensors
    generator: torch.Generator = field(default_factory=torch.Generator)
    model: nn.Module = field(default_factory=nn.Module)
    batches: Iterable[Batch] = ()
    movement: Tensors = field(default_factory=dict)
    compute_masks: Callable[[Tensors, float], Tensors] = _no_masks
    target: float = 0.0
    image_size: int = 0
    block: int = 1


def checked_scores(criterion: str, scores: Tensors) -> Tensors:
    """The scores (O, I, *K). Raises `StageError` where one is not finite, and where all are 0."""
    for name, score in scores.items():
        if not bool(torch.isfinite(score).all()):
            raise criterion_error(criterion, f"a score of {name} is not finite; {LOWER_RATE}")
    if not any(bool(score.any()) for score in scores.values()):
        raise criterion_error(criterion, "it gives every weight the score 0")
    return scores


def criterion_error(criterion: str, reason: str) -> StageError:
    """The error of a criterion that cannot score this model."""
    return StageError(
        f"The criterion `{criterion}` cannot be used here: {reason}. Choose another criterion, "
        "such as `magnitude`."
    )
