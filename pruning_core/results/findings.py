"""Sentences that follow from the results: which model is better, the spread of seeds, the cost.

"Better" requires that the exact McNemar test on the stored results of each test image, with
Holm's correction over all pairs shown together, stays below 5 %.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import fmean, stdev

import pandas as pd

from pruning_core.common.formatting import (
    epoch_number,
    format_epochs,
    format_p,
    format_percent,
    format_points,
    format_seconds,
    join_words,
)
from pruning_core.common.statistics import McNemar, holm, mcnemar
from pruning_core.methods.strategies import BASELINE, ITERATIVE, MASKED, RATIO_PRUNED
from pruning_core.results.best_model import chance_warnings
from pruning_core.results.pairs import (
    TOLERANCE,
    Pair,
    comparable,
    equal_target,
    pairs,
)
from pruning_core.results.rows import (
    Row,
    grouped,
    is_control,
    is_pruned,
    name_in_sentence,
    rows_of,
)

SIGNIFICANCE = 0.05
BETTER, NO_DIFFERENCE = "better", "no significant difference"


@dataclass(frozen=True)
class Finding:
    """One sentence. `kind` is baseline, pair, seeds, cost or note.

    A pair also has a `verdict` (`BETTER` or `NO_DIFFERENCE`), its corrected p-value `p`, and the
    numbers of test images that `only` the first and only the second model classifies correctly.
    """

    kind: str
    text: str
    runs: tuple[str, ...] = ()
    seed: int | None = None
    verdict: str = ""
    p: float | None = None
    only: tuple[int, int] = (0, 0)


def findings(frame: pd.DataFrame) -> list[Finding]:
    """Every sentence that the frame supports.

    The most important come first: baselines no better than chance, the means over the seeds, the
    pairs, and last the training costs.
    """
    if frame.empty:
        return []
    rows = rows_of(frame)
    several = len({row["run_id"] for row in rows}) > 1
    candidates = pairs(rows)
    return [
        *(Finding("baseline", text) for text in chance_warnings(frame)),
        *_seed_findings(rows, several),
        *_compared([pair for pair in candidates if comparable(pair)], several),
        *(_incomparable(pair, several) for pair in candidates if not comparable(pair)),
        *_cost_findings(rows, several),
    ]


def _compared(tested: list[Pair], several: bool) -> list[Finding]:
    tests = [
        mcnemar(p.first["correct"], p.second["correct"], int(p.first["test_images"]))
        for p in tested
    ]
    adjusted = holm([test.p for test in tests])
    return [
        _pair_finding(pair, test, p, len(tested), several)
        for pair, test, p in zip(tested, tests, adjusted, strict=True)
    ]


def _pair_finding(pair: Pair, test: McNemar, p: float, tests: int, several: bool) -> Finding:
    first, second, only = pair.first, pair.second, (test.only_a, test.only_b)
    better = p < SIGNIFICANCE
    if better and test.only_b > test.only_a:
        first, second, only = second, first, (test.only_b, test.only_a)
    names = _name(first, second), _name(second, first)
    claim = (
        f"{names[0]} is better than {names[1]}"
        if better
        else f"no significant difference between {names[0]} and {names[1]}"
    )
    numbers = ", ".join(
        [
            _against(format_percent(first["accuracy"]), format_percent(second["accuracy"])),
            _epochs(first, second),
            f"{format_p(p)}, McNemar, Holm over {tests}",
        ]
    )
    return Finding(
        "pair",
        f"{_place(pair, several)}: {claim} ({numbers}).",
        pair.runs,
        int(first["seed"]),
        BETTER if better else NO_DIFFERENCE,
        p,
        only,
    )


def _against(first: str, second: str) -> str:
    """Two values with one unit: "85 vs 75 %"."""
    return f"{first.removesuffix(' %')} vs {second}"


def _epochs(first: Row, second: Row) -> str:
    """The fine-tuning epochs of both models: "10 epochs each", "10 vs 2 epochs"."""
    epochs = _fine_tuning_epochs(first), _fine_tuning_epochs(second)
    if epochs[0] == epochs[1]:
        return f"{format_epochs(epochs[0])} each"
    return f"{epoch_number(epochs[0])} vs {format_epochs(epochs[1])}"


def _fine_tuning_epochs(row: Row) -> float:
    """The epochs of fine-tuning; the baseline's own training is none."""
    return 0 if row["strategy"] == BASELINE else row["epochs"]


def _incomparable(pair: Pair, several: bool) -> Finding:
    names = f"{_name(pair.first, pair.second)} and {_name(pair.second, pair.first)}"
    text = (
        f"{_place(pair, several)}: {names} cannot be compared, because no results on the same "
        "test images are stored."
    )
    return Finding("note", text, pair.runs, int(pair.first["seed"]))


def _place(pair: Pair, several: bool) -> str:
    """Runs, target sparsity and seed of a pair, at the beginning of a sentence."""
    parts = [f"seed {pair.first['seed']}"]
    if equal_target(pair.first, pair.second):
        target = format_percent(pair.first["sparsity_asked"])
        parts.insert(0, f"at {target} target sparsity")
    if several:
        parts.insert(0, f"{'run' if len(pair.runs) == 1 else 'runs'} {join_words(pair.runs)}")
    place = ", ".join(parts)
    return place[0].upper() + place[1:]


def _name(row: Row, other: Row) -> str:
    """A model in a sentence beside another, with its target sparsity where the two differ."""
    if row["strategy"] == BASELINE or is_control(row):
        return f"the {_series(row)}"
    if equal_target(row, other):
        return _series(row)
    return f"{_series(row)} at {format_percent(row['sparsity_asked'])}"


def _series(row: Row) -> str:
    return name_in_sentence(row["strategy"], row["sparsity_asked"], row["iteration"])


def _sparsest(rows: list[Row], strategies: tuple[str, ...] = MASKED) -> dict[str, list[Row]]:
    """For each strategy the rows (one a seed) at the run's highest target sparsity.

    Of several steps with that target, such as final fine-tuning, the last one counts.
    """
    pruned = [row for row in rows if is_pruned(row) and row["strategy"] in strategies]
    target = max((row["sparsity_asked"] for row in pruned), default=0.0)
    near = [row for row in pruned if abs(row["sparsity_asked"] - target) < TOLERANCE]
    last = [
        max(steps, key=lambda row: int(row["iteration"]))
        for steps in grouped(near, "strategy", "seed")
    ]
    by_strategy = {s: [row for row in last if row["strategy"] == s] for s in strategies}
    return {strategy: models for strategy, models in by_strategy.items() if models}


def _seeds(rows: list[Row]) -> int:
    return len({row["seed"] for row in rows})


def _mean(rows: list[Row], column: str) -> float:
    return fmean(row[column] for row in rows)


def _start(text: str, run: str, several: bool) -> str:
    return f"Run {run}, {text}" if several else text[0].upper() + text[1:]


def _seed_findings(rows: list[Row], several: bool) -> Iterator[Finding]:
    for group in grouped(rows, "run_id"):
        run = str(group[0]["run"])
        for strategies in (MASKED, RATIO_PRUNED) if _seeds(group) > 1 else ():
            if models := _sparsest(group, strategies):
                yield Finding("seeds", _seeds_text(models, run, several), (run,))


def _seeds_text(models: dict[str, list[Row]], run: str, several: bool) -> str:
    first = next(iter(models.values()))[0]
    target = format_percent(first["sparsity_asked"])
    kind = "pruning ratio" if first["strategy"] in RATIO_PRUNED else "target sparsity"
    means = join_words(f"{_series(rows[0])} {_spread(rows)}" for rows in models.values())
    start = _start(f"mean accuracy over seeds at {target} {kind}", run, several)
    return f"{start}: {means}; descriptive, not tested."


def _spread(rows: list[Row]) -> str:
    mean = format_percent(_mean(rows, "accuracy"))
    if len(rows) < 2:
        return f"{mean} (1 seed)"
    deviation = format_points(stdev(row["accuracy"] for row in rows))
    return f"{mean} (standard deviation {deviation}, {len(rows)} seeds)"


def _cost_findings(rows: list[Row], several: bool) -> Iterator[Finding]:
    """The fine-tuning cost of the strategies that reach the target of the iterative run."""
    for group in grouped(rows, "run_id"):
        run, models = str(group[0]["run"]), _sparsest(group)
        if ITERATIVE not in models or len(models) < 2:
            continue
        target = format_percent(models[ITERATIVE][0]["sparsity_asked"])
        number = _seeds(models[ITERATIVE])
        mean = f" (mean of {number} seeds)" if number > 1 else ""
        costs = "; ".join(f"{_series(seeds[0])} {_cost(seeds)}" for seeds in models.values())
        start = _start(f"training cost to {target}{mean}", run, several)
        yield Finding("cost", f"{start}: {costs}.", (run,))


def _cost(rows: list[Row]) -> str:
    return f"{format_epochs(_mean(rows, 'epochs'))}, {format_seconds(_mean(rows, 'seconds'))}"
