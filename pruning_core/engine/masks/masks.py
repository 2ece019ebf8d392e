"""Which weights stay (True) and which are removed (False), exact to the piece.

Asked amounts are fractions of the pieces (weights, kernels or filters): `round(amount * n)` of
them are removed, of each layer or of all together. Of equal scores the piece that stands first,
in the order of the layers and then of the logical (contiguous) position, goes first, so a mask
does not depend on the memory format.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pruning_core.common.errors import SpecError
from pruning_core.engine.export import sparse_file
from pruning_core.engine.masks.ranking import sortable
from pruning_core.engine.masks.selection import REMOVED, Ranked, select
from pruning_core.engine.masks.units import as_mask, joined, pieces_left
from pruning_core.engine.models.layers import sparsities
from pruning_core.storage.stage_context import StageError

__all__ = ["Masks", "check", "choose", "empty_layers", "load", "save"]
__all__ += ["sparsities"]

Tensors = dict[str, Tensor]


def choose(
    scores: Tensors,
    amount: float,
    pruning: Mapping[str, Any],
    previous: Tensors | None = None,
) -> Tensors:
    """Masks, of the shape and memory format of the scores, that remove exactly `amount`.

    The lowest scores go first. `prune` holds a `PruningSpec`'s settings; its
    granularity says what goes as one piece (amounts are shares of the pieces), its scope how
    many go of each layer. What `previous` removed stays removed and counts. Raises `SpecError`
    for an amount outside [0, 1), one that the keep-floor does not allow, one below what is
    removed already, and where there are no weights.
    """
    if not 0 <= amount < 1:
        raise SpecError("amount", f"{amount} is out of range: it must be at least 0 and below 1.")
    if not scores:
        raise SpecError("pruning.layers", "the model has no prunable layer of this choice.")
    ranked = {}
    for name, pieces in joined(scores, pruning).items():
        before = None if previous is None else previous.get(name)
        ranked[name] = Ranked(_keys(pieces, before, pruning), tuple(scores[name].shape))
    pruned = select(ranked, amount, pruning)
    return {name: as_mask(~pruned[name], score, pruning) for name, score in scores.items()}


def _keys(pieces: Tensor, before: Tensor | None, pruning: Mapping[str, Any]) -> np.ndarray:
    keys = sortable(pieces)
    if before is None:
        return keys
    return np.where(pieces_left(before, pruning), keys, keys.dtype.type(REMOVED))


def empty_layers(masks: Tensors) -> list[str]:
    """The layers of which nothing is left."""
    return [name for name, mask in masks.items() if mask.numel() and not bool(mask.any())]


@torch.no_grad()
def check(weights: Tensors, masks: Tensors) -> None:
    """Raises `RuntimeError`, which names the layer, where a removed weight is not zero.

    Where the training diverged it is a `StageError`.
    """
    for name, mask in masks.items():
        back = weights[name].detach()[~mask.to(weights[name].device)]
        back = back[back != 0]
        if back.numel() and not bool(torch.isfinite(back).all()):
            message = f"The training diverged: {name} is not finite. Lower the learning rate."
            raise StageError(message)
        if back.numel():
            raise RuntimeError(f"{back.numel():,} removed weights of {name} are not zero.")


def save(masks: Tensors, path: Path) -> int:
    """Write masks, eight weights a byte and compressed. Returns the bytes of the file."""
    return sparse_file.save(masks, path)


def load(path: Path) -> Tensors:
    """Read what `save` wrote. Raises `SparseFileError` where the file is damaged."""
    return sparse_file.load(path)


class Masks:
    """Holds the removed weights of a model at zero while it trains.

    `weights` are the parameters themselves, `kept` their masks; `held` are masks of others that
    are kept at zero beside them, such as batch norm's behind a dead filter. Call `multiply` once,
    at the cut, and `multiply_gradients` before every optimizer step: a removed weight with neither
    gradient nor momentum does not move.
    """

    def __init__(self, weights: Tensors, kept: Tensors, held: Tensors | None = None) -> None:
        self.kept, self.held = kept, held or {}
        every = self.every
        self.weights = {name: weights[name] for name in every}
        self._parameters = list(self.weights.values())
        # Of the very strides of the weights, without which a fused product takes a slow way.
        pairs = [(weights[name], mask) for name, mask in every.items()]
        self._factors = [torch.empty_like(weight).copy_(mask) for weight, mask in pairs]

    @property
    def every(self) -> Tensors:
        """The masks of the weights and of what is held beside them."""
        return {**self.kept, **self.held}

    @torch.no_grad()
    def multiply(self) -> None:
        """Removed weights become zero again. Adding 0 turns the -0.0 of a product into 0.0."""
        if self._parameters:
            torch._foreach_mul_(self._parameters, self._factors)
            torch._foreach_add_(self._parameters, 0.0)

    @torch.no_grad()
    def multiply_gradients(self) -> None:
        """Zero the gradients of removed weights, in one go."""
        pairs = zip(self._parameters, self._factors, strict=True)
        found = [(weight.grad, factor) for weight, factor in pairs if weight.grad is not None]
        if found:
            torch._foreach_mul_([grad for grad, _ in found], [factor for _, factor in found])

    def check(self) -> None:
        """Raises `RuntimeError` where a removed weight is not zero."""
        check(self.weights, self.every)

    @torch.no_grad()
    def clear_state(self, optimizer: torch.optim.Optimizer) -> None:
        """Forget the optimizer's momentum of removed weights."""
        for parameter, factor in zip(self._parameters, self._factors, strict=True):
            for value in optimizer.state.get(parameter, {}).values():
                if isinstance(value, Tensor) and value.shape == parameter.shape:
                    value.mul_(factor)
