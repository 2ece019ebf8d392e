"""Masks: which weights stay (True) and which are pruned (False), exact to the pruning unit.

An amount is a fraction of the units (weights, blocks, kernels or filters): `round(amount * n)` of
n units are pruned, of each layer or over all layers. Of units with equal scores the first is
pruned first, in the order of the layers and then of the logical (contiguous) position, so a mask
does not depend on the memory format.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pruning_core.common.errors import Share, SpecError
from pruning_core.engine.export import sparse_file
from pruning_core.engine.masks.ranking import sortable_keys
from pruning_core.engine.masks.selection import REMOVED, LayerKeys, select_units
from pruning_core.engine.masks.units import (
    NO_GROUPS,
    joined_scores,
    mask_of_units,
    remaining_units,
)
from pruning_core.engine.models.computed_weights import CHANCE_ZEROS
from pruning_core.engine.models.layers import plain_name, weights
from pruning_core.storage.stage_context import StageError

Tensors = dict[str, Tensor]


def compute_masks(
    scores: Tensors,
    amount: float,
    pruning: Mapping[str, Any],
    previous: Tensors | None = None,
    groups: Mapping[str, int] = NO_GROUPS,
) -> Tensors:
    """Masks that prune exactly `amount` of the units, those with the lowest scores.

    Scores and masks are (O, I, *K) by name of the weight, in the same memory format. `pruning`
    holds a `PruningSpec`'s settings: the granularity says what a unit is, the allocation how many
    units of each layer are pruned. Units that the `previous` masks prune stay pruned, and count.
    `groups` are those of grouped convolutions by name: no block extends over two of them.
    With `keep_zeros` in `pruning` an amount below the current sparsity prunes no more units.

    Raises `SpecError` for an amount outside [0, 1), one that the minimum density does not allow,
    one below the current sparsity, and a model without prunable weights.
    """
    if not 0 <= amount < 1:
        raise SpecError(
            "amount",
            "{amount} is out of range: it must be at least {low} and below {high}.",
            amount=Share(amount),
            low=Share(0.0),
            high=Share(1.0),
        )
    if not scores:
        raise SpecError("pruning.layers", "the model has no prunable layer with this setting.")
    layers = {}
    for name, unit_scores in joined_scores(scores, pruning, groups).items():
        keys = sortable_keys(unit_scores)
        if previous and name in previous:
            remaining = remaining_units(previous[name], pruning, groups.get(name, 1))
            keys = np.where(remaining, keys, keys.dtype.type(REMOVED))
        layers[name] = LayerKeys(keys, tuple(scores[name].shape))
    pruned = select_units(layers, amount, pruning)
    return {
        name: mask_of_units(~pruned[name], score, pruning, groups.get(name, 1))
        for name, score in scores.items()
    }


def zero_masks(model: nn.Module) -> Tensors:
    """Masks (O, I, *K) of the prunable weights with zeros of an earlier pruning.

    A model was pruned where a layer has more than `CHANCE_ZEROS` of zeros; then the zeros of all
    its layers count, because global pruning removes few weights of some. Left out are layers of
    zeros only, which were initialized so, and weights that hooks of `torch.nn.utils.prune` mask.
    """
    hooked = {plain_name(name) for name, _ in model.named_parameters() if name.endswith("_orig")}
    named = {name: w for name, w in weights(model, "all").items() if name not in hooked}
    masks = {name: mask for name, w in named.items() if bool((mask := w.detach() != 0).any())}
    zeros = {name: mask.numel() - int(mask.sum()) for name, mask in masks.items()}
    if not any(zeros[name] > CHANCE_ZEROS * mask.numel() for name, mask in masks.items()):
        return {}
    return {name: mask for name, mask in masks.items() if zeros[name]}


def zero_layers(model: nn.Module) -> list[str]:
    """The names of the prunable weights (O, I, *K) that hold zeros only."""
    named = weights(model, "all")
    return [name for name, weight in named.items() if weight.numel() and not bool(weight.any())]


def empty_layers(masks: Tensors) -> list[str]:
    """The names of the layers whose mask (O, I, *K) keeps no weight."""
    return [name for name, mask in masks.items() if mask.numel() and not bool(mask.any())]


@torch.no_grad()
def check_zeros(weights: Tensors, masks: Tensors) -> None:
    """Check that every pruned weight is zero. Both are (O, I, *K) by name.

    Raises `RuntimeError`, which names the layer; `StageError` where the training diverged.
    """
    for name, mask in masks.items():
        pruned = weights[name].detach()[~mask.to(weights[name].device)]
        nonzero = pruned[pruned != 0]
        if nonzero.numel() and not bool(torch.isfinite(nonzero).all()):
            message = f"The training diverged: {name} is not finite. Lower the learning rate."
            raise StageError(message)
        if nonzero.numel():
            raise RuntimeError(f"{nonzero.numel():,} pruned weights of {name} are not zero.")


def save(masks: Tensors, path: Path) -> int:
    """Write masks (O, I, *K), eight weights per byte and compressed. Returns the file's bytes."""
    return sparse_file.save(masks, path)


def load(path: Path) -> Tensors:
    """The masks (O, I, *K) that `save` wrote. Raises `SparseFileError` for a damaged file."""
    return sparse_file.load(path)


class Masks:
    """Keeps the pruned weights of a model at zero while it trains.

    `weights` are the parameters themselves, `weight_masks` their masks; `norm_masks` are masks of
    other parameters that are kept at zero, such as those of batch norm after a zero filter.
    Call `multiply` once, after pruning, and `multiply_gradients` before every optimizer step: a
    pruned weight with neither gradient nor momentum does not move.
    """

    def __init__(
        self, weights: Tensors, weight_masks: Tensors, norm_masks: Tensors | None = None
    ) -> None:
        self.weight_masks, self.norm_masks = weight_masks, norm_masks or {}
        self.weights = {name: weights[name] for name in self.all}
        self._parameters = list(self.weights.values())
        # With exactly the strides of the weights; other strides make the fused products slow.
        pairs = [(weights[name], mask) for name, mask in self.all.items()]
        self._factors = [torch.empty_like(weight).copy_(mask) for weight, mask in pairs]

    @property
    def all(self) -> Tensors:
        """All masks by name of the parameter: of weights (O, I, *K) and of batch norm (O,)."""
        return {**self.weight_masks, **self.norm_masks}

    @torch.no_grad()
    def multiply(self) -> None:
        """Set the pruned weights to zero. Adding 0 turns the -0.0 of a product into 0.0."""
        if self._parameters:
            torch._foreach_mul_(self._parameters, self._factors)
            torch._foreach_add_(self._parameters, 0.0)

    @torch.no_grad()
    def multiply_gradients(self) -> None:
        """Set the gradients of pruned weights to zero, in one fused operation."""
        pairs = zip(self._parameters, self._factors, strict=True)
        trained = [(weight.grad, factor) for weight, factor in pairs if weight.grad is not None]
        if trained:
            torch._foreach_mul_([grad for grad, _ in trained], [factor for _, factor in trained])

    def check(self) -> None:
        """Check that every pruned weight is zero, as `check_zeros` does."""
        check_zeros(self.weights, self.all)

    @torch.no_grad()
    def clear_state(self, optimizer: torch.optim.Optimizer) -> None:
        """Set the optimizer's state of pruned weights, such as momentum, to zero."""
        for parameter, factor in zip(self._parameters, self._factors, strict=True):
            for value in optimizer.state.get(parameter, {}).values():
                if isinstance(value, Tensor) and value.shape == parameter.shape:
                    value.mul_(factor)
