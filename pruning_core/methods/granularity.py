"""What goes as one piece (a weight, a kernel, a filter), and patterns of N of every M weights.

A weight has the shape (outputs, inputs of a group, *kernel), as torch has it for linear layers
and convolutions; attention's projections are linear. Mao et al. 2017 compare weights, kernels
and filters. The patterns are 2:4 of Mishra et al. 2021 and 4:8 of Zhou et al. 2021.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

AXES: dict[str, Callable[[Mapping[str, Any]], tuple[int, ...] | None]] = {
    "weight": lambda prune: None,
    "kernel": lambda prune: (0, 1),
    "filter": lambda prune: (prune["dim"],),
}
# What a filter is made of, by the dimension along which filters are counted.
FILTERS_OF = ("outputs", "inputs", "rows of kernels", "columns of kernels")
# The criteria whose scores of a filter the Ln norm joins; those of others are added up.
NORMED = ("magnitude",)
# Of each M consecutive inputs N go.
PATTERNS = {"2:4": (2, 4), "4:8": (4, 8)}


def pattern_share(granularity: str) -> float:
    """The share of a layer that a pattern removes."""
    gone, of = PATTERNS[granularity]
    return gone / of


def fits(shape: Sequence[int], granularity: str) -> bool:
    """Whether the inputs of a weight of this shape divide into the groups of a pattern."""
    return len(shape) > 1 and shape[1] % PATTERNS[granularity][1] == 0


def unit_axes(prune: Mapping[str, Any], dimensions: int) -> tuple[int, ...]:
    """The axes along which the pieces of a weight are counted; along the others a piece is whole.

    `prune` holds a `PruneSpec`'s settings.
    """
    axes = AXES.get(prune["granularity"], AXES["weight"])(prune)
    return tuple(range(dimensions)) if axes is None else axes


def units(shape: Sequence[int], prune: Mapping[str, Any]) -> int:
    """How many pieces a weight of this shape has."""
    return math.prod(shape[axis] for axis in unit_axes(prune, len(shape)))


def noun(prune: Mapping[str, Any]) -> str:
    """What several pieces are called."""
    granularity: str = prune["granularity"]
    return f"{granularity}s" if granularity in AXES else "weights"
