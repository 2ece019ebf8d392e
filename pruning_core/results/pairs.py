"""Which models of a comparison are tested against each other, and the table of all tests."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import pandas as pd

from pruning_core.common.formatting import (
    epoch_number,
    format_epochs,
    format_p,
    format_percent,
    join_words,
)
from pruning_core.methods.strategies import (
    BASELINE,
    EQUAL_SPARSITY,
    MASKED,
    ONE_SHOT,
    RATIO_PRUNED,
)
from pruning_core.results.differences import (
    SIGNIFICANCE,
    Comparison,
    PairedTest,
    adjusted,
    paired,
    signed,
)
from pruning_core.results.rows import Row, grouped, is_control, name_in_sentence

TOLERANCE = 1e-6  # target sparsities closer than this are equal
BETTER, WORSE, NO_DIFFERENCE = "better", "worse", "no significant difference"
UNKNOWN_IMAGES = "not compared: no results on the same test images are stored"
# What identifies a model within a run, whatever its seed.
MODEL = ("strategy", "quantized_from", "iteration", "sparsity_asked")


@dataclass(frozen=True)
class Pair:
    """Two rows of one seed, and the labels of all runs that contain both."""

    first: Row
    second: Row
    runs: tuple[str, ...]


@dataclass(frozen=True)
class PairResult:
    """A pair with its test, over images for one seed or over all its seeds.

    `test` is None where the models cannot be compared. `adjusted` of the test is corrected with
    Holm's method over all tests of the table with the same pairing.
    """

    first: Row
    second: Row
    runs: tuple[str, ...]
    comparison: Comparison
    test: PairedTest | None

    @property
    def names(self) -> tuple[str, str]:
        """Both models, each with its target sparsity where the two differ."""
        return pair_name(self.first, self.second), pair_name(self.second, self.first)

    @property
    def verdict(self) -> str:
        """Whether the first model is better or worse, or why that is not known."""
        if self.test is None:
            return UNKNOWN_IMAGES
        if self.test.adjusted >= SIGNIFICANCE:
            return NO_DIFFERENCE
        return BETTER if self.test.difference > 0 else WORSE


def pairs(rows: Iterable[Row]) -> list[Pair]:
    """Every pair of models to compare, each pair of stages once."""
    rows = list(rows)
    return _unique(itertools.chain(_all_pairs(rows), _between_runs(rows)))


def pair_results(rows: Iterable[Row]) -> list[PairResult]:
    """Every pair with its test over the images of each seed, then over its seeds."""
    candidates = pairs(rows)
    single = [_result(pair, [pair]) for pair in candidates]
    by_model: dict[tuple[object, ...], list[Pair]] = {}
    for pair in candidates:
        models = (tuple(row[name] for name in MODEL) for row in (pair.first, pair.second))
        by_model.setdefault((pair.runs, *models), []).append(pair)
    several = [_result(group[0], group) for group in by_model.values() if len(group) > 1]
    return [*_adjusted(single), *_adjusted([result for result in several if result.test])]


def pair_table(rows: list[Row]) -> pd.DataFrame:
    """Every pair as text: both models, what is paired, the difference, its interval, p."""
    table = pd.DataFrame([_cells(result) for result in pair_results(rows)])
    several = len({row["run_id"] for row in rows}) > 1
    return table if several or table.empty else table.drop(columns="Runs")


def pair_name(row: Row, other: Row) -> str:
    """A model beside another, with its target sparsity where the two differ."""
    name = name_in_sentence(row["strategy"], row["sparsity_asked"], row["iteration"])
    if row["strategy"] == BASELINE or is_control(row) or equal_target(row, other):
        return name
    return f"{name} at {format_percent(row['sparsity_asked'])}"


def fine_tuning_epochs(row: Row) -> float:
    """The epochs of fine-tuning; the baseline's own training is none."""
    return 0 if row["strategy"] == BASELINE else row["epochs"]


def _result(pair: Pair, group: list[Pair]) -> PairResult:
    comparison = paired([one.first for one in group], [one.second for one in group])
    tests = comparison.over_images()
    test = comparison.over_seeds() if len(group) > 1 else next(iter(tests), None)
    return PairResult(pair.first, pair.second, pair.runs, comparison, test)


def _adjusted(results: list[PairResult]) -> list[PairResult]:
    """The results, whose p-values are corrected together."""
    corrected = iter(adjusted([result.test for result in results if result.test]))
    return [replace(result, test=next(corrected)) if result.test else result for result in results]


def _cells(result: PairResult) -> dict[str, object]:
    first, second, test = result.first, result.second, result.test
    same = equal_target(first, second)
    accuracies = [
        format_percent(sum(row["accuracy"] for row in rows) / len(rows))
        for rows in (result.comparison.first, result.comparison.second)
    ]
    return {
        "Runs": join_words(result.runs),
        "Target sparsity": format_percent(first["sparsity_asked"]) if same else "",
        "First model": result.names[0],
        "Second model": result.names[1],
        "Paired over": test.pairing if test else "",
        "Accuracy": f"{accuracies[0].removesuffix(' %')} vs {accuracies[1]}",
        "Epochs": epochs_text(first, second),
        "Difference (points)": signed(result.comparison.difference),
        "95 % CI": test.interval if test else "",
        "p (Holm)": format_p(test.adjusted).removeprefix("p = ").removeprefix("p ") if test else "",
        "Test": test.method if test else "",
        "First model is": result.verdict,
    }


def epochs_text(first: Row, second: Row) -> str:
    """The fine-tuning epochs of both models: "10 epochs each", "10 vs 2 epochs"."""
    epochs = fine_tuning_epochs(first), fine_tuning_epochs(second)
    if epochs[0] == epochs[1]:
        return f"{format_epochs(epochs[0])} each"
    return f"{epoch_number(epochs[0])} vs {format_epochs(epochs[1])}"


def equal_target(first: Row, second: Row) -> bool:
    """Whether both models are pruned, and to the same target sparsity."""
    targets = first["sparsity_asked"], second["sparsity_asked"]
    return targets[0] > 0 and abs(targets[0] - targets[1]) < TOLERANCE


def _all_pairs(rows: Iterable[Row]) -> Iterator[Pair]:
    for group in grouped(rows, "run_id", "seed"):
        run = (str(group[0]["run"]),)
        for first, second in [*_between_strategies(group), *_against_dense(group)]:
            yield Pair(first, second, run)


def _between_runs(rows: list[Row]) -> Iterator[Pair]:
    """The sparsest models of one strategy in two runs, at equal target sparsity and seed."""
    for group in grouped(rows, "test_digest", "seed"):
        runs = grouped(group, "run_id")
        for strategy in (*MASKED, *RATIO_PRUNED):
            models = [(run[0]["run"], model) for run in runs if (model := _sparsest(run, strategy))]
            for (name, first), (other, second) in itertools.combinations(models, 2):
                if equal_target(first, second):
                    yield Pair(first, second, (str(name), str(other)))


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
