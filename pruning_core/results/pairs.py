"""Which models of a comparison are tested against each other, and the table of all tests."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import pandas as pd

from pruning_core.common.formatting import (
    epoch_number,
    format_epochs,
    format_p,
    format_percent,
    join_words,
    signed,
)
from pruning_core.methods.strategies import (
    BASELINE,
    EQUAL_SPARSITY,
    MASKED,
    ONE_SHOT,
    RATIO_PRUNED,
)
from pruning_core.results.paired_tests import (
    SIGNIFICANCE,
    Comparison,
    PairedTest,
    adjusted,
    paired,
)
from pruning_core.results.rows import (
    MODEL_COLUMNS,
    Row,
    grouped,
    is_control,
    name_in_sentence,
    target_sparsity,
)
from pruning_core.results.shared_models import pooled, runs_by_stage

BETTER, WORSE, NO_DIFFERENCE = "better", "worse", "no significant difference"
UNKNOWN_IMAGES = "not compared: no results on the same test images are stored"
BETWEEN_RUNS = (
    "Between runs, only models of the same strategy and the same target sparsity are compared."
)

Pair = tuple[Row, Row]  # two rows of one seed


@dataclass(frozen=True)
class PairResult:
    """Two models with their test, over images for one seed or over all their seeds.

    `runs` are the runs that contain both: "A and B"; for models of different runs "A vs B". `test`
    is None where the models cannot be compared. `adjusted` of the test is corrected with Holm's
    method over all tests of the table with the same pairing.
    """

    first: Row
    second: Row
    runs: str
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


def pair_results(rows: Iterable[Row]) -> list[PairResult]:
    """Every pair with its test over the images of each seed, then over its seeds.

    Runs share stages: two stages make one pair, and models of several runs that share a stage are
    compared as one model with the seeds of all (`shared_models`).
    """
    rows = list(rows)
    candidates = [*_within_runs(rows), *_between_runs(rows)]
    single: dict[frozenset[str], Pair] = {}
    for pair in candidates:
        if len(_stages(pair)) > 1:  # a stage makes no pair with itself
            single.setdefault(_stages(pair), pair)
    several = {frozenset(group): list(group.values()) for group in _by_models(rows, candidates)}
    whole = [group for pairs, group in several.items() if not any(pairs < one for one in several)]
    holders = runs_by_stage(rows)
    by_images = [_result([pair], holders) for pair in single.values()]
    by_seeds = [_result(group, holders) for group in whole if len(group) > 1]
    return [*_adjusted(by_images), *_adjusted([result for result in by_seeds if result.test])]


def _by_models(rows: list[Row], candidates: list[Pair]) -> list[dict[frozenset[str], Pair]]:
    """The pairs grouped by their two models, each pair of stages once, in the order of the seeds.

    The first rows of a group are of one model, and the second ones of the other.
    """
    models = pooled(grouped(rows, *MODEL_COLUMNS))
    numbers = {_stage(row): number for number, model in enumerate(models) for row in model}
    groups: dict[frozenset[int], dict[frozenset[str], Pair]] = {}
    for pair in candidates:
        if len(_stages(pair)) == 1:
            continue
        sides = [numbers[_stage(row)] for row in pair]
        group = groups.setdefault(frozenset(sides), {})
        beginning = next(iter(group.values()), pair)[0]
        ordered = pair if numbers[_stage(beginning)] == sides[0] else pair[::-1]
        group.setdefault(_stages(pair), ordered)
    return [
        dict(sorted(group.items(), key=lambda entry: int(entry[1][0]["seed"])))
        for group in groups.values()
    ]


def _stage(row: Row) -> tuple[str, str, str]:
    return row["key"], row["strategy"], row["quantized_from"]


def _stages(pair: Pair) -> frozenset[str]:
    return frozenset(row["key"] for row in pair)


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


def _result(group: list[Pair], holders: Mapping[str, Mapping[str, str]]) -> PairResult:
    """The pairs of two models, one a seed, with their test."""
    first, second = map(list, zip(*group, strict=True))
    comparison = paired(first, second)
    tests = comparison.over_images()
    test = comparison.over_seeds() if len(group) > 1 else next(iter(tests), None)
    runs = _runs_text(first, second, holders)
    return PairResult(first[0], second[0], runs, comparison, test)


def _runs_text(
    first: list[Row], second: list[Row], holders: Mapping[str, Mapping[str, str]]
) -> str:
    """The runs that hold all rows: "A and B"; where none does, those of both models: "A vs B"."""
    if together := _runs_of([*first, *second], holders):
        return join_words(together)
    sides = [
        join_words(_runs_of(rows, holders) or dict.fromkeys(_names(rows, holders)))
        for rows in (first, second)
    ]
    return sides[0] if sides[0] == sides[1] else " vs ".join(sides)


def _runs_of(rows: list[Row], holders: Mapping[str, Mapping[str, str]]) -> list[str]:
    """The names of the runs that hold all rows."""
    ids = set.intersection(*(set(holders[row["key"]]) for row in rows))
    return [label for run, label in holders[rows[0]["key"]].items() if run in ids]


def _names(rows: list[Row], holders: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    return itertools.chain.from_iterable(holders[row["key"]].values() for row in rows)


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
        "Runs": result.runs,
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
    targets = target_sparsity(first), target_sparsity(second)
    return targets[0] > 0 and targets[0] == targets[1]


def _within_runs(rows: Iterable[Row]) -> Iterator[Pair]:
    for group in grouped(rows, "run_id", "seed"):
        yield from _between_strategies(group)
        yield from _against_dense(group)


def _between_runs(rows: list[Row]) -> Iterator[Pair]:
    """The models of one strategy in two runs, at their highest equal target sparsity and a seed."""
    for group in grouped(rows, "test_digest", "seed"):
        runs = grouped(group, "run_id")
        for strategy in (*MASKED, *RATIO_PRUNED):
            models = [model for run in runs if (model := _by_target(run, strategy))]
            for first, second in itertools.combinations(models, 2):
                if common := first.keys() & second.keys():
                    yield first[max(common)], second[max(common)]


def _by_target(rows: list[Row], strategy: str) -> dict[float, Row]:
    """The pruned models of a strategy by their target sparsity, of several steps the last one."""
    pruned = [row for row in rows if row["strategy"] == strategy and row["sparsity_asked"] > 0]
    return {target_sparsity(row): row for row in sorted(pruned, key=lambda r: int(r["iteration"]))}


def _between_strategies(rows: list[Row]) -> Iterator[tuple[Row, Row]]:
    """Models of two strategies with the same target sparsity.

    Of the corrected models the one with the most corrections counts; the sentence shows its 0
    epochs beside those of one-shot.
    """
    for first_strategy, second_strategy in EQUAL_SPARSITY:
        first = _sparsest(rows, first_strategy)
        second = first and _at(rows, second_strategy, target_sparsity(first))
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
    models = _by_target(rows, strategy)
    return models[max(models)] if models else None


def _at(rows: list[Row], strategy: str, target: float) -> Row | None:
    near = (r for r in rows if r["strategy"] == strategy and target_sparsity(r) == target)
    return next(near, None)
