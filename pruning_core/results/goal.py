"""The goal of a comparison: how much accuracy may be lost, and how large the file may be."""

from __future__ import annotations

from dataclasses import dataclass

from pruning_core.common.formatting import format_bytes, format_points

SLACK = 1e-9  # a drop of exactly the limit must not fail on the last bit of a float


@dataclass(frozen=True)
class Goal:
    """The limits that a model has to meet. None is no limit.

    `max_drop` is the largest accuracy drop, a fraction; `max_bytes` the largest file.
    """

    max_drop: float | None = 0.01
    max_bytes: float | None = None

    @property
    def text(self) -> str:
        """The limits in words: "at most 1 point lost and at most 1 MB"; empty without any.

        It follows "with" or "the goal of".
        """
        drop = [] if self.max_drop is None else [f"at most {format_points(self.max_drop)} lost"]
        if self.max_drop == 0:
            drop = ["no accuracy loss"]
        size = [] if self.max_bytes is None else [f"at most {format_bytes(self.max_bytes)}"]
        return " and ".join([*drop, *size])

    def allows_drop(self, drop: float) -> bool:
        """Whether an accuracy drop (a fraction) is within the limit. An unknown drop is not."""
        return self.max_drop is None or drop <= self.max_drop + SLACK

    def allows_size(self, size: float) -> bool:
        """Whether a file of `size` bytes is within the limit."""
        return self.max_bytes is None or size <= self.max_bytes

    def allows(self, drop: float, size: float) -> bool:
        """Whether a model with this drop and this file meets the goal."""
        return self.allows_drop(drop) and self.allows_size(size)


DEFAULT_GOAL = Goal()
