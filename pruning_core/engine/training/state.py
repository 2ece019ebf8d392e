"""A model in training: its weights, its masks, and the optimizer's state."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from pruning_core.engine.masks.masks import Masks
from pruning_core.engine.training.loss import Objective
from pruning_core.engine.training.movement import Movement
from pruning_core.methods.optimizers import OPTIMIZERS

Settings = dict[str, Any]


@dataclass
class Trainee:
    """A model in training; `masks` is None where nothing is pruned.

    `precision` is `fp32` or `bf16`, of the products in training; `parts` is in how many parts
    a batch goes through; `skipped` (a number on the device, so that counting waits for
    nothing) is how many steps were left out; `objective` is the loss; `kept` is what `keep` kept;
    `movement` is None where no cut will ask for it.
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
    kept: dict[str, Tensor] = field(default_factory=dict)
    movement: Movement | None = None

    def state(self) -> dict[str, Any]:
        """All that a later process needs to go on with the same bits."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "history": list(self.history),
            "seconds": self.seconds,
            "parts": self.parts,
            "skipped": self.skipped,
            "kept": self.kept,
            "movement": self.movement.total if self.movement else {},
            "masks": self.masks.kept if self.masks else {},
        }

    def keep(self) -> None:
        """Keep a copy of the weights and buffers as they are now, to be rewound to."""
        self.kept = {name: value.clone() for name, value in self.model.state_dict().items()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state that `state` gave, with its masks.

        Chosen anew on a GPU, by scores that are sums in any order, these could be others.
        """
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.history, self.seconds = list(state["history"]), state["seconds"]
        self.parts, self.skipped = state["parts"], state["skipped"].to(self.skipped.device)
        self.kept = dict(state["kept"])
        if self.masks and (kept := state.get("masks")):
            self.masks = Masks(self.masks.weights, kept, self.masks.held)
        if self.movement:
            self.movement.restore(state["movement"])


def make_optimizer(model: nn.Module, settings: Settings) -> Optimizer:
    """The optimizer that a `TrainSpec` (as a dict) describes."""
    optimizer: Optimizer = OPTIMIZERS.load(settings["optimizer"])(
        list(model.parameters()), settings
    )
    return optimizer
