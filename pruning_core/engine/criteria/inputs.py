"""What a criterion may look at."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from pruning_core.storage.stage_context import StageError

Tensors = dict[str, Tensor]
Batch = tuple[Tensor, Tensor]
RATE = "a lower learning rate before the cut may help"


def _choose_none(scores: Tensors, amount: float) -> Tensors:
    raise ValueError("This criterion cuts in steps, and the evidence does not say how.")


@dataclass(frozen=True)
class Evidence:
    """What a criterion may look at; each takes what it needs.

    `weights` are the parameters of `model` that can be pruned, by name. `batches` gives training
    images, normalized, (N, 3, S, S), and their labels (N,), where the model is; it may be gone
    through more than once. `movement` is what the training before the cut added up for each
    weight. `choose` tells which weights (True) would stay at an amount, `target` is the amount
    of this cut and `image_size` is S.
    """

    weights: Tensors
    generator: torch.Generator = field(default_factory=torch.Generator)
    model: nn.Module = field(default_factory=nn.Module)
    batches: Iterable[Batch] = ()
    movement: Tensors = field(default_factory=dict)
    choose: Callable[[Tensors, float], Tensors] = _choose_none
    target: float = 0.0
    image_size: int = 0


Criterion = Callable[[Evidence], Tensors]


def checked(criterion: str, scores: Tensors) -> Tensors:
    """The scores. Raises `StageError` where one is not a finite number, and where all are 0."""
    for name, score in scores.items():
        if not bool(torch.isfinite(score).all()):
            raise refusal(criterion, f"a score of {name} is not a finite number; {RATE}")
    if not any(bool(score.any()) for score in scores.values()):
        raise refusal(criterion, "it gives every weight the score 0")
    return scores


def refusal(criterion: str, why: str) -> StageError:
    """The error of a criterion that cannot score this model."""
    return StageError(
        f"The criterion `{criterion}` cannot be used here: {why}. Take another criterion, such as "
        "`magnitude`."
    )
