"""Differences of accuracy from a reference: any model, or the same model of another run.

Two pairings answer two questions. Over images: are these two trained models different, on images
like these? Over seeds: are the two ways of pruning different, when training is repeated? Each
comparison says which it is. P-values are corrected (Holm) over the pairs that a person asks about.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev

from pruning_core.common.formatting import (
    UNKNOWN,
    format_bytes,
    format_count,
    format_p,
    format_percent,
    trimmed,
)
from pruning_core.common.statistics import PairedT, difference_interval, holm, mcnemar, paired_t
from pruning_core.methods.strategies import (
    BASELINE,
    CORRECTION,
    QUANTIZED,
    RATIO_PRUNED,
    STRATEGIES,
)
from pruning_core.results.rows import (
    MODEL_COLUMNS,
    Row,
    grouped,
    is_control,
    is_pruned,
    name_in_sentence,
)

# The default reference: the dense control of each run, else its baseline.
DENSE = ""
ALL = "all"  # every row of a matrix is tested
SAME_MODEL, OTHER_IMAGES = "same model", "other test images"
NO_SEED, NO_IMAGES, NO_MODEL = "no equal seed", "results of each image unknown", "no such model"
TARGET_DIGITS = 6  # target sparsities that agree in as many digits are equal
SIGNIFICANCE = 0.05


@dataclass(frozen=True)
class PairedTest:
    """A difference of accuracy, as a fraction, with its 95 % interval and its p-value.

    `pairing` says over what it is paired: "images, seed 0" or "3 seeds". `adjusted` is the p-value
    after Holm's correction, NaN before it. `only` are the numbers of images that one model alone
    classifies correctly, of one seed.
    """

    pairing: str
    method: str
    difference: float
    low: float
    high: float
    p: float
    adjusted: float = math.nan
    only: tuple[int, int] = (0, 0)

    @property
    def interval(self) -> str:
        """The interval in percentage points: "-1.2 to 0.4"."""
        return f"{signed(self.low)} to {signed(self.high)}"


@dataclass(frozen=True)
class Comparison:
    """A model against another: their rows of equal seeds, in the order of the seeds.

    `problem` says why they are not tested; it is empty where they are.
    """

    first: tuple[Row, ...]
    second: tuple[Row, ...]
    problem: str = ""

    @property
    def difference(self) -> float:
        """The mean difference of the accuracies over the seeds; NaN without a common seed."""
        return _mean_difference(self.first, self.second, "accuracy")

    @property
    def bytes(self) -> float:
        """The mean difference of the sizes of the sparse files, in bytes."""
        return _mean_difference(self.first, self.second, "sparse_bytes")

    def over_images(self) -> list[PairedTest]:
        """The exact McNemar test of each seed, with the interval of the paired difference."""
        return [_image_test(a, b) for a, b in self._pairs]

    def over_seeds(self) -> PairedTest | None:
        """The paired t test over the seeds; None for a single seed."""
        tested = self.t_test()
        if tested is None:
            return None
        name = f"{len(self.first)} seeds"
        return PairedTest(name, "paired t", tested.mean, tested.low, tested.high, tested.p)

    def t_test(self) -> PairedT | None:
        """Student's test of the differences of the seeds."""
        if self.problem:
            return None
        differences = [a["accuracy"] - b["accuracy"] for a, b in self._pairs]
        return paired_t(differences, 1 / max(1, int(self.first[0]["test_images"])))

    def strongest(self) -> PairedTest | None:
        """The test that says most: over seeds if there are several, else over images."""
        return self.over_seeds() or next(iter(self.over_images()), None)

    @property
    def _pairs(self) -> list[tuple[Row, Row]]:
        return [] if self.problem else list(zip(self.first, self.second, strict=True))


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

    `image_tests` and `seed_tests` are the numbers of tests over which Holm's method corrects.
    """

    runs: tuple[str, ...]
    rows: tuple[MatrixRow, ...]
    reference: str
    pairs: int = 0
    image_tests: int = 0
    seed_tests: int = 0

    @property
    def tests(self) -> list[dict[str, str]]:
        """Every test of the tested rows, as rows of a table."""
        return [
            {
                "Model": row.name,
                **({"Run": run} if len(self.runs) > 1 else {}),
                "Paired over": test.pairing,
                "Difference (points)": signed(test.difference),
                "95 % CI": test.interval,
                "p": format_p(test.p).removeprefix("p = ").removeprefix("p "),
                "p (Holm)": format_p(test.adjusted).removeprefix("p = ").removeprefix("p "),
                "Test": test.method,
            }
            for row in self.rows
            for run, cell in zip(self.runs, row.cells, strict=True)
            for test in (cell.tests if cell else ())
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
            families = [
                f"{format_count(number, 'test')} over {noun}"
                for number, noun in ((self.image_tests, "images"), (self.seed_tests, "seeds"))
                if number
            ]
            holm_text = (
                f" p is given for {format_count(self.pairs, 'pair')} (\u2022), corrected with "
                f"Holm's method over {' and '.join(families)}."
            )
        return (
            f"Test accuracy{seeds}. Below it: the difference from {self.reference} in percentage "
            f"points with its 95 % interval, paired {pairing}.{holm_text}"
        )


def signed(fraction: float) -> str:
    """A difference in percentage points with its sign: "+1.2", "−0.4", "0"."""
    if math.isnan(fraction):
        return UNKNOWN
    text = trimmed(100 * fraction, 2)
    if text.startswith("-"):
        return f"\u2212{text[1:]}"
    return text if text == "0" else f"+{text}"


def signed_bytes(size: float) -> str:
    """A difference of sizes with its sign."""
    if math.isnan(size):
        return UNKNOWN
    if not round(size):
        return "0 bytes"
    return f"{'+' if size > 0 else chr(0x2212)}{format_bytes(abs(size))}"


def charted(rows: Iterable[Row]) -> list[Row]:
    """The models without their training-free corrections and their int8 files."""
    return [row for row in rows if row["strategy"] not in (CORRECTION, *QUANTIZED)]


def references(rows: Sequence[Row]) -> dict[str, str]:
    """Everything that can be the reference, with its name: dense, the runs, each model.

    A run is the reference of the same models of the other runs. Runs share stages: a model that
    several runs hold is listed once.
    """
    models = grouped(charted(rows), *MODEL_COLUMNS)
    runs = {row["run_id"]: row["run"] for row in rows}
    controls = any(is_control(row) for row in rows)
    dense = "the fine-tuned dense control" if controls else "the dense baseline"
    names = {DENSE: dense}
    if len(runs) > 1:
        names[DENSE] += " of the same run"
        names |= {run_id: f"the same model of run {run}" for run_id, run in runs.items()}
    listed: set[str] = set()
    for group in models:
        key = str(group[0]["key"])
        if key not in listed:
            of = f" of run {group[0]['run']}" if len(runs) > 1 else ""
            names[key] = f"{_model_name(group[0])}{of}"
        listed |= {str(row["key"]) for row in group}
    return names


class Reference:
    """What models are compared with. `reference` is a key of `references`.

    `name` is its name in a sentence.
    """

    def __init__(self, rows: Sequence[Row], reference: str = DENSE) -> None:
        self.reference = reference
        self.name = references(rows).get(reference, "an unknown model")
        self._runs = {group[0]["run_id"]: group for group in grouped(charted(rows), "run_id")}
        self._models: dict[object, list[Row]] = {}
        if reference in self._runs:
            for row in self._runs[reference]:
                self._models.setdefault(_place(row), []).append(row)
        elif reference == DENSE:
            self._models = {run: _dense(group) for run, group in self._runs.items()}
        else:
            everywhere = [row for group in self._runs.values() for row in group]
            models = grouped(everywhere, *MODEL_COLUMNS)
            pinned = (group for group in models if reference in {row["key"] for row in group})
            self._models = {None: next(pinned, [])}

    def rows_for(self, model: Row) -> list[Row]:
        """The rows of the reference of a model, one a seed; empty where it has none."""
        if self.reference == DENSE:
            return self._models.get(model["run_id"], [])
        if self.reference not in self._runs:
            return self._models[None]
        same = self._models.get(_place(model), [])
        last = max((row["iteration"] for row in same), default=0)
        return [row for row in same if row["iteration"] == last]

    def compare(self, group: Sequence[Row]) -> Comparison:
        """A model, given by its rows (one a seed), against its reference."""
        others = {row["seed"]: row for row in self.rows_for(group[0])}
        if not others:
            return Comparison((), (), NO_MODEL)
        common = [row for row in group if row["seed"] in others]
        if not common:
            return Comparison((), (), NO_SEED)
        return paired(common, [others[row["seed"]] for row in common])


def _dense(run: Sequence[Row]) -> list[Row]:
    """The dense control of each seed of a run, else its baseline."""
    baselines = {row["seed"]: row for row in run if row["strategy"] == BASELINE}
    controls = {row["seed"]: row for row in run if is_control(row)}
    return list((baselines | controls).values())


def paired(first: Sequence[Row], second: Sequence[Row]) -> Comparison:
    """Two models whose rows are in the order of the same seeds."""
    problem = ""
    if any(a["test_digest"] != b["test_digest"] for a, b in zip(first, second, strict=True)):
        problem = OTHER_IMAGES
    elif all(_same(a, b) for a, b in zip(first, second, strict=True)):
        problem = SAME_MODEL
    elif not all(isinstance(row["correct"], bytes) for row in (*first, *second)):
        problem = NO_IMAGES
    return Comparison(tuple(first), tuple(second), problem)


def with_reference(rows: Sequence[Row], reference: str = DENSE) -> list[Row]:
    """The rows, each with its differences from the reference of its seed.

    `reference` is the name of the reference, `accuracy_difference` a fraction and
    `bytes_difference` in bytes; without a reference on the same test images they are NaN.
    """
    pinned, result = Reference(rows, reference), []
    for row in rows:
        comparison = pinned.compare([row])
        known = comparison.problem not in (OTHER_IMAGES, NO_SEED, NO_MODEL)
        result.append(
            {
                **row,
                "reference": pinned.name,
                "accuracy_difference": comparison.difference if known else math.nan,
                "bytes_difference": comparison.bytes if known else math.nan,
            }
        )
    return result


def targets(rows: Iterable[Row]) -> list[float]:
    """The target sparsities of the pruned models, the highest first."""
    pruned = {_target(row) for row in charted(rows) if is_pruned(row)}
    return sorted(pruned, reverse=True)


def usual_target(rows: Sequence[Row]) -> float | None:
    """The highest target sparsity that models of the most runs and strategies share.

    Runs count first: a sparsity that all of them have tells them apart.
    """
    pruned = [row for row in charted(rows) if is_pruned(row)]

    def shared(target: float) -> tuple[int, int, float]:
        near = [row for row in pruned if _target(row) == target]
        runs = {row["run_id"] for row in near}
        return len(runs), min(2, len({(r["run_id"], r["strategy"]) for r in near})), target

    return max({_target(row) for row in pruned}, key=shared, default=None)


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
        row, place = group[0], _place(group[0])
        others = last.setdefault(place, {})
        best = others.get(row["run_id"])
        if best is None or row["iteration"] >= best[0]["iteration"]:
            others[row["run_id"]] = group
    lines = []
    for place in sorted(last, key=_order):
        groups = last[place]
        example = next(iter(groups.values()))[0]
        chosen = tested == ALL or (is_pruned(example) and _target(example) == tested)
        cells = tuple(
            Cell(tuple(groups[run]), pinned.compare(groups[run])) if run in groups else None
            for run in runs
        )
        lines.append(MatrixRow(_model_name(example), _target(example), cells, chosen))
    return _tested(Matrix(tuple(runs.values()), tuple(lines), pinned.name))


def adjusted(tests: Sequence[PairedTest]) -> list[PairedTest]:
    """The tests, corrected together with Holm's method."""
    return [
        replace(test, adjusted=p)
        for test, p in zip(tests, holm([test.p for test in tests]), strict=True)
    ]


def _tested(table: Matrix) -> Matrix:
    """The matrix with the tests of its tested rows, corrected within each kind of pairing."""
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
        pairs=len(places),
        image_tests=len(by_images),
        seed_tests=len(by_seeds),
    )


def _image_test(a: Row, b: Row) -> PairedTest:
    n = int(a["test_images"])
    test = mcnemar(a["correct"], b["correct"], n)
    low, high = difference_interval(test.only_a, test.only_b, n)
    return PairedTest(
        f"images, seed {a['seed']}",
        "McNemar",
        (test.only_a - test.only_b) / n,
        low,
        high,
        test.p,
        only=(test.only_a, test.only_b),
    )


def _mean_difference(first: Sequence[Row], second: Sequence[Row], column: str) -> float:
    differences = [a[column] - b[column] for a, b in zip(first, second, strict=True)]
    return fmean(differences) if differences else math.nan


def _same(a: Row, b: Row) -> bool:
    return bool(a["key"] == b["key"] and a["strategy"] == b["strategy"])


def _target(row: Row) -> float:
    return round(float(row["sparsity_asked"]), TARGET_DIGITS)


def _place(row: Row) -> tuple[object, ...]:
    """What the same models of several runs have in common."""
    return row["strategy"], row["quantized_from"], _target(row)


def _order(place: tuple[object, ...]) -> tuple[bool, float, int]:
    strategy, _, target = place
    ratio = strategy in RATIO_PRUNED
    return ratio, float(str(target)), list(STRATEGIES).index(str(strategy))


def _model_name(row: Row) -> str:
    name = name_in_sentence(row["strategy"], row["sparsity_asked"], row["iteration"])
    return f"{name} at {format_percent(row['sparsity_asked'])}" if is_pruned(row) else name
