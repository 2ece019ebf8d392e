"""Dense models and settings of structured pruning, as its tests need them."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from pruning_core.engine.models.build import make

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
