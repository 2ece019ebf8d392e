"""The settings of the ladder: what wins accuracy back without any training, and its rungs.

This knows the rungs by name only; the functions are in `engine.ladder`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pruning_core.common.errors import check
from pruning_core.common.formatting import format_count
from pruning_core.methods.layers import Layer

# From the lowest rung up. The first is the cut itself, a level without an epoch.
RUNG_TITLES = {
    "cut": "as pruned",
    "batch_norm": "batch norm re-estimated",
    "bias_scale": "bias and scale corrected",
    "least_squares": "least squares",
}
RUNGS = tuple(RUNG_TITLES)
# A Gram matrix of more inputs than this would take more than 170 MB: a 3x3 kernel on 512 channels.
MOST_INPUTS = 4608
NAMED = 3
NO_BATCH_NORM = "The model has no batch norm, so re-estimating its statistics changes nothing."


@dataclass(frozen=True)
class LadderSpec:
    """For every one-shot amount above 0 a ladder of rungs, on `images` training images."""

    enabled: bool = False
    images: int = 512

    def __post_init__(self) -> None:
        message = f"{self.images} is outside 16 to 100,000 training images."
        check(16 <= self.images <= 100_000, "ladder.images", message)


def check_ladder(ladder: LadderSpec, amounts: Sequence[float]) -> None:
    """Refuse a ladder that has no cut to stand on. Raises `SpecError`."""
    check(
        not ladder.enabled or any(amount > 0 for amount in amounts),
        "ladder.enabled",
        "the ladder stands on the one-shot cuts, and there is none above 0. Give one-shot "
        "amounts, or switch the ladder off.",
    )


def rung_title(rung: int) -> str:
    """What rung number `rung` does, counted from 0."""
    return RUNG_TITLES[RUNGS[rung]]


def left_alone(layers: Sequence[Layer]) -> list[str]:
    """Which layers rungs above batch norm leave as they are, as far as kinds and shapes tell."""
    attention = [layer.name for layer in layers if layer.kind == "attention"]
    large = [x.name for x in layers if x.name not in attention and _inputs(x) > MOST_INPUTS]
    said = []
    if attention:
        said.append(f"The ladder's upper rungs leave attention's weights: {_some(attention)}.")
    if large:
        said.append(f"Least squares leaves more than {MOST_INPUTS:,} inputs: {_some(large)}.")
    return said


def _inputs(layer: Layer) -> int:
    return math.prod(layer.shape[1:])


def _some(names: Sequence[str]) -> str:
    more = f" and {format_count(len(names) - NAMED, 'more layer')}" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
