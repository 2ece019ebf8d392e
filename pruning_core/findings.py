"""What the data says, in sentences made from the data.

"Better" is said only where the exact McNemar test on the stored image-by-image results,
corrected by Holm's method over all pairs shown together, stays under 5 %.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from pruning_core.headline import chance_warnings
from pruning_core.pairs import PRUNED, Pair, Row, comparable, pairs, same_asked
from pruning_core.points import is_pruned
from pruning_core.statistics import McNemar, holm, mcnemar
from pruning_core.text import (
    format_count,
    format_p,
    format_percent,
    format_points,
    format_seconds,
    format_times,
    join_words,
)

LEVEL = 0.05


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
    several = frame["run_id"].nunique() > 1
    shown = pairs(frame)
    return [
        *(Finding("baseline", text) for text in chance_warnings(frame)),
        *_compared([pair for pair in shown if comparable(pair)], several),
        *(_incomparable(pair, several) for pair in shown if not comparable(pair)),
        *_seed_findings(frame, several),
        *_budget_findings(frame, several),
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
    if row["strategy"] == "one_shot_matched":
        same = other["strategy"] == "iterative" and other["epochs"] == row["epochs"]
        whose = "the same" if same else "the iterative run's"
        return f"one-shot with {whose} {_epochs(row)}"
    if row["strategy"] == "baseline":
        return "the baseline"
    if row["strategy"] == "one_shot":
        return "one-shot" if row["sparsity_asked"] > 0 else "the dense control"
    return str(row["strategy"])


def _spent(row: Row) -> float:
    """Epochs of fine-tuning; the baseline's own training is none."""
    return 0 if row["strategy"] == "baseline" else row["epochs"]


def _epochs(row: Row) -> str:
    return _epoch_count(_spent(row))


def _epoch_count(epochs: float) -> str:
    return f"{format_times(epochs)} {'epoch' if epochs == 1 else 'epochs'}"


def _budgets(first: Row, second: Row) -> str:
    if _spent(first) == _spent(second):
        return ""
    other = format_times(_spent(second)) if _spent(second) else "none"
    own = _epochs(first) if _spent(first) else "no epochs"
    return f", with {own} of fine-tuning against {other}"


def _runs(frame: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    for _, group in frame.groupby("run_id", sort=False):
        yield str(group["run"].iloc[0]), group


def _targets(points: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """For each strategy the rows (one a seed) at the run's highest sparsity asked."""
    pruned = points[is_pruned(points)]
    if pruned.empty:
        return {}
    target = pruned["sparsity_asked"].max()
    rows = pruned[(pruned["sparsity_asked"] - target).abs() < 1e-6]
    return {s: rows[rows["strategy"] == s] for s in PRUNED if (rows["strategy"] == s).any()}


def _seed_findings(frame: pd.DataFrame, several: bool) -> Iterator[Finding]:
    for run, points in _runs(frame):
        targets = _targets(points)
        if points["seed"].nunique() < 2 or not targets:
            continue
        asked = next(iter(targets.values()))["sparsity_asked"].iloc[0]
        spreads = join_words(
            f"{_strategy_name(rows.iloc[0].to_dict(), {'strategy': ''})} {_spread(rows)}"
            for rows in targets.values()
        )
        where = f"at {format_percent(asked)} asked, the mean over seeds"
        test = "this describes the seeds, no test is made of it"
        text = f"{_start(where, run, several)}: {spreads}; {test}."
        yield Finding("seeds", text, (run,))


def _start(text: str, run: str, several: bool) -> str:
    return f"Run {run}, {text}" if several else text[0].upper() + text[1:]


def _spread(rows: pd.DataFrame) -> str:
    mean, number = format_percent(rows["accuracy"].mean()), len(rows)
    if number < 2:
        return f"{mean} (1 seed)"
    deviation = format_points(rows["accuracy"].std(ddof=1))
    return f"{mean} (standard deviation {deviation}, {number} seeds)"


def _budget_findings(frame: pd.DataFrame, several: bool) -> Iterator[Finding]:
    for run, points in _runs(frame):
        targets = _targets(points)
        if "iterative" not in targets or len(targets) < 2:
            continue
        iterative = targets.pop("iterative")
        asked = format_percent(iterative["sparsity_asked"].iloc[0])
        number = iterative["seed"].nunique()
        mean = f", mean of {number} seeds" if number > 1 else ""
        others = "; ".join(_times(iterative, rows) for rows in targets.values())
        start = _start(f"fine-tuning on the way to {asked} asked{mean}", run, several)
        text = f"{start}: iterative took {_cost(iterative)}; {others}."
        yield Finding("budget", text, (run,))


def _cost(rows: pd.DataFrame) -> str:
    return f"{_epoch_count(rows['epochs'].mean())} and {format_seconds(rows['seconds'].mean())}"


def _times(iterative: pd.DataFrame, rows: pd.DataFrame) -> str:
    matched = rows["strategy"].iloc[0] == "one_shot_matched"
    name = "one-shot with the iterative run's epochs" if matched else "one-shot"
    ratios = [
        _ratio(iterative[column].mean() / rows[column].mean(), column)
        for column in ("epochs", "seconds")
        if rows[column].mean() > 0
    ]
    more = f", against which iterative took {join_words(ratios)}" if ratios else ""
    return f"{name} took {_cost(rows)}{more}"


def _ratio(ratio: float, unit: str) -> str:
    return f"the same {unit}" if ratio == 1 else f"{format_times(ratio)} times the {unit}"
