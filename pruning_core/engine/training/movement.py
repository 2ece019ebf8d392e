"""What each step of a training does to the size of each weight, added up."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.optim import SGD

Tensors = dict[str, Tensor]


class Movement:
    """The sum over steps of -weight x gradient, by weight. Sanh et al. 2020.

    Above 0 where the training pushed the weight away from zero, below where towards it. The
    gradients are those the optimizer sees, clipped and without those of removed weights.
    """

    def __init__(self, weights: Tensors) -> None:
        self.weights = weights
        self.total = {name: torch.zeros_like(weight) for name, weight in weights.items()}
        # A step of rate 1 subtracts; fused, it is left out where the model's own step is.
        self._adder = SGD(list(self.total.values()), lr=1.0, fused=True)

    @torch.no_grad()
    def add(self, overflow: Tensor) -> None:
        """Count a step, before it is done; not where `overflow` is 1."""
        pairs = [(w, self.total[name]) for name, w in self.weights.items() if w.grad is not None]
        slopes = [weight.grad for weight, _ in pairs if weight.grad is not None]
        products = torch._foreach_mul([weight for weight, _ in pairs], slopes)
        for (_, total), product in zip(pairs, products, strict=True):
            total.grad = product
        self._adder.found_inf = overflow  # type: ignore[attr-defined]
        self._adder.step()
        self._adder.zero_grad(set_to_none=True)

    def restore(self, total: Tensors) -> None:
        """Go on from what an earlier process had added up."""
        for name, value in total.items():
            self.total[name].copy_(value)
