"""Which layers a spec prunes, and how much of each a global cut must leave."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

ROLES = ("stem", "classifier")
KINDS = ("depthwise", "linear", "conv", "attention")


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


def chosen(found: Iterable[Layer], choice: str, spare: Sequence[str] = ()) -> list[Layer]:
    """The layers that are pruned: those of the choice that no entry of `spare` matches.

    Engine, plan and pages all ask here.
    """
    allowed = LAYER_CHOICES[choice]
    return [
        layer
        for layer in found
        if allowed(layer) and not any(matches(layer, entry) for entry in spare)
    ]


def matches(layer: Layer, entry: str) -> bool:
    """Whether an entry means a layer: its kind, its role, or a shell pattern over its name."""
    if entry in (*ROLES, *KINDS):
        return entry in (layer.kind, layer.role)
    return fnmatchcase(layer.name, entry)


def floor_size(size: int, keep_floor: float) -> int:
    """How many of a layer's `size` pieces a scope with a keep-floor leaves at least.

    One at least under any floor above 0; a floor of 0 is none, as in torch's own
    `global_unstructured`.
    """
    return min(size, math.ceil(round(keep_floor * size, 6)))
