"""Which layers are prunable: the choice of layers, and the layers that are excluded from it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from pruning_core.methods.registry import Method, Registry

ROLES = ("stem", "classifier")
KINDS = ("depthwise", "linear", "conv", "attention")


@dataclass(frozen=True)
class Layer:
    """A prunable weight. `name` is its parameter's name, such as `conv1.weight`.

    `groups` are those of a convolution, 1 for other layers.
    """

    name: str
    kind: str  # "conv", "depthwise", "linear", "attention" or "recurrent"
    role: str  # "stem", "classifier" or ""
    shape: tuple[int, ...]
    size: int
    groups: int = 1


@dataclass(frozen=True)
class LayerChoice(Method):
    """A choice of prunable layers; `includes` says whether a layer belongs to it."""

    includes: Callable[[Layer], bool] = lambda layer: True


LAYER_CHOICES = Registry(
    "prunable layers",
    (
        LayerChoice("all", "All", "Every convolution and linear layer."),
        LayerChoice(
            "core",
            "All but depthwise, stem, classifier",
            "Depthwise layers, the first layer and the classifier stay dense. They are small, "
            "and pruning them costs much accuracy.",
            "Gale et al. 2019",
            "https://arxiv.org/abs/1902.09574",
            includes=lambda layer: layer.kind != "depthwise" and not layer.role,
        ),
    ),
)


def prunable(layers: Iterable[Layer], choice: str, exclude: Sequence[str] = ()) -> list[Layer]:
    """The layers that are pruned: those of the choice that no entry of `exclude` matches."""
    includes = LAYER_CHOICES[choice].includes
    return [
        layer
        for layer in layers
        if includes(layer) and not any(matches(layer, entry) for entry in exclude)
    ]


def matches(layer: Layer, entry: str) -> bool:
    """Whether an entry selects a layer: by its kind, its role, or a shell pattern over its name."""
    if entry in (*ROLES, *KINDS):
        return entry in (layer.kind, layer.role)
    return fnmatchcase(layer.name, entry)


def units_to_keep(units: int, min_density: float) -> int:
    """How many of a layer's pruning units the minimum density keeps: at least 1 above density 0.

    With density 0 a layer can lose all its units, as in `torch.nn.utils.prune.global_unstructured`.
    """
    # Rounding to 1e-6 first: 0.07 * 100 is 7.000000000000001, which must keep 7 units, not 8.
    return min(units, math.ceil(round(min_density * units, 6)))
