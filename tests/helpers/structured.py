"""Dense models and settings of structured pruning, as its tests need them."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from pruning_core.engine.models.build import make
from pruning_core.engine.structured.groups import trace
from pruning_core.engine.structured.importance import Scorer
from pruning_core.engine.structured.width_plan import (
    WidthPlan,
    plan_widths,
    remove_channels,
)

SIZE, CLASS_COUNT = 32, 10


def built(name: str) -> nn.Module:
    """A dense model for images of 32x32 pixels, in evaluation mode."""
    torch.manual_seed(0)
    return make(name, CLASS_COUNT, image_size=SIZE).eval()


def settings(**changes: Any) -> dict[str, Any]:
    """The settings of a pruning step to half of the MACs."""
    return {
        **{"target": "0.5", "ratio_of": "macs", "scope": "local", "round_to": 8, "max_ratio": 0.9},
        **changes,
    }


def prune_channels(
    model: nn.Module, settings: dict[str, Any], image_size: int, scorer: Scorer
) -> tuple[nn.Module, WidthPlan]:
    """Trace a model, plan its widths and remove the channels in place. Returns both."""
    graph = trace(model, image_size)
    plan = plan_widths(model, graph, settings, image_size, scorer)
    return remove_channels(model, graph, plan), plan
