"""At most three sentences on a comparison: which is better and how sure, the best model, the cost.

"Better" requires that a paired test stays below 5 % after Holm's correction over all pairs that
the sentence chooses from: Student's paired t test over the seeds where there are several, else the
exact McNemar test on the stored results of each test image. `pairs.pair_table` has all tests.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from statistics import fmean

import pandas as pd

from pruning_core.common.formatting import (
    format_count,
    format_epochs,
    format_p,
    format_percent,
    format_seconds,
    join_words,
)
from pruning_core.methods.strategies import BASELINE, BUDGET_CONTROLS, ITERATIVE, RATIO_PRUNED
from pruning_core.results.best_model import chance_warnings, sound
from pruning_core.results.differences import (
    SIGNIFICANCE,
    Comparison,
    PairedTest,
    adjusted,
    charted,
    paired,
    signed,
    usual_target,
)
from pruning_core.results.goal import DEFAULT_GOAL, Goal
from pruning_core.results.pairs import BETTER, NO_DIFFERENCE, TOLERANCE
from pruning_core.results.rows import (
    MODEL_COLUMNS,
    Row,
    grouped,
    is_control,
    is_pruned,
    name_in_sentence,
    rows_of,
)
from pruning_core.results.verdict import verdicts_of
from pruning_core.settings.fields import fields_of
from pruning_core.settings.serialization import plain
from pruning_core.settings.spec import Spec

MAX_COSTS = 4  # models whose cost one sentence tells


@dataclass(frozen=True)
class Finding:
    """One sentence. `kind` is better, best, cost or caveat.

    A sentence on which model is better has a `verdict` (`BETTER` or `NO_DIFFERENCE`) and the
    corrected p-value `p`.
    """

    kind: str
    text: str
    verdict: str = ""
    p: float | None = None


@dataclass(frozen=True)
class _Ranking:
    """The models at one target sparsity, the most accurate first, and their tests.

    `tests` are by the places of both models, corrected over all pairs.
    """

    target: float
    models: list[list[Row]]
    tests: dict[tuple[int, int], PairedTest]

    @property
    def several_runs(self) -> bool:
        """Whether the models are of several runs."""
        return len({model[0]["run_id"] for model in self.models}) > 1


def findings(frame: pd.DataFrame, goal: Goal = DEFAULT_GOAL) -> list[Finding]:
    """Which model is better and how sure, the best model, and the cost or a caveat before it."""
    if frame.empty:
        return []
    rows = rows_of(frame)
    warnings = [Finding("caveat", text) for text in chance_warnings(frame)]
    ranking = _ranking(sound(rows))
    better = _better(ranking) if ranking else None
    best = next(
        (
            Finding("best", verdict.summary)
            for verdict in verdicts_of(rows, goal)
            if verdict.models and verdict.goal.text
        ),
        None,
    )
    last = [*warnings, *_other_images(rows), *_cost(ranking)]
    return [*filter(None, (better, best)), *last[:1]]


def _ranking(rows: list[Row]) -> _Ranking | None:
    """The models at the highest target sparsity that most runs and strategies share.

    Of several steps with that target, such as final fine-tuning, the last one counts. Only runs on
    the test images of the first one are compared. None without two models.
    """
    group = next(iter(grouped(charted(rows), "test_digest")), [])
    ratios = [row for row in group if row["strategy"] in RATIO_PRUNED]
    masked = [row for row in group if row["strategy"] not in RATIO_PRUNED]
    candidates = masked if any(map(is_pruned, masked)) else ratios
    target = usual_target(candidates)
    if target is None:
        return None
    near = [r for r in candidates if is_pruned(r) and abs(r["sparsity_asked"] - target) < TOLERANCE]
    last: dict[tuple[object, ...], list[Row]] = {}
    for model in grouped(near, *MODEL_COLUMNS):
        place = model[0]["run_id"], model[0]["strategy"]
        if place not in last or model[0]["iteration"] > last[place][0]["iteration"]:
            last[place] = model
    unique = {tuple(row["key"] for row in model): model for model in last.values()}
    models = list(unique.values())
    if len(models) < 2:
        models += _dense_of(models[0], group)
    models.sort(key=lambda model: -_mean(model, "accuracy"))
    return _tested(target, models) if len(models) > 1 else None


def _dense_of(model: list[Row], rows: list[Row]) -> list[list[Row]]:
    """The dense control of a model's run, else its baseline, as a model."""
    run = [row for row in rows if row["run_id"] == model[0]["run_id"]]
    controls = [row for row in run if is_control(row)]
    dense = controls or [row for row in run if row["strategy"] == BASELINE]
    return [dense] if dense else []


def _tested(target: float, models: list[list[Row]]) -> _Ranking:
    """The tests of all pairs; between runs, of the pairs of one strategy."""
    runs = len({model[0]["run_id"] for model in models}) > 1
    pairs = list(itertools.combinations(range(len(models)), 2))
    shared = [(i, j) for i, j in pairs if _strategy(models[i]) == _strategy(models[j])]
    tests = {}
    for i, j in shared if runs and shared else pairs:
        comparison = _common(models[i], models[j])
        if comparison and (test := comparison.strongest()):
            tests[i, j] = test
    corrected = dict(zip(tests, adjusted(list(tests.values())), strict=True))
    return _Ranking(target, models, corrected)


def _strategy(model: list[Row]) -> str:
    return str(model[0]["strategy"])


def _common(first: list[Row], second: list[Row]) -> Comparison | None:
    """Two models, paired by equal seeds; None without one."""
    others = {row["seed"]: row for row in second}
    common = [row for row in first if row["seed"] in others]
    return paired(common, [others[row["seed"]] for row in common]) if common else None


def _better(ranking: _Ranking) -> Finding:
    """The most accurate model against the next one, and against those it is better than.

    Between runs, only models of one strategy are compared: they answer which run is better.
    """
    names = [_name(model[0], ranking.several_runs) for model in ranking.models]
    accuracies = [format_percent(_mean(model, "accuracy")) for model in ranking.models]
    ratio = any(model[0]["strategy"] in RATIO_PRUNED for model in ranking.models)
    kind = "pruning ratio" if ratio else "target sparsity"
    place = f"At {format_percent(ranking.target)} {kind}"
    if not ranking.tests:
        text = (
            f"{place}: {names[0]} and {names[1]} cannot be compared, because no results on the "
            "same test images and seeds are stored."
        )
        return Finding("better", text)
    first, second = min(ranking.tests)
    test = ranking.tests[first, second]
    pairs = format_count(len(ranking.tests), "pair")
    numbers = (
        f"{accuracies[first].removesuffix(' %')} vs {accuracies[second]}, a difference of "
        f"{signed(test.difference)} points (95 % CI {test.interval}; {_test_name(test)}: "
        f"{format_p(test.p)}; Holm over {pairs}: {format_p(test.adjusted)})"
    )
    better, worse, of = names[first], names[second], ""
    if ranking.several_runs and len({_strategy(ranking.models[i]) for i in (first, second)}) == 1:
        better, worse = (f"run {ranking.models[i][0]['run']}" for i in (first, second))
        of = f" with {_name(ranking.models[first][0], False)}"
    verdict = NO_DIFFERENCE if test.adjusted >= SIGNIFICANCE else BETTER
    if verdict == NO_DIFFERENCE:
        claim = f"no significant difference between {better} and {worse}{of}"
    elif test.difference > 0:
        claim = f"{better} is better than {worse}{of}"
    else:  # the seeds that both have disagree with the means of all seeds
        claim = f"{better} is worse than {worse}{of} on equal seeds"
    won = verdict == BETTER and test.difference > 0
    also = _also(ranking, (first, second), bool(of), "also " * won)
    return Finding("better", f"{place}, {claim}: {numbers}{also}.", verdict, test.adjusted)


def _also(ranking: _Ranking, pair: tuple[int, int], between_runs: bool, word: str) -> str:
    """The other models than which the first of the pair is better.

    Between runs, the other strategies with which the run of the first is better. `word` is
    "also " after a pair with a difference.
    """
    runs = tuple(ranking.models[i][0]["run_id"] for i in pair)
    won = [
        (i, j)
        for (i, j), test in ranking.tests.items()
        if (i, j) != pair and test.adjusted < SIGNIFICANCE and test.difference > 0
    ]
    if between_runs:
        names = [
            _name(ranking.models[i][0], False)
            for i, j in won
            if (ranking.models[i][0]["run_id"], ranking.models[j][0]["run_id"]) == runs
        ]
        run = f"run {ranking.models[pair[0]][0]['run']}"
        return f"; {run} is {word}better with {join_words(names)}" if names else ""
    names = [_name(ranking.models[j][0], ranking.several_runs) for i, j in won if i == pair[0]]
    first = _name(ranking.models[pair[0]][0], ranking.several_runs)
    return f"; {first} is {word}better than {join_words(names)}" if names else ""


def _test_name(test: PairedTest) -> str:
    """The test of a sentence with what it is paired over."""
    if test.pairing.startswith("images"):
        return f"{test.method} over the test {test.pairing}"
    return f"{test.method} over {test.pairing}"


def _name(row: Row, several: bool) -> str:
    name = name_in_sentence(row["strategy"], row["sparsity_asked"], row["iteration"])
    name = f"the {name}" if row["strategy"] == BASELINE or is_control(row) else name
    return f"{name} of run {row['run']}" if several else name


def _other_images(rows: list[Row]) -> list[Finding]:
    """A caveat where runs have different test images."""
    groups = grouped(rows, "test_digest")
    if len(groups) < 2:
        return []
    names = (join_words(dict.fromkeys(str(row["run"]) for row in group)) for group in groups)
    return [
        Finding(
            "caveat",
            f"Runs on different test images are not compared: {' | '.join(names)}.",
        )
    ]


def _cost(ranking: _Ranking | None) -> list[Finding]:
    """The cost of the models at the highest target sparsity."""
    if ranking is None:
        return []
    models = [model for model in ranking.models if is_pruned(model[0])]
    several = ranking.several_runs
    number = max(len(model) for model in models)
    mean = f" (mean of {number} seeds)" if number > 1 else ""
    costs = [
        f"{_name(model[0], several)} {format_epochs(_mean(model, 'epochs'))}, "
        f"{format_seconds(_mean(model, 'seconds'))}"
        for model in models[:MAX_COSTS]
    ]
    text = f"Training cost to {format_percent(ranking.target)}{mean}: {'; '.join(costs)}."
    return [Finding("cost", text)]


def _mean(rows: list[Row], column: str) -> float:
    return fmean(row[column] for row in rows)


def _start(text: str, run: str, several: bool) -> str:
    return f"Run {run}, {text}" if several else text[0].upper() + text[1:]


def control_notes(frame: pd.DataFrame) -> list[str]:
    """What the one-shot controls of a run share with its iterative model: epochs, learning rates.

    A run whose learning rates are not recorded has none.
    """
    if frame.empty:
        return []
    rows, notes = rows_of(frame), []
    several = len({row["run_id"] for row in rows}) > 1
    for group in grouped(rows, "run_id"):
        run, shared = str(group[0]["run"]), dict[str, bool]()
        for seed_rows in grouped(group, "seed"):
            chain = [row for row in seed_rows if row["strategy"] == ITERATIVE]
            for control in (row for row in seed_rows if row["strategy"] in BUDGET_CONTROLS):
                equal = _equal_learning_rates(chain, control)
                if equal is not None:
                    shared.setdefault(control["strategy"], equal)
        if shared:
            notes.append(_start(_control_text(shared), run, several))
    return notes


def _equal_learning_rates(chain: list[Row], control: Row) -> bool | None:
    """Whether a control was trained with the learning rates of the chain; None if not known.

    The last learning rates of the epochs that both have are compared.
    """
    rates, before = dict[float, float](), 0.0
    for row in sorted(chain, key=lambda row: int(row["iteration"])):
        rates |= {plain(before + epoch["epoch"]): epoch["lr"] for epoch in row["history"]}
        before = row["epochs"]
    if before != control["epochs"]:  # the chain is not finished
        return None
    common = [
        (epoch["lr"], rates[plain(epoch["epoch"])])
        for epoch in control["history"]
        if plain(epoch["epoch"]) in rates
    ]
    return all(math.isclose(a, b, rel_tol=1e-6) for a, b in common) if common else None


def _control_text(shared: dict[str, bool]) -> str:
    """One or two sentences; `shared` says which controls have the chain's learning rates."""
    iterative = f"{_title(ITERATIVE)} pruning"
    sentences = [
        f"{_title(name)} has the epochs and the learning rates of {iterative}"
        if equal
        else f"{_title(name)} has the epochs of {iterative}, but one learning-rate schedule over "
        "all of them"
        for name, equal in shared.items()
    ]
    text = f"{'; '.join(sentences)}."
    if not any(shared.values()):
        setting = fields_of(Spec)["iterative.equal_schedule"]
        text += (
            " Which of the two is better can depend on the learning rates. The setting "
            f'"{setting.title}" ({setting.flag}) adds a control that has those of {iterative}.'
        )
    return text


def _title(strategy: str) -> str:
    return name_in_sentence(strategy, 1.0)
