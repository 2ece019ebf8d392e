"""The matrix of a comparison: target sparsity and strategy by run, with tests of chosen rows.

P-values are corrected (Holm) over the pairs that a person asks about.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev

from pruning_core.common.formatting import (
    format_count,
    format_p,
    format_percent,
    join_words,
    signed,
    trimmed,
)
from pruning_core.methods.strategies import RATIO_PRUNED, STRATEGIES
from pruning_core.results.differences import DENSE, Reference
from pruning_core.results.paired_tests import (
    NO_MODEL,
    NO_SEED,
    OTHER_IMAGES,
    SAME_MODEL,
    Comparison,
    PairedTest,
    StagePairs,
    adjusted,
)
from pruning_core.results.rows import (
    MODEL_COLUMNS,
    Row,
    charted,
    grouped,
    is_pruned,
    model_at_target,
    strategy_at_target,
    target_sparsity,
)

ALL = "all"  # every row of a matrix is tested


@dataclass(frozen=True)
class Cell:
    """A model of a matrix: its rows, one a seed, and its comparison with the reference.

    `tests` are those of a row that is tested: over images for each seed, and over seeds.
    """

    rows: tuple[Row, ...]
    comparison: Comparison
    tests: tuple[PairedTest, ...] = ()

    @property
    def mean(self) -> float:
        """The mean accuracy over the seeds."""
        return fmean(row["accuracy"] for row in self.rows)

    @property
    def deviation(self) -> float:
        """The standard deviation (n - 1) over the seeds; NaN for a single seed."""
        accuracies = [row["accuracy"] for row in self.rows]
        return stdev(accuracies) if len(accuracies) > 1 else math.nan

    @property
    def accuracy_text(self) -> str:
        """The mean and the deviation: "94.3 % ± 0.5"."""
        deviation = "" if math.isnan(self.deviation) else f" ± {trimmed(100 * self.deviation, 2)}"
        return f"{format_percent(self.mean)}{deviation}"

    @property
    def difference_text(self) -> str:
        """The difference in points with its interval, and p where the row is tested."""
        comparison = self.comparison
        if comparison.problem == SAME_MODEL:
            return "reference"
        if comparison.problem in (OTHER_IMAGES, NO_SEED, NO_MODEL):
            return comparison.problem
        difference = signed(comparison.difference)
        if comparison.problem:
            return difference
        shown = self.tests[-1] if self.tests else comparison.strongest()
        if shown is None:
            return difference
        p = "" if math.isnan(shown.adjusted) else f", {format_p(shown.adjusted)}"
        return f"{difference} ({shown.interval}){p}"


@dataclass(frozen=True)
class MatrixRow:
    """The models of one strategy at one target sparsity, a cell (or None) for each run."""

    name: str
    target: float
    cells: tuple[Cell | None, ...]
    tested: bool = False


@dataclass(frozen=True)
class Matrix:
    """Target sparsity and strategy by run. `pairs` is the number of models that are tested.

    Pairs and tests that runs share count once. `image_tests` and `seed_tests` are the numbers of
    tests over which Holm's method corrects.
    """

    runs: tuple[str, ...]
    rows: tuple[MatrixRow, ...]
    reference: str
    pairs: int = 0
    image_tests: int = 0
    seed_tests: int = 0

    @property
    def tests(self) -> list[dict[str, str]]:
        """Every test of the tested rows once, as rows of a table, with the runs that share it."""
        shared: dict[StagePairs, tuple[MatrixRow, PairedTest, list[str]]] = {}
        for row in self.rows:
            for run, cell in zip(self.runs, row.cells, strict=True):
                for test in cell.tests if cell else ():
                    shared.setdefault(test.stages, (row, test, []))[2].append(run)
        return [
            {
                "Model": row.name,
                **({"Run": join_words(runs)} if len(self.runs) > 1 else {}),
                "Paired over": test.pairing,
                "Difference (points)": signed(test.difference),
                "95 % CI": test.interval,
                "p": format_p(test.p).removeprefix("p = ").removeprefix("p "),
                "p (Holm)": format_p(test.adjusted).removeprefix("p = ").removeprefix("p "),
                "Test": test.method,
            }
            for row, test, runs in shared.values()
        ]

    @property
    def caption(self) -> str:
        """What the numbers of the matrix are."""
        several = any(len(cell.rows) > 1 for row in self.rows for cell in row.cells if cell)
        seeds = " ± standard deviation over the seeds" if several else ""
        pairing = "over the test images"
        if several:
            pairing = "over the seeds where there are several, else over the test images"
        holm_text = ""
        if self.pairs:
            # A cell shows the test over the seeds where there is one; the others are in a table.
            shown = {"images": self.image_tests if self.pairs > self.seed_tests else 0}
            shown["seeds"] = self.seed_tests
            families = [f"{format_count(n, 'test')} over {on}" for on, n in shown.items() if n]
            holm_text = (
                f" p is given for {format_count(self.pairs, 'pair')} (\u2022), corrected with "
                f"Holm's method over {' and '.join(families)}."
            )
        return (
            f"Test accuracy{seeds}. Below it: the difference from {self.reference} in percentage "
            f"points with its 95 % interval, paired {pairing}.{holm_text}"
        )


def targets(rows: Iterable[Row]) -> list[float]:
    """The target sparsities of the pruned models, the highest first."""
    pruned = {target_sparsity(row) for row in charted(rows) if is_pruned(row)}
    return sorted(pruned, reverse=True)


def usual_target(rows: Sequence[Row]) -> float | None:
    """The highest target sparsity that models of the most runs and strategies share.

    Runs count first: a sparsity that all of them have tells them apart.
    """
    pruned = [row for row in charted(rows) if is_pruned(row)]

    def shared(target: float) -> tuple[int, int, float]:
        near = [row for row in pruned if target_sparsity(row) == target]
        runs = {row["run_id"] for row in near}
        return len(runs), min(2, len({(r["run_id"], r["strategy"]) for r in near})), target

    return max({target_sparsity(row) for row in pruned}, key=shared, default=None)


def matrix(
    rows: Sequence[Row], reference: str = DENSE, tested: float | str | None = None
) -> Matrix:
    """The accuracy of each strategy and target sparsity in each run.

    Of several steps with one target, such as final fine-tuning, the last one counts. The rows at
    the target sparsity `tested` are tested against the reference; `ALL` tests every row, None no
    row.
    """
    models, pinned = grouped(charted(rows), *MODEL_COLUMNS), Reference(rows, reference)
    runs = {row["run_id"]: str(row["run"]) for row in rows}
    last: dict[tuple[object, ...], dict[str, list[Row]]] = {}
    for group in models:
        row, place = group[0], strategy_at_target(group[0])
        others = last.setdefault(place, {})
        best = others.get(row["run_id"])
        if best is None or row["iteration"] >= best[0]["iteration"]:
            others[row["run_id"]] = group
    lines = []
    for place in sorted(last, key=_order):
        groups = last[place]
        example = next(iter(groups.values()))[0]
        chosen = tested == ALL or (is_pruned(example) and target_sparsity(example) == tested)
        cells = tuple(
            Cell(tuple(groups[run]), pinned.compare(groups[run])) if run in groups else None
            for run in runs
        )
        lines.append(MatrixRow(model_at_target(example), target_sparsity(example), cells, chosen))
    return _tested(Matrix(tuple(runs.values()), tuple(lines), pinned.name))


def _tested(table: Matrix) -> Matrix:
    """The matrix with the tests of its tested rows, corrected within each kind of pairing.

    Runs share stages: a pair of models or a test that several cells hold counts once.
    """
    places = [
        (i, j, cell)
        for i, row in enumerate(table.rows)
        for j, cell in enumerate(row.cells)
        if row.tested and cell and not cell.comparison.problem
    ]
    by_images = [(i, j, test) for i, j, cell in places for test in cell.comparison.over_images()]
    by_seeds = [(i, j, t) for i, j, cell in places if (t := cell.comparison.over_seeds())]
    tests: dict[tuple[int, int], list[PairedTest]] = {}
    for family in (by_images, by_seeds):
        for (i, j, _), test in zip(family, adjusted([t for *_, t in family]), strict=True):
            tests.setdefault((i, j), []).append(test)
    lines = tuple(
        replace(
            row,
            cells=tuple(
                replace(cell, tests=tuple(tests.get((i, j), ()))) if cell else None
                for j, cell in enumerate(row.cells)
            ),
        )
        for i, row in enumerate(table.rows)
    )
    return replace(
        table,
        rows=lines,
        pairs=_count(cell.comparison.stages for *_, cell in places),
        image_tests=_count(test.stages for *_, test in by_images),
        seed_tests=_count(test.stages for *_, test in by_seeds),
    )


def _count(comparisons: Iterable[StagePairs]) -> int:
    """How many there are, without those that are part of another one."""
    unique = set(comparisons)
    return sum(not any(one < other for other in unique) for one in unique)


def _order(place: tuple[object, ...]) -> tuple[bool, float, int]:
    strategy, _, target = place
    ratio = strategy in RATIO_PRUNED
    return ratio, float(str(target)), list(STRATEGIES).index(str(strategy))
