"""The exported files of a model against the goal: which meet it, and how near the nearest is.

What counts is the drop of validation accuracy from the dense baseline to the file, by its upper
confidence bound, as in `results.best_model`. The bounds of one format hold together for all pruned
models of the run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pruning_core.common.formatting import (
    format_bytes,
    format_count,
    format_points,
    missing,
)
from pruning_core.common.statistics import drop_bound
from pruning_core.methods.file_formats import FILE_FORMATS
from pruning_core.methods.strategies import BASELINE
from pruning_core.results.best_model import ERROR, among
from pruning_core.results.exported_files import why_not_offered
from pruning_core.results.goal import Goal
from pruning_core.results.rows import Row, is_pruned

LEAST_POINTS = 0.00005  # a smaller difference would be written as 0 points


@dataclass(frozen=True)
class GoalCheck:
    """A file, or a model before its export, against a goal.

    `size` is in bytes. `drop` is the observed drop of validation accuracy from the dense baseline,
    `bound` its upper confidence bound; both are fractions.
    """

    name: str
    size: float
    drop: float
    bound: float
    goal: Goal

    @property
    def meets(self) -> bool:
        """Whether the goal is met. The bound of the drop counts."""
        return self.goal.allows(self.bound, self.size)

    @property
    def size_excess(self) -> float:
        """By how many bytes the file is too large; 0 where it is not."""
        limit = self.goal.max_bytes
        return 0.0 if limit is None or self.goal.allows_size(self.size) else self.size - limit

    @property
    def drop_excess(self) -> float:
        """By how much the bound of the drop is above the limit, a fraction; 0 where it is not."""
        limit = self.goal.max_drop
        return 0.0 if limit is None or self.goal.allows_drop(self.bound) else self.bound - limit

    @property
    def excess_text(self) -> str:
        """How the goal is missed: "0.2 MB too large, and the drop is 1 point above the limit"."""
        size = [f"{format_bytes(self.size_excess)} too large"] if self.size_excess else []
        drop = [f"the drop {self._drop_text}"] if self.drop_excess else []
        return ", and ".join([*size, *drop])

    @property
    def excess_clause(self) -> str:
        """The same after the name of the file: "which is 0.2 MB too large"."""
        size = [f"which is {format_bytes(self.size_excess)} too large"] if self.size_excess else []
        drop = [f"whose drop {self._drop_text}"] if self.drop_excess else []
        return " and ".join([*size, *drop])

    @property
    def _drop_text(self) -> str:
        """How far the drop is above the limit, and its bound."""
        above = _points(self.drop_excess)
        if self.goal.allows_drop(self.drop):
            return f"may be up to {above} above the limit"
        excess = self.drop - (self.goal.max_drop or 0.0)
        return f"is {_points(excess)} above the limit (upper bound: {above})"

    @property
    def answer(self) -> str:
        """The goal in words: "yes", "no: 0.2 MB too large", or "inconclusive" with the reason.

        A drop that was observed within the limit, with a bound above it, shows nothing.
        """
        if not self.goal.text:
            return "no goal set"
        if self.meets:
            return "yes"
        unknown = not self.size_excess and self.goal.allows_drop(self.drop)
        return f"{'inconclusive' if unknown else 'no'}: {self.excess_text}"


def candidates(rows: Iterable[Row]) -> int:
    """How many pruned models of a run the bounds hold for together; `rows` are `model_rows`."""
    pruned = {row["key"] for row in rows if is_pruned(row) and not missing(row["validation_drop"])}
    return max(1, len(pruned))


def check_model(row: Row, goal: Goal, models: int) -> GoalCheck:
    """A model, a row of `model_rows`, with its sparse file; `models` are the `candidates`."""
    size, drop = float(row["sparse_bytes"]), float(row["validation_drop"])
    bound = 0.0 if row["strategy"] == BASELINE else _bound(row, models)
    return GoalCheck("the sparse file", size, drop, bound, goal)


def check_files(
    frame: pd.DataFrame, goal: Goal, models: int, dense: bool = False
) -> dict[str, GoalCheck]:
    """The files that can be downloaded, by format; `frame` is a `files_frame`.

    `models` are the `candidates`; `dense` says that the files are those of the dense baseline.
    """
    checks = {}
    for row in frame.to_dict("records"):
        file_format = FILE_FORMATS[row["format"]]
        if file_format.download and not why_not_offered(row):
            bound = 0.0 if dense and file_format.exact else _bound(row, models)
            size, drop = float(row["bytes"]), float(row["baseline_drop"])
            checks[file_format.name] = GoalCheck(file_format.title, size, drop, bound, goal)
    return checks


def _bound(row: Mapping[Any, Any], models: int) -> float:
    counts = (int(row[f"validation_{name}"]) for name in ("lost", "gained", "images"))
    return drop_bound(*counts, ERROR / models)


def best_file(checks: Iterable[GoalCheck]) -> GoalCheck | None:
    """The smallest file that meets the goal; None where none does."""
    return min((check for check in checks if check.meets), key=_size, default=None)


def nearest_files(checks: Sequence[GoalCheck]) -> list[GoalCheck]:
    """The most accurate file of those small enough, and the smallest of those accurate enough.

    One of them is missing where no file is within that limit; where none is within any, it is the
    file with the smallest drop.
    """
    small = [check for check in checks if not check.size_excess]
    accurate = [check for check in checks if not check.drop_excess]
    nearest = [min(small, key=_drop_and_size)] if small else []
    nearest += [min(accurate, key=_size)] if accurate else []
    return nearest or [min(checks, key=_drop_and_size)]


def goal_text(checks: Sequence[GoalCheck], goal: Goal) -> str:
    """Which of the exported files meet the goal; where none does, how near the nearest is."""
    if not goal.text:
        return "No goal is set, so every file is allowed."
    if not checks:
        return "No file is exported yet."
    meeting = [check for check in checks if check.meets]
    if meeting:
        smallest = min(meeting, key=_size)
        return (
            f"{len(meeting)} of {format_count(len(checks), 'exported file')} "
            f"{'meets' if len(meeting) == 1 else 'meet'} the goal of {goal.text}; the smallest is "
            f"{smallest.name} ({format_bytes(smallest.size)})."
        )
    nearest = "; ".join(_nearest_text(check, goal) for check in nearest_files(checks))
    return f"No exported file meets the goal of {goal.text}: {nearest}."


def _nearest_text(check: GoalCheck, goal: Goal) -> str:
    both = goal.max_drop is not None and goal.max_bytes is not None
    if check.size_excess and check.drop_excess:
        return f"the nearest is {check.name}, {check.excess_clause}"
    if check.size_excess:
        within = "of the files that are accurate enough, " if both else ""
        return f"{within}the smallest is {check.name}, {check.excess_clause}"
    within = "of the files that are small enough, " if both else ""
    return f"{within}the most accurate is {check.name}, {check.excess_clause}"


def best_model_of_run(rows: Iterable[Row], goal: Goal, models: int) -> str:
    """The key of the pruned model with the smallest sparse file that meets the goal, else ""."""
    checks = {row["key"]: check_model(row, goal, models) for row in rows if is_pruned(row)}
    meeting = {key: check.size for key, check in checks.items() if check.meets}
    return min(meeting, key=lambda key: meeting[key], default="") if goal.text else ""


def bound_note(models: int, images: int) -> str:
    """Which drop decides whether a file meets the goal."""
    return (
        "The goal uses the upper bound of the drop of validation accuracy from the dense baseline, "
        f"on {format_count(images, 'validation image')} ({among(models)}, for each format alone)."
    )


def _points(excess: float) -> str:
    if excess < LEAST_POINTS:
        return "less than 0.01 points"
    return format_points(round(excess, 3) if excess >= 0.001 else excess)


def _drop_and_size(check: GoalCheck) -> tuple[float, float]:
    return check.bound, check.size


def _size(check: GoalCheck) -> float:
    return check.size
