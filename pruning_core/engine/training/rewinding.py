"""The weights from which training starts after a pruning step.

A recovery method returns the values that all weights take before training, or None where they stay
as they are. Pruned weights are zero afterwards in any case, and the optimizer starts without
momentum.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pruning_core.engine.export import sparse_file
from pruning_core.engine.masks.masks import Masks
from pruning_core.engine.models.build import rebuild
from pruning_core.engine.training.train import derived_seed
from pruning_core.methods.recovery import RECOVERY_METHODS
from pruning_core.planning.model_types import BaselineSettings, PrunedSettings, StructuredSettings
from pruning_core.planning.pruned import LOADED_WEIGHTS_NOTE
from pruning_core.storage.stage_context import Context

KEPT_FILE = "kept.sparse"
StateDict = dict[str, Tensor]


@dataclass(frozen=True)
class WeightSources:
    """Where weights may come from; only the source that is needed is called.

    `rewound` gives the baseline's state dict at the rewind epoch, `random` a new one from the
    model's initialization, with a seed of the pruning step.
    """

    rewound: Callable[[], StateDict]
    random: Callable[[], StateDict]


def keep_weights(sources: WeightSources) -> StateDict | None:
    """The remaining weights stay as they are.

    Fine-tuning: Han et al. 2015, https://arxiv.org/abs/1506.02626; learning-rate rewinding: Renda
    et al. 2020, https://arxiv.org/abs/2003.02389
    """
    return None


def rewind_weights(sources: WeightSources) -> StateDict | None:
    """All parameters and buffers as they were at an epoch of the baseline.

    Biases and the weights and statistics of batch norm are rewound too. At epoch 0 they are those
    before the first training step: the lottery ticket of Frankle and Carbin 2019,
    https://arxiv.org/abs/1803.03635; later epochs: Renda et al. 2020,
    https://arxiv.org/abs/2003.02389
    """
    return sources.rewound()


def reinitialize(sources: WeightSources) -> StateDict | None:
    """All parameters and buffers new, from the model's initialization: a control.

    The mask stays, its weights do not. Frankle and Carbin 2019, https://arxiv.org/abs/1803.03635,
    compare lottery tickets with it.
    """
    return sources.random()


def initial_weights(
    context: Context[PrunedSettings | StructuredSettings], root: str, base: BaselineSettings
) -> StateDict | None:
    """The dense weights from which a stage's recovery method trains; None where they stay.

    `root` is the key of its baseline, `base` the settings of that.
    """
    settings, store = context.settings, context.store
    seed = derived_seed(settings.seed, "new weights", settings.target)
    sources = WeightSources(
        rewound=lambda: sparse_file.load(store.file(root, KEPT_FILE)),
        random=lambda: random_weights(base, seed),
    )
    state: StateDict | None = RECOVERY_METHODS.load(settings.recovery["method"])(sources)
    return state


@torch.no_grad()
def set_weights(model: nn.Module, masks: Masks, state: StateDict | None) -> None:
    """Give a model these values bit for bit, and zeros where a weight is pruned."""
    if state is None:
        return
    model.load_state_dict(state)
    for name, mask in masks.all.items():
        weight = masks.weights[name]
        weight.masked_fill_(~mask.to(weight.device), 0.0)


def random_weights(base: BaselineSettings, seed: int) -> StateDict:
    """New weights for a baseline with these settings, from the model's initialization."""
    torch.manual_seed(seed)
    return rebuild(base.model, base.classes, base.data["image_size"]).state_dict()


def schedule_start(recovery: dict[str, Any], base: BaselineSettings) -> float:
    """The share of its learning-rate schedule, from 0 to 1, at which training starts."""
    return recovery.get("rewind_epoch", 0) / max(base.epochs, 1)


def rewinding_notes(recovery: dict[str, Any], base: BaselineSettings) -> list[str]:
    """Notes on the weights from which training started."""
    method = RECOVERY_METHODS[recovery["method"]]
    to_start = method.rewinds_weights and recovery["rewind_epoch"] == 0
    return [LOADED_WEIGHTS_NOTE] if to_start and base.model["weights"] != "none" else []
