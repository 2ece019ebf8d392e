"""A model in training: its weights, its masks, and the state of its optimizer."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from pruning_core.engine.masks.masks import Masks
from pruning_core.engine.training.evaluate import Evaluation
from pruning_core.engine.training.loss import Objective

Tensors = dict[str, Tensor]


class Movement:
    """The sum over training steps of -weight * gradient, (O, I, *K) by name of the weight.

    It is above 0 where training moved the weight away from zero, below where towards zero. The
    gradients are those that the optimizer uses: clipped, and zero for pruned weights.
    Sanh et al. 2020, https://arxiv.org/abs/2005.07683
    """

    def __init__(self, weights: Tensors) -> None:
        self.weights = weights
        self.total = {name: torch.zeros_like(weight) for name, weight in weights.items()}
        # A fused SGD step with learning rate 1 subtracts the product, and is skipped on the device
        # in the same steps as the model's own step, without waiting for the number.
        self._accumulator = SGD(list(self.total.values()), lr=1.0, fused=True)

    @torch.no_grad()
    def add(self, overflow: Tensor) -> None:
        """Add the step that is about to be done; nothing where `overflow` (a scalar) is 1."""
        trained = [(w, self.total[name]) for name, w in self.weights.items() if w.grad is not None]
        gradients = [weight.grad for weight, _ in trained if weight.grad is not None]
        products = torch._foreach_mul([weight for weight, _ in trained], gradients)
        for (_, total), product in zip(trained, products, strict=True):
            total.grad = product
        self._accumulator.found_inf = overflow  # type: ignore[attr-defined]
        self._accumulator.step()
        self._accumulator.zero_grad(set_to_none=True)

    def restore(self, total: Tensors) -> None:
        """Continue from the sums (O, I, *K) of an earlier process."""
        for name, value in total.items():
            self.total[name].copy_(value)


@dataclass
class TrainingState:
    """A model in training.

    `masks` is None where nothing is pruned. `precision` is that of training, `fp32` or `bf16`.
    `seconds` is the training time, without evaluation. A batch is processed in `parts`. `skipped`
    counts the steps that were skipped; it is a scalar on the device, so that counting never waits.
    `kept_weights` is the state dict to rewind to. `movement` is None where no pruning step needs
    it. `validation` is the evaluation after the last epoch; None before the first.
    """

    model: nn.Module
    optimizer: Optimizer
    masks: Masks | None = None
    precision: str = "fp32"
    history: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    parts: int = 1
    skipped: Tensor = field(default_factory=lambda: torch.zeros(()))
    objective: Objective = field(default_factory=Objective)
    kept_weights: Tensors = field(default_factory=dict)
    movement: Movement | None = None
    validation: Evaluation | None = None

    def state_dict(self) -> dict[str, Any]:
        """Everything that a later process needs to continue with the same bits."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "history": list(self.history),
            "seconds": self.seconds,
            "parts": self.parts,
            "skipped": self.skipped,
            "kept": self.kept_weights,
            "movement": self.movement.total if self.movement else {},
            "masks": self.masks.weight_masks if self.masks else {},
        }

    def keep_weights(self) -> None:
        """Copy the current parameters and buffers, to rewind to them later."""
        self.kept_weights = copy.deepcopy(self.model.state_dict())

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a `state_dict`, with its masks.

        Masks computed again on a GPU could differ, because sums there have no fixed order.
        """
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.history, self.seconds = list(state["history"]), state["seconds"]
        self.parts, self.skipped = state["parts"], state["skipped"].to(self.skipped.device)
        self.kept_weights = state["kept"]
        if self.masks and (weight_masks := state.get("masks")):
            self.masks = Masks(self.masks.weights, weight_masks, self.masks.norm_masks)
        if self.movement:
            self.movement.restore(state["movement"])
