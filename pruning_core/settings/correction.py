"""The settings of the ladder: what wins accuracy back without any training, and its rungs.

This knows the rungs by name only; the functions are in `engine.ladder`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pruning_core.common.errors import check


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
