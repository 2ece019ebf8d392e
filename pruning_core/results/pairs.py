"""Which models of a comparison are tested against each other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from pruning_core.methods.strategies import (
    BASELINE,
    EQUAL_SPARSITY,
    MASKED,
    ONE_SHOT,
    RATIO_PRUNED,
)
from pruning_core.results.rows import Row, grouped

TOLERANCE = 1e-6  # target sparsities closer than this are equal


@dataclass(frozen=True)
class Pair:
    """Two rows of one seed, and the labels of all runs that contain both."""

    first: Row
    second: Row
    runs: tuple[str, ...]


def pairs(rows: Iterable[Row]) -> list[Pair]:
    """Every pair of models to compare, each pair of stages once."""
    return _unique(_all_pairs(rows))


def comparable(pair: Pair) -> bool:
    """Whether both rows store which images of the same test set are classified correctly."""
    same_images = pair.first["test_digest"] == pair.second["test_digest"]
    return same_images and all(
        isinstance(row["correct"], bytes) for row in (pair.first, pair.second)
    )


def equal_target(first: Row, second: Row) -> bool:
    """Whether both models are pruned, and to the same target sparsity."""
    targets = first["sparsity_asked"], second["sparsity_asked"]
    return targets[0] > 0 and abs(targets[0] - targets[1]) < TOLERANCE


def _all_pairs(rows: Iterable[Row]) -> Iterator[Pair]:
    for group in grouped(rows, "run_id", "seed"):
        run = (str(group[0]["run"]),)
        for first, second in [*_between_strategies(group), *_against_dense(group)]:
            yield Pair(first, second, run)


def _between_strategies(rows: list[Row]) -> Iterator[tuple[Row, Row]]:
    """Models of two strategies with the same target sparsity.

    Of the corrected models the one with the most corrections counts; the sentence shows its 0
    epochs beside those of one-shot.
    """
    for first_strategy, second_strategy in EQUAL_SPARSITY:
        first = _sparsest(rows, first_strategy)
        second = first and _at(rows, second_strategy, first["sparsity_asked"])
        if first and second:
            yield first, second


def _against_dense(rows: list[Row]) -> Iterator[tuple[Row, Row]]:
    """Pruned models against the dense control, and the control against the baseline.

    The first comparison shows the effect of pruning, the second that of the additional epochs.
    Without a control, structured models are compared with the baseline.
    """
    control, baseline = _at(rows, ONE_SHOT, 0.0), _at(rows, BASELINE, 0.0)
    for strategy in (*MASKED, *RATIO_PRUNED):
        dense = control or (baseline if strategy in RATIO_PRUNED else None)
        pruned = _sparsest(rows, strategy)
        if pruned and dense:
            yield pruned, dense
    if control and baseline:
        yield control, baseline


def _sparsest(rows: list[Row], strategy: str) -> Row | None:
    pruned = [r for r in rows if r["strategy"] == strategy and r["sparsity_asked"] > 0]
    return max(pruned, key=lambda r: (r["sparsity_asked"], r["iteration"]), default=None)


def _at(rows: list[Row], strategy: str, target: float) -> Row | None:
    near = (
        r
        for r in rows
        if r["strategy"] == strategy and abs(r["sparsity_asked"] - target) < TOLERANCE
    )
    return next(near, None)


def _unique(candidates: Iterator[Pair]) -> list[Pair]:
    """Each pair of stages once: runs share stages, and a stage makes no pair with itself."""
    unique: dict[tuple[str, str], Pair] = {}
    for pair in candidates:
        keys = (pair.first["key"], pair.second["key"])
        if keys in unique:
            runs = dict.fromkeys([*unique[keys].runs, *pair.runs])
            unique[keys] = replace(unique[keys], runs=tuple(runs))
        elif keys[0] != keys[1]:
            unique[keys] = pair
    return list(unique.values())
