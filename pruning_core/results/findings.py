"""What the data says, in sentences made from the data.

"Better" is said only where the exact McNemar test on the stored image-by-image results,
corrected by Holm's method over all pairs shown together, stays under 5 %.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from statistics import fmean, stdev

import pandas as pd

from pruning_core.common.formatting import (
    epoch_number,
    format_count,
    format_epochs,
    format_p,
    format_percent,
    format_points,
    format_seconds,
    format_times,
    join_words,
)
from pruning_core.common.statistics import McNemar, holm, mcnemar
from pruning_core.methods.strategies import CORRECTION, STRUCTURED
from pruning_core.results.best_model import chance_warnings
from pruning_core.results.rows import Row, grouped, is_pruned, model_name, rows_of

LEVEL = 0.05
SAME_SPARSITY = (
    ("iterative", "one_shot_equal_budget"),
    ("iterative", "one_shot"),
    ("one_shot_equal_budget", "one_shot"),
    (CORRECTION, "one_shot"),  # the highest rung; its 0 epochs are told beside one-shot's
)
PRUNED = ("iterative", "one_shot", "one_shot_equal_budget")
# What was asked of these is a share of something else, so they meet no mask at "the same".
APART = (STRUCTURED,)


@dataclass(frozen=True)
class Finding:
    """One sentence. `kind` is baseline, pair, seeds, budget or note; a pair has a verdict.

    `verdict` is "better" or "no difference"; `p` is the corrected p-value.
    """

    kind: str
    text: str
    runs: tuple[str, ...] = ()
    seed: int | None = None
    verdict: str = ""
    p: float | None = None


def findings(frame: pd.DataFrame) -> list[Finding]:
    """Every sentence the frame supports: doubted baselines, pairs, then seeds, then budgets."""
    if frame.empty:
        return []
    rows = rows_of(frame)
    several = len({row["run_id"] for row in rows}) > 1
    shown = pairs(rows)
    return [
        *(Finding("baseline", text) for text in chance_warnings(frame)),
        *_compared([pair for pair in shown if comparable(pair)], several),
        *(_incomparable(pair, several) for pair in shown if not comparable(pair)),
        *_seed_findings(rows, several),
        *_budget_findings(rows, several),
    ]


def _compared(shown: list[Pair], several: bool) -> list[Finding]:
    tests = [
        mcnemar(p.first["correct"], p.second["correct"], int(p.first["test_images"])) for p in shown
    ]
    adjusted = holm([test.p for test in tests])
    return [
        _pair_finding(pair, test, p, len(shown), several)
        for pair, test, p in zip(shown, tests, adjusted, strict=True)
    ]


def _pair_finding(pair: Pair, test: McNemar, p: float, shown: int, several: bool) -> Finding:
    better = p < LEVEL
    first, second, only = pair.first, pair.second, (test.only_a, test.only_b)
    if better and test.only_b > test.only_a:
        first, second, only = second, first, (test.only_b, test.only_a)
    names = _with_accuracy(first, second), _with_accuracy(second, first)
    claim = (
        f"{names[0]} is better than {names[1]}"
        if better
        else f"no difference can be shown between {names[0]} and {names[1]}"
    )
    text = (
        f"{_place(pair, several)}: {claim}{_budgets(first, second)}: of "
        f"{format_count(int(first['test_images']), 'test image')}, {only[0]:,} "
        f"{'is' if only[0] == 1 else 'are'} right only with the first and {only[1]:,} only with "
        f"the second, {format_p(p)} after Holm's correction over {format_count(shown, 'pair')}."
    )
    verdict = "better" if better else "no difference"
    return Finding("pair", text, pair.runs, int(first["seed"]), verdict, p)


def _incomparable(pair: Pair, several: bool) -> Finding:
    names = f"{_name(pair.first, pair.second)} and {_name(pair.second, pair.first)}"
    text = (
        f"{_place(pair, several)}: {names} cannot be compared image by image, because they "
        "were not tested on the same stored images."
    )
    return Finding("note", text, pair.runs, int(pair.first["seed"]))


def _place(pair: Pair, several: bool) -> str:
    parts = [f"seed {pair.first['seed']}"]
    if same_asked(pair.first, pair.second):
        parts.insert(0, f"at {format_percent(pair.first['sparsity_asked'])} asked")
    if several:
        parts.insert(0, f"{'run' if len(pair.runs) == 1 else 'runs'} {join_words(pair.runs)}")
    place = ", ".join(parts)
    return place[0].upper() + place[1:]


def _with_accuracy(row: Row, other: Row) -> str:
    return f"{_name(row, other)} ({format_percent(row['accuracy'])})"


def _name(row: Row, other: Row) -> str:
    name = _strategy_name(row, other)
    if row["sparsity_asked"] > 0 and not same_asked(row, other):
        return f"{name} at {format_percent(row['sparsity_asked'])} asked"
    return name


def _strategy_name(row: Row, other: Row) -> str:
    if row["strategy"] == "one_shot_equal_budget":
        same = other["strategy"] == "iterative" and other["epochs"] == row["epochs"]
        whose = "the same" if same else "the iterative run's"
        return f"one-shot with {whose} {_epochs(row)}"
    if row["strategy"] == "baseline":
        return "the baseline"
    if row["strategy"] == "one_shot":
        return "one-shot" if row["sparsity_asked"] > 0 else "the dense control"
    if row["strategy"] in (CORRECTION, STRUCTURED):
        return model_name(row["strategy"], row["sparsity_asked"], row["iteration"])
    return str(row["strategy"])


def _spent(row: Row) -> float:
    """Epochs of fine-tuning; the baseline's own training is none."""
    return 0 if row["strategy"] == "baseline" else row["epochs"]


def _epochs(row: Row) -> str:
    return format_epochs(_spent(row))


def _budgets(first: Row, second: Row) -> str:
    if _spent(first) == _spent(second):
        return ""
    other = epoch_number(_spent(second)) if _spent(second) else "none"
    own = _epochs(first) if _spent(first) else "no epochs"
    return f", with {own} of fine-tuning against {other}"


def _targets(points: list[Row], strategies: tuple[str, ...] = PRUNED) -> dict[str, list[Row]]:
    """For each strategy the rows (one a seed) at the run's highest sparsity asked.

    Of several steps of a chain there, such as a tail, the last one.
    """
    pruned = [row for row in points if is_pruned(row) and row["strategy"] in strategies]
    target = max((row["sparsity_asked"] for row in pruned), default=0.0)
    near = [row for row in pruned if abs(row["sparsity_asked"] - target) < 1e-6]
    ends = [max(steps, key=_step) for steps in grouped(near, "strategy", "seed")]
    found = {s: [row for row in ends if row["strategy"] == s] for s in strategies}
    return {strategy: rows for strategy, rows in found.items() if rows}


def _step(row: Row) -> int:
    return int(row["iteration"])


def _seeds(rows: list[Row]) -> int:
    return len({row["seed"] for row in rows})


def _mean(rows: list[Row], column: str) -> float:
    return fmean(row[column] for row in rows)


def _seed_findings(frame: list[Row], several: bool) -> Iterator[Finding]:
    for points in grouped(frame, "run_id"):
        run = str(points[0]["run"])
        for strategies in (PRUNED, APART) if _seeds(points) > 1 else ():
            if targets := _targets(points, strategies):
                yield Finding("seeds", _seeds_told(targets, run, several), (run,))


def _seeds_told(targets: dict[str, list[Row]], run: str, several: bool) -> str:
    asked = next(iter(targets.values()))[0]["sparsity_asked"]
    spreads = join_words(
        f"{_strategy_name(rows[0], {'strategy': ''})} {_spread(rows)}" for rows in targets.values()
    )
    where = f"at {format_percent(asked)} asked, the mean over seeds"
    test = "this describes the seeds, no test is made of it"
    return f"{_start(where, run, several)}: {spreads}; {test}."


def _start(text: str, run: str, several: bool) -> str:
    return f"Run {run}, {text}" if several else text[0].upper() + text[1:]


def _spread(rows: list[Row]) -> str:
    mean, number = format_percent(_mean(rows, "accuracy")), len(rows)
    if number < 2:
        return f"{mean} (1 seed)"
    deviation = format_points(stdev(row["accuracy"] for row in rows))
    return f"{mean} (standard deviation {deviation}, {number} seeds)"


def _budget_findings(frame: list[Row], several: bool) -> Iterator[Finding]:
    for points in grouped(frame, "run_id"):
        run, targets = str(points[0]["run"]), _targets(points)
        if "iterative" not in targets or len(targets) < 2:
            continue
        iterative = targets.pop("iterative")
        asked = format_percent(iterative[0]["sparsity_asked"])
        number = _seeds(iterative)
        mean = f", mean of {number} seeds" if number > 1 else ""
        others = "; ".join(_times(iterative, rows) for rows in targets.values())
        start = _start(f"fine-tuning on the way to {asked} asked{mean}", run, several)
        text = f"{start}: iterative took {_cost(iterative)}; {others}."
        yield Finding("budget", text, (run,))


def _cost(rows: list[Row]) -> str:
    return f"{format_epochs(_mean(rows, 'epochs'))} and {format_seconds(_mean(rows, 'seconds'))}"


def _times(iterative: list[Row], rows: list[Row]) -> str:
    equal_budget = rows[0]["strategy"] == "one_shot_equal_budget"
    name = "one-shot with the iterative run's epochs" if equal_budget else "one-shot"
    ratios = [
        _ratio(_mean(iterative, column) / _mean(rows, column), column)
        for column in ("epochs", "seconds")
        if _mean(rows, column) > 0
    ]
    more = f", against which iterative took {join_words(ratios)}" if ratios else ""
    return f"{name} took {_cost(rows)}{more}"


def _ratio(ratio: float, unit: str) -> str:
    return f"the same {unit}" if ratio == 1 else f"{format_times(ratio)} times the {unit}"


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
