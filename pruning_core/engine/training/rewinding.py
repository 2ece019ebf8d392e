"""From which weights a level trains after its cut.

A way to recover gives the values that all weights take before training, or None where they stay
as they are. Removed weights are zero afterwards whatever it gives, and the optimizer begins
without any momentum.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pruning_core.engine.masks.masks import Masks
from pruning_core.engine.models.build import rebuild
from pruning_core.planning.pruned import LOADED_WEIGHTS_NOTE

KEPT_FILE = "kept.sparse"
State = dict[str, Tensor]


@dataclass(frozen=True)
class Sources:
    """Where weights may come from; only what is needed is called.

    `kept` gives the baseline's state dict at the epoch it kept, `drawn` one as the model's own
    initialization makes it, from a seed of the level's own.
    """

    kept: Callable[[], State]
    drawn: Callable[[], State]


def as_trained(sources: Sources) -> State | None:
    """The weights stay as the cut left them.

    That is fine-tuning (Han et al. 2015) and learning-rate rewinding (Renda et al. 2020).
    """
    return None


def rewound(sources: Sources) -> State | None:
    """All parameters and buffers as they were at an epoch of the baseline. Renda et al. 2020.

    So biases go back too, and batch norm's weights and statistics. At epoch 0 they are those
    before the first training step: the lottery ticket of Frankle and Carbin 2019.
    """
    return sources.kept()


def redrawn(sources: Sources) -> State | None:
    """All parameters and buffers new, by the model's own initialization: a control.

    Frankle and Carbin 2019 compare lottery tickets with it: the mask stays, its weights do not.
    """
    return sources.drawn()


@torch.no_grad()
def restart(model: nn.Module, masks: Masks, state: State | None) -> None:
    """Give a model these values bit for bit, and zeros where the masks have removed a weight."""
    if state is None:
        return
    model.load_state_dict(state)
    for name, mask in masks.every.items():
        weight = masks.weights[name]
        weight.masked_fill_(~mask.to(weight.device), 0.0)


def draw(base: dict[str, Any], seed: int) -> State:
    """New weights of the baseline with these settings, by the model's own initialization."""
    torch.manual_seed(seed)
    return rebuild(base["model"], base["classes"], base["data"]["image_size"]).state_dict()


def share_done(recovery: dict[str, Any], base: dict[str, Any]) -> float:
    """At which share of its learning-rate curve, from 0 to 1, a level begins."""
    return recovery.get("rewind_epoch", 0) / max(base["epochs"], 1)


def notes(recovery: dict[str, Any], base: dict[str, Any]) -> list[str]:
    """What has to be said of the weights that a level began with."""
    first = recovery["method"] == "weight_rewinding" and recovery["rewind_epoch"] == 0
    return [LOADED_WEIGHTS_NOTE] if first and base["model"]["weights"] != "none" else []
