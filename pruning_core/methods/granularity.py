"""Granularity: the pruning unit (a weight, a kernel, a filter), and N:M patterns.

A weight has the shape (O, I, *K): outputs, inputs of one group, kernel, as in torch for linear
layers and convolutions; attention's projections are linear.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pruning_core.methods.registry import Method, Registry

Axes = Callable[[Mapping[str, Any]], tuple[int, ...] | None]


@dataclass(frozen=True)
class Granularity(Method):
    """A granularity of pruning.

    `axes` takes the settings of a `PruningSpec` and returns the axes of a weight along which
    pruning units are counted; None means every axis. `units` is their plural noun. A granularity
    with a `pattern` (n, m) prunes n of every m consecutive inputs instead.
    """

    axes: Axes = lambda pruning: None
    units: str = "weights"
    pattern: tuple[int, int] | None = None


UNSTRUCTURED = "unstructured"
GRANULARITIES = Registry(
    "granularity",
    (
        Granularity(
            UNSTRUCTURED,
            "Unstructured (weights)",
            "Single weights.",
            "Han et al. 2015",
            "https://arxiv.org/abs/1506.02626",
        ),
        Granularity(
            "kernel",
            "Kernel",
            "The weights between one input channel and one output channel.",
            "Mao et al. 2017",
            "https://arxiv.org/abs/1705.08922",
            axes=lambda pruning: (0, 1),
            units="kernels",
        ),
        Granularity(
            "filter",
            "Filter",
            "All weights of one channel are set to zero. The layer keeps its shape; structured "
            "pruning removes channels from the network.",
            "Li et al. 2017",
            "https://arxiv.org/abs/1608.08710",
            axes=lambda pruning: (pruning["filter_dim"],),
            units="filters",
        ),
        Granularity(
            "2:4",
            "2:4 semi-structured (N:M)",
            "2 of every 4 consecutive inputs. Always 50 % of a layer, in one pruning step.",
            "Mishra et al. 2021",
            "https://arxiv.org/abs/2104.08378",
            pattern=(2, 4),
        ),
        Granularity(
            "4:8",
            "4:8 semi-structured (N:M)",
            "4 of every 8 consecutive inputs. Always 50 % of a layer, in one pruning step.",
            "Zhou et al. 2021",
            "https://arxiv.org/abs/2102.04010",
            pattern=(4, 8),
        ),
    ),
)
# The noun of a filter, by the dimension of the weight along which filters are counted.
FILTER_DIMENSIONS = ("output channels", "input channels", "kernel rows", "kernel columns")


def pattern_of(granularity: str) -> tuple[int, int] | None:
    """(n, m) of an N:M pattern; None for other granularities."""
    return GRANULARITIES[granularity].pattern


def pattern_sparsity(granularity: str) -> float:
    """The sparsity of a layer with an N:M pattern, from 0 to 1."""
    pattern = pattern_of(granularity)
    assert pattern is not None
    return pattern[0] / pattern[1]


def fits(shape: Sequence[int], granularity: str) -> bool:
    """Whether the inputs of a weight of this shape divide into the groups of a pattern."""
    pattern = pattern_of(granularity)
    return pattern is not None and len(shape) > 1 and shape[1] % pattern[1] == 0


def unit_axes(pruning: Mapping[str, Any], dimensions: int) -> tuple[int, ...]:
    """The axes along which pruning units are counted; a unit extends along all other axes.

    `pruning` holds the settings of a `PruningSpec`.
    """
    axes = GRANULARITIES[pruning["granularity"]].axes(pruning)
    return tuple(range(dimensions)) if axes is None else axes


def units(shape: Sequence[int], pruning: Mapping[str, Any]) -> int:
    """How many pruning units a weight of this shape has."""
    return math.prod(shape[axis] for axis in unit_axes(pruning, len(shape)))


def unit_noun(pruning: Mapping[str, Any]) -> str:
    """The plural noun of the pruning unit."""
    return GRANULARITIES[pruning["granularity"]].units
