"""Granularity: the pruning unit (a weight, a block, a kernel, a filter), and N:M patterns.

A weight has the shape (O, I, *K): outputs, inputs of one group, kernel, as in torch for linear
layers and convolutions; attention's projections are linear. A convolution has `groups` (1 for
other layers), each with O / groups consecutive outputs.
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
    pruning units are counted; None means every axis. `units` is their plural noun. With `block` n
    a unit is n consecutive outputs at one position of all other axes. A granularity with a
    `pattern` (n, m) prunes n of every m consecutive inputs instead.
    """

    axes: Axes = lambda pruning: None
    units: str = "weights"
    block: int | None = None
    pattern: tuple[int, int] | None = None


def _block(size: int) -> Granularity:
    return Granularity(
        f"block:{size}",
        f"Block of {size} (output channels)",
        f"The weights of {size} consecutive output channels at one input position.",
        "Elsen et al. 2020",
        "https://arxiv.org/abs/1911.09723",
        units="blocks",
        block=size,
    )


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
        *map(_block, (2, 4, 8)),
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
UNIT_NOUNS = tuple(dict.fromkeys(granularity.units for granularity in GRANULARITIES.values()))
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


def block_of(granularity: str) -> int | None:
    """The output channels of a whole block; None for other granularities."""
    return GRANULARITIES[granularity].block


def block_sizes(shape: Sequence[int], granularity: str, groups: int = 1) -> list[int]:
    """The output channels of each block along the outputs of a weight (O, I, *K), in order.

    Blocks begin anew with each group of a convolution, because other groups have other inputs; a
    last block is smaller where the outputs of a group do not divide. In a depthwise layer each
    group has one input, and a block is one tap of consecutive channels: programs that compute
    several outputs at once compute those of neighboring channels there.
    """
    block = block_of(granularity)
    assert block is not None
    groups = 1 if is_depthwise(shape, groups) else groups
    whole, rest = divmod(shape[0] // groups, block)
    return ([block] * whole + [rest] * bool(rest)) * groups


def is_depthwise(shape: Sequence[int], groups: int) -> bool:
    """Whether each group of a convolution with a weight of this shape has one input."""
    return groups > 1 and shape[1] == 1


def unit_axes(pruning: Mapping[str, Any], dimensions: int) -> tuple[int, ...]:
    """The axes along which pruning units are counted; a unit extends along all other axes.

    `pruning` holds the settings of a `PruningSpec`. Blocks are counted along every axis, and
    extend along the first one, too.
    """
    axes = GRANULARITIES[pruning["granularity"]].axes(pruning)
    return tuple(range(dimensions)) if axes is None else axes


def units(shape: Sequence[int], pruning: Mapping[str, Any], groups: int = 1) -> int:
    """How many pruning units a weight of this shape has."""
    granularity = pruning["granularity"]
    if block_of(granularity):
        return len(block_sizes(shape, granularity, groups)) * math.prod(shape[1:])
    return math.prod(shape[axis] for axis in unit_axes(pruning, len(shape)))


def distinct_masks(shape: Sequence[int], pruning: Mapping[str, Any], groups: int = 1) -> int:
    """How many different masks the outputs of a pruned weight of this shape have at most.

    The outputs of a block share one, and so do all remaining filters.
    """
    granularity = pruning["granularity"]
    if block_of(granularity):
        return len(block_sizes(shape, granularity, groups))
    return 1 if granularity == "filter" else shape[0]


def unit_noun(pruning: Mapping[str, Any]) -> str:
    """The plural noun of the pruning unit."""
    return GRANULARITIES[pruning["granularity"]].units
