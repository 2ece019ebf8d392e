"""Which two points of a comparison are set against each other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from pruning_core.results.points import LADDER, STRUCTURED, Row, grouped

SAME_SPARSITY = (
    ("iterative", "one_shot_matched"),
    ("iterative", "one_shot"),
    ("one_shot_matched", "one_shot"),
    (LADDER, "one_shot"),  # the highest rung; its 0 epochs are told beside one-shot's
)
PRUNED = ("iterative", "one_shot", "one_shot_matched")
# What was asked of these is a share of something else, so they meet no mask at "the same".
APART = (STRUCTURED,)


@dataclass(frozen=True)
class Pair:
    """Two rows of one seed, and the labels of all runs that share them."""

    first: Row
    second: Row
    runs: tuple[str, ...]


def pairs(rows: Iterable[Row]) -> list[Pair]:
    """Every pair to compare, each pair of stages once."""
    return _unique(_all_pairs(rows))


def comparable(pair: Pair) -> bool:
    """True where both points stored which of the same test images they got right."""
    same = pair.first["test_digest"] == pair.second["test_digest"]
    return same and all(isinstance(row["correct"], bytes) for row in (pair.first, pair.second))


def same_asked(first: Row, second: Row) -> bool:
    """True where both were cut to the same sparsity asked."""
    asked = first["sparsity_asked"], second["sparsity_asked"]
    return asked[0] > 0 and abs(asked[0] - asked[1]) < 1e-6


def _all_pairs(rows: Iterable[Row]) -> Iterator[Pair]:
    for points in grouped(rows, "run_id", "seed"):
        run = (str(points[0]["run"]),)
        for first, second in [*_between_strategies(points), *_against_control(points)]:
            yield Pair(first, second, run)


def _between_strategies(points: list[Row]) -> Iterator[tuple[Row, Row]]:
    """Points of two strategies with the same sparsity asked."""
    for first_strategy, second_strategy in SAME_SPARSITY:
        first = _most_sparse(points, first_strategy)
        second = first and _at(points, second_strategy, first["sparsity_asked"])
        if first and second:
            yield first, second


def _against_control(points: list[Row]) -> Iterator[tuple[Row, Row]]:
    """What pruning cost, and what the extra epochs alone brought.

    Where there is no control, removing channels is set against the baseline itself.
    """
    control, baseline = _at(points, "one_shot", 0.0), _at(points, "baseline", 0.0)
    for strategy in (*PRUNED, *APART):
        dense = control or (baseline if strategy in APART else None)
        point = _most_sparse(points, strategy)
        if point and dense:
            yield point, dense
    if control and baseline:
        yield control, baseline


def _most_sparse(points: list[Row], strategy: str) -> Row | None:
    own = [p for p in points if p["strategy"] == strategy and p["sparsity_asked"] > 0]
    return max(own, key=lambda p: (p["sparsity_asked"], p["iteration"]), default=None)


def _at(points: list[Row], strategy: str, asked: float) -> Row | None:
    near = (
        p for p in points if p["strategy"] == strategy and abs(p["sparsity_asked"] - asked) < 1e-6
    )
    return next(near, None)


def _unique(pairs: Iterator[Pair]) -> list[Pair]:
    """Each pair of stages once: runs share stages, and a stage is no pair with itself."""
    found: dict[tuple[str, str], Pair] = {}
    for pair in pairs:
        key = (pair.first["key"], pair.second["key"])
        if key in found:
            runs = dict.fromkeys([*found[key].runs, *pair.runs])
            found[key] = replace(found[key], runs=tuple(runs))
        elif key[0] != key[1]:
            found[key] = pair
    return list(found.values())
