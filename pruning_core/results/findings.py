"""At most three sentences on a comparison: which is better and how sure, the best model, the cost.

"Better" requires that a paired test stays below 5 % after Holm's correction over all pairs that
the sentence chooses from: Student's paired t test over the seeds where there are several, else the
exact McNemar test on the stored results of each test image. `pairs.pair_table` has all tests.
Runs share stages: models that share one are one model, with the seeds of all (`shared_models`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
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
    signed,
)
from pruning_core.methods.strategies import BASELINE, BUDGET_CONTROLS, ITERATIVE, RATIO_PRUNED
from pruning_core.results.best_model import above_chance, chance_warnings
from pruning_core.results.difference_matrix import usual_target
from pruning_core.results.goal import DEFAULT_GOAL, Goal
from pruning_core.results.paired_tests import (
    NO_IMAGES,
    NO_SEED,
    OTHER_IMAGES,
    SAME_MODEL,
    SIGNIFICANCE,
    Comparison,
    PairedTest,
    adjusted,
    paired,
)
from pruning_core.results.pairs import BETTER, BETWEEN_RUNS, NO_DIFFERENCE
from pruning_core.results.rows import (
    MODEL_COLUMNS,
    Row,
    charted,
    grouped,
    is_control,
    is_pruned,
    name_in_sentence,
    rows_of,
    target_sparsity,
)
from pruning_core.results.shared_models import pooled, run_text, runs_by_stage
from pruning_core.results.verdict import verdicts_of
from pruning_core.settings.fields import fields_of
from pruning_core.settings.serialization import plain
from pruning_core.settings.spec import Spec

MAX_COSTS = 4  # models whose cost one sentence tells


# Why two models are not tested.
REASONS = {
    NO_SEED: "they have no seed in common",
    SAME_MODEL: "they are the same trained model",
    NO_IMAGES: "no results on the same test images are stored",
    OTHER_IMAGES: "no results on the same test images are stored",
}


@dataclass(frozen=True)
class Finding:
    """One sentence. `kind` is better, best, cost or caveat.

    A sentence on which model is better has a `verdict` (`BETTER` or `NO_DIFFERENCE`) and the
    corrected p-value `p`. `note` says which models it leaves out; it is empty for none.
    """

    kind: str
    text: str
    verdict: str = ""
    p: float | None = None
    note: str = ""


@dataclass(frozen=True)
class _Ranking:
    """The models at one target sparsity, the most accurate first, and their tests.

    `tests` are by the places of both models, corrected over all of them; without any, `problem`
    is the one of the first two models. `several_runs` says that no run has all models, so that
    they are named with their run; `equal_strategies` that only those of one strategy are tested.
    """

    target: float
    models: list[list[Row]]
    tests: dict[tuple[int, int], PairedTest]
    problem: str = ""
    several_runs: bool = False
    equal_strategies: bool = False


def findings(frame: pd.DataFrame, goal: Goal = DEFAULT_GOAL) -> list[Finding]:
    """Which model is better and how sure, the best model, and the cost or a caveat before it."""
    if frame.empty:
        return []
    rows = rows_of(frame)
    warnings = [Finding("caveat", text) for text in chance_warnings(frame)]
    ranking = _ranking(above_chance(rows))
    better = _better(ranking) if ranking else None
    best = next(
        (
            Finding("best", verdict.summary)
            for verdict in verdicts_of(rows, goal)
            if verdict.models and verdict.goal.text
        ),
        None,
    )
    last = [*warnings, *_other_images(rows), *_other_seeds(rows), *_cost(ranking)]
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
    near = [r for r in candidates if is_pruned(r) and target_sparsity(r) == target]
    last: dict[tuple[object, ...], list[Row]] = {}
    for model in grouped(near, *MODEL_COLUMNS):
        place = model[0]["run_id"], model[0]["strategy"]
        if place not in last or model[0]["iteration"] > last[place][0]["iteration"]:
            last[place] = model
    runs = {key: set(ids) for key, ids in runs_by_stage(group).items()}
    models = _distinct(pooled(last.values()), runs)
    if len(models) < 2:
        models += _dense_of(models[0], group, runs)
    models.sort(key=lambda model: -_mean(model, "accuracy"))
    return _tested(target, models, runs) if len(models) > 1 else None


def _runs_of(model: list[Row], runs: dict[str, set[str]]) -> set[str]:
    """The ids of the runs that hold a stage of the model."""
    return set[str]().union(*(runs[row["key"]] for row in model))


def _distinct(models: list[list[Row]], runs: dict[str, set[str]]) -> list[list[Row]]:
    """The models without those that are, in all their runs, the same stages as another one.

    An example is one-shot pruning with as many epochs as iterative pruning.
    """
    chosen: list[list[Row]] = []
    for model in sorted(models, key=len, reverse=True):
        keys, ids = {row["key"] for row in model}, _runs_of(model, runs)
        if not any(
            keys <= {row["key"] for row in other} and ids <= _runs_of(other, runs)
            for other in chosen
        ):
            chosen.append(model)
    return chosen


def _dense_of(model: list[Row], rows: list[Row], runs: dict[str, set[str]]) -> list[list[Row]]:
    """The dense control of a model's runs, else their baseline, as a model: of several, the one
    with the most seeds of the model.
    """
    ids, seeds = _runs_of(model, runs), {row["seed"] for row in model}
    of_runs = [row for row in rows if row["run_id"] in ids]
    controls = [row for row in of_runs if is_control(row)]
    dense = controls or [row for row in of_runs if row["strategy"] == BASELINE]
    models = pooled(grouped(dense, *MODEL_COLUMNS))
    models.sort(key=lambda one: -len(seeds & {row["seed"] for row in one}))
    return models[:1]


def _tested(target: float, models: list[list[Row]], runs: dict[str, set[str]]) -> _Ranking:
    """The tests of all pairs; between runs, of the pairs of one strategy where there are any."""
    pairs = list(itertools.combinations(range(len(models)), 2))
    several = not set.intersection(*(_runs_of(model, runs) for model in models))
    equal = [(i, j) for i, j in pairs if _strategy(models[i]) == _strategy(models[j])]
    tests = _tests(models, equal) if several else {}
    restricted = bool(tests) and len(equal) < len(pairs)
    tests = tests or _tests(models, pairs)
    problem = "" if tests else _common(*models[:2]).problem
    return _Ranking(target, models, tests, problem, several, restricted)


def _tests(
    models: list[list[Row]], pairs: list[tuple[int, int]]
) -> dict[tuple[int, int], PairedTest]:
    """The tests of these pairs of models, where they can be tested, corrected together."""
    tests = {(i, j): _common(models[i], models[j]).strongest() for i, j in pairs}
    known = {pair: test for pair, test in tests.items() if test}
    return dict(zip(known, adjusted(list(known.values())), strict=True))


def _strategy(model: list[Row]) -> str:
    return str(model[0]["strategy"])


def _common(first: list[Row], second: list[Row]) -> Comparison:
    """Two models, paired by equal seeds."""
    others = {row["seed"]: row for row in second}
    common = [row for row in first if row["seed"] in others]
    if not common:
        return Comparison((), (), NO_SEED)
    return paired(common, [others[row["seed"]] for row in common])


def _better(ranking: _Ranking) -> Finding:
    """The most accurate model against the next one, and against those it is better than.

    Between runs, models of one strategy are compared: they answer which run is better. Where no
    such pair can be tested, all pairs are.
    """
    names = [_name(model, ranking.several_runs) for model in ranking.models]
    ratio = any(model[0]["strategy"] in RATIO_PRUNED for model in ranking.models)
    kind = "pruning ratio" if ratio else "target sparsity"
    place = f"At {format_percent(ranking.target)} {kind}"
    if not ranking.tests:
        reason = REASONS[ranking.problem]
        text = f"{place}: {names[0]} and {names[1]} cannot be compared, because {reason}."
        return Finding("better", text)
    first, second = min(ranking.tests)
    test = ranking.tests[first, second]
    paired_rows = _common(ranking.models[first], ranking.models[second])
    accuracies = [
        format_percent(_mean(rows, "accuracy")) for rows in (paired_rows.first, paired_rows.second)
    ]
    pairs = format_count(len({test.stages for test in ranking.tests.values()}), "pair")
    numbers = (
        f"{accuracies[0].removesuffix(' %')} vs {accuracies[1]}, a difference of "
        f"{signed(test.difference)} points (95 % CI {test.interval}; {_test_name(test)}: "
        f"{format_p(test.p)}; Holm over {pairs}: {format_p(test.adjusted)})"
    )
    better, worse, of, verb = names[first], names[second], "", "is"
    if _between_runs(ranking, (first, second)):
        better, worse = (run_text(ranking.models[i]) for i in (first, second))
        of = f" with {_name(ranking.models[first], False)}"
        verb = "are" if better.startswith("runs ") else "is"
    verdict = NO_DIFFERENCE if test.adjusted >= SIGNIFICANCE else BETTER
    if verdict == NO_DIFFERENCE:
        claim = f"no significant difference between {better} and {worse}{of}"
    elif test.difference > 0:
        claim = f"{better} {verb} better than {worse}{of}"
    else:  # the seeds that both have disagree with the means of all seeds
        claim = f"{better} {verb} worse than {worse}{of} on equal seeds"
    won = verdict == BETTER and test.difference > 0
    also = _also(ranking, (first, second), "also " * won)
    note = BETWEEN_RUNS if ranking.equal_strategies else ""
    return Finding("better", f"{place}, {claim}: {numbers}{also}.", verdict, test.adjusted, note)


def _between_runs(ranking: _Ranking, pair: tuple[int, int]) -> bool:
    """Whether a pair is one strategy in two runs."""
    first, second = (ranking.models[i] for i in pair)
    return ranking.several_runs and _strategy(first) == _strategy(second)


def _also(ranking: _Ranking, pair: tuple[int, int], word: str) -> str:
    """The other models than which the first of the pair is better.

    Between runs, the other strategies with which the run of the first is better. `word` is
    "also " after a pair with a difference.
    """
    runs = [run_text(ranking.models[i]) for i in pair]
    won = [
        (i, j)
        for (i, j), test in ranking.tests.items()
        if (i, j) != pair and test.adjusted < SIGNIFICANCE and test.difference > 0
    ]
    if _between_runs(ranking, pair):
        names = [
            _name(ranking.models[i], False)
            for i, j in won
            if [run_text(ranking.models[i]), run_text(ranking.models[j])] == runs
        ]
        verb = "are" if runs[0].startswith("runs ") else "is"
        return f"; {runs[0]} {verb} {word}better with {join_words(names)}" if names else ""
    names = [_name(ranking.models[j], ranking.several_runs) for i, j in won if i == pair[0]]
    first = _name(ranking.models[pair[0]], ranking.several_runs)
    return f"; {first} is {word}better than {join_words(names)}" if names else ""


def _test_name(test: PairedTest) -> str:
    """The test of a sentence with what it is paired over."""
    if test.pairing.startswith("images"):
        return f"{test.method} over the test {test.pairing}"
    return f"{test.method} over {test.pairing}"


def _name(model: list[Row], several: bool) -> str:
    row = model[0]
    name = name_in_sentence(row["strategy"], row["sparsity_asked"], row["iteration"])
    name = f"the {name}" if row["strategy"] == BASELINE or is_control(row) else name
    return f"{name} of {run_text(model)}" if several else name


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


def _other_seeds(rows: list[Row]) -> list[Finding]:
    """A caveat where runs on the same test images have no seed in common."""
    for group in grouped(rows, "test_digest"):
        together: list[tuple[set[int], list[str]]] = []
        for run in grouped(group, "run_id"):
            seeds, names = {int(row["seed"]) for row in run}, [str(run[0]["run"])]
            for other in [one for one in together if one[0] & seeds]:
                together.remove(other)
                seeds, names = other[0] | seeds, [*other[1], *names]
            together.append((seeds, names))
        if len(together) > 1:
            names_text = " | ".join(join_words(names) for _, names in together)
            text = f"Runs without a seed in common are not compared: {names_text}."
            return [Finding("caveat", text)]
    return []


def _cost(ranking: _Ranking | None) -> list[Finding]:
    """The cost of the models at the highest target sparsity."""
    if ranking is None:
        return []
    models = [model for model in ranking.models if is_pruned(model[0])]
    several = ranking.several_runs
    least, most = (choose(len(model) for model in models) for choose in (min, max))
    mean = f" (mean of {most} seeds)" if most > 1 else ""
    if least < most:
        mean = f" (means of {least} to {most} seeds)"
    costs = [
        f"{_name(model, several)} {format_epochs(_mean(model, 'epochs'))}, "
        f"{format_seconds(_mean(model, 'seconds'))}"
        for model in models[:MAX_COSTS]
    ]
    text = f"Training cost to {format_percent(ranking.target)}{mean}: {'; '.join(costs)}."
    return [Finding("cost", text)]


def _mean(rows: Sequence[Row], column: str) -> float:
    return fmean(row[column] for row in rows)


def _start(text: str, run: str, several: bool) -> str:
    return f'Run "{run}": {text}' if several else text[0].upper() + text[1:]


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
