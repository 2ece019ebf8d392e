"""Which layers a spec prunes, and how much of each a global cut must leave."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Layer:
    """A weight that can be pruned. `name` is its parameter's, such as `conv1.weight`."""

    name: str
    kind: str  # "conv", "depthwise", "linear" or "attention"
    role: str  # "stem", "classifier" or ""
    shape: tuple[int, ...]
    size: int


LAYER_CHOICES: dict[str, Callable[[Layer], bool]] = {
    "all": lambda layer: True,
    "spared": lambda layer: layer.kind != "depthwise" and not layer.role,
}


def floor_size(size: int, keep_floor: float) -> int:
    """How many weights a layer of `size` keeps at least in the global scope.

    One at least under any floor above 0; a floor of 0 is none, as in torch's own
    `global_unstructured`, and a layer may lose all.
    """
    return min(size, math.ceil(round(keep_floor * size, 6)))
