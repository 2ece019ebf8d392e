"""Sentences that follow from the results: each strategy, which model is better, the cost.

"Better" requires that the exact McNemar test on the stored results of each test image, with
Holm's correction over all pairs shown together, stays below 5 %.
"""

from __future__ import annotations

import math
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
from pruning_core.methods.strategies import (
    BASELINE,
    BUDGET_CONTROLS,
    CORRECTION,
    ITERATIVE,
    MASKED,
    RATIO_PRUNED,
)
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
from pruning_core.settings.fields import fields_of
from pruning_core.settings.serialization import plain
from pruning_core.settings.spec import Spec

SIGNIFICANCE = 0.05
# The strategies with a sentence of their own, in its order.
DESCRIBED = (*MASKED, CORRECTION, *RATIO_PRUNED)
BETTER, NO_DIFFERENCE = "better", "no significant difference"


@dataclass(frozen=True)
class Finding:
    """One sentence. `kind` is baseline, strategy, control, pair, cost or note.

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

    The most important come first: baselines no better than chance, each strategy at its own
    highest sparsity, what the controls share with the iterative model, the pairs, and last the
    training costs.
    """
    if frame.empty:
        return []
    rows = rows_of(frame)
    several = len({row["run_id"] for row in rows}) > 1
    candidates = pairs(rows)
    return [
        *(Finding("baseline", text) for text in chance_warnings(frame)),
        *_strategy_findings(rows, several),
        *_control_findings(rows, several),
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


def _sparsest(rows: list[Row]) -> dict[str, list[Row]]:
    """For each strategy the rows (one a seed) at its own highest target sparsity.

    Of several steps with that target, such as final fine-tuning, the last one counts.
    """
    models: dict[str, list[Row]] = {}
    for strategy in DESCRIBED:
        pruned = [row for row in rows if is_pruned(row) and row["strategy"] == strategy]
        target = max((row["sparsity_asked"] for row in pruned), default=0.0)
        near = [row for row in pruned if abs(row["sparsity_asked"] - target) < TOLERANCE]
        if near:
            models[strategy] = [
                max(steps, key=lambda row: int(row["iteration"])) for steps in grouped(near, "seed")
            ]
    return models


def _seeds(rows: list[Row]) -> int:
    return len({row["seed"] for row in rows})


def _mean(rows: list[Row], column: str) -> float:
    return fmean(row[column] for row in rows)


def _start(text: str, run: str, several: bool) -> str:
    return f"Run {run}, {text}" if several else text[0].upper() + text[1:]


def _strategy_findings(rows: list[Row], several: bool) -> Iterator[Finding]:
    """A sentence on each strategy of a run, at its own highest sparsity."""
    for group in grouped(rows, "run_id"):
        run = str(group[0]["run"])
        for models in _sparsest(group).values():
            text = f"{_series(models[0])} at {_target(models[0])}: {_accuracy(models)}"
            yield Finding("strategy", f"{_start(text, run, several)}.", (run,))


def _target(row: Row) -> str:
    kind = "pruning ratio" if row["strategy"] in RATIO_PRUNED else "target sparsity"
    return f"{format_percent(row['sparsity_asked'])} {kind}"


def _accuracy(rows: list[Row]) -> str:
    """The accuracy of a model with its interval, or the mean over seeds with its deviation."""
    mean = format_percent(_mean(rows, "accuracy"))
    if len(rows) < 2:
        low, high = (format_percent(rows[0][f"accuracy_{end}"]) for end in ("low", "high"))
        return f"accuracy {mean} (95 % CI {low} to {high}, 1 seed)"
    deviation = format_points(stdev(row["accuracy"] for row in rows))
    return (
        f"mean accuracy {mean} (standard deviation {deviation}, {len(rows)} seeds; descriptive, "
        "not tested)"
    )


def _control_findings(rows: list[Row], several: bool) -> Iterator[Finding]:
    """What the one-shot controls of a run share with its iterative model: epochs, learning rates.

    A run whose learning rates are not recorded has none.
    """
    for group in grouped(rows, "run_id"):
        run, shared = str(group[0]["run"]), dict[str, bool]()
        for seed_rows in grouped(group, "seed"):
            chain = [row for row in seed_rows if row["strategy"] == ITERATIVE]
            for control in (row for row in seed_rows if row["strategy"] in BUDGET_CONTROLS):
                equal = _equal_learning_rates(chain, control)
                if equal is not None:
                    shared.setdefault(control["strategy"], equal)
        if shared:
            text = _control_text(shared)
            yield Finding("control", _start(text, run, several), (run,))


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


def _cost_findings(rows: list[Row], several: bool) -> Iterator[Finding]:
    """The fine-tuning cost of the masked strategies, each to its own highest target."""
    for group in grouped(rows, "run_id"):
        run = str(group[0]["run"])
        models = {name: seeds for name, seeds in _sparsest(group).items() if name in MASKED}
        if ITERATIVE not in models or len(models) < 2:
            continue
        targets = {
            name: format_percent(seeds[0]["sparsity_asked"]) for name, seeds in models.items()
        }
        one_target = len(set(targets.values())) == 1
        number = _seeds(models[ITERATIVE])
        mean = f" (mean of {number} seeds)" if number > 1 else ""
        costs = "; ".join(
            f"{_series(seeds[0])}{'' if one_target else f' to {targets[name]}'} {_cost(seeds)}"
            for name, seeds in models.items()
        )
        goal = f" to {targets[ITERATIVE]}" if one_target else ""
        start = _start(f"training cost{goal}{mean}", run, several)
        yield Finding("cost", f"{start}: {costs}.", (run,))


def _cost(rows: list[Row]) -> str:
    return f"{format_epochs(_mean(rows, 'epochs'))}, {format_seconds(_mean(rows, 'seconds'))}"
