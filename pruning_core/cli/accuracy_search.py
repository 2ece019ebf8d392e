"""`search` for the most accurate strategy at each training budget."""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict

import pandas as pd

from pruning_core.cli.output import FAILED, OK, say
from pruning_core.cli.search_runner import CSV, SearchRunner
from pruning_core.common.formatting import format_epochs
from pruning_core.planning import search as strategy_search
from pruning_core.planning.model_types import ModelResult
from pruning_core.planning.plan import plan
from pruning_core.planning.search import (
    Cells,
    Round,
    SearchStrategy,
    Trial,
    final_key,
    finalists,
    hardness,
    spec_of,
    target_for,
    winners,
)
from pruning_core.planning.stage import outline, read_result
from pruning_core.results.csv_text import csv_text
from pruning_core.settings.spec import Spec

SPARSITIES = (0.5, 0.8, 0.9, 0.95)
Cell = tuple[str, float, float, int]  # strategy, epochs, sparsity, seed


def search_most_accurate(options: argparse.Namespace, base: Spec, runner: SearchRunner) -> int:
    """Choose the strategy with the highest validation accuracy for each budget."""
    trials_of = AccuracySearch(runner)
    grid = [(epochs, s) for epochs in options.budgets for s in options.sparsities or SPARSITIES]
    runner.check_time(trials_of.rounds(base, grid, options), base, options.hours)
    trials = _try_on_validation(trials_of, base, grid, options.finalists)
    if not trials:
        return say(FAILED, "No strategy reached any of --sparsities; give fractions below 1.")
    best = winners(trials)
    cells = [
        (name, epochs, sparsity, seed)
        for epochs, sparsity in grid
        if epochs in best
        for name in (best[epochs], *_names(control=True))
        for seed in options.fresh
    ]
    fresh_trials = trials_of.try_all(base, cells)
    frame = pd.DataFrame([asdict(trial) for trial in (*trials, *fresh_trials)])
    (options.out / CSV).write_text(csv_text(frame), encoding="utf-8", newline="")
    print(f"Chosen on validation images (seed {base.seeds[0]}):")
    for epochs, name in best.items():
        text = strategy_search.SEARCH_STRATEGIES[name].text
        print(f"- for {format_epochs(epochs)}: {name}, {text}.")
    for epochs in [epochs for epochs in options.budgets if epochs not in best]:
        print(f"- for {format_epochs(epochs)}: none, because no strategy finished.")
    print(table(trials, "validation"))
    print(f"\nOn test images, means over the seeds {', '.join(map(str, options.fresh))}:")
    print(table(fresh_trials, "test"))
    print(f"Wrote {options.out / CSV}")
    return OK


def _try_on_validation(
    trials_of: AccuracySearch, base: Spec, grid: Cells, finalist_count: int
) -> list[Trial]:
    """Try all strategies in the hardest cell, and the best of them in all cells.

    A cell is a budget and a sparsity. The hardest one has the highest sparsity that any strategy
    reaches, and the smallest budget. This is one round of successive halving (Jamieson and
    Talwalkar 2016, https://arxiv.org/abs/1502.07943).
    """
    seed = base.seeds[0]
    for hardest in sorted(grid, key=hardness):
        cells = [(name, *hardest, seed) for name in _names(control=False)]
        first_round = trials_of.try_all(base, cells)
        if first_round:
            others = [cell for cell in grid if cell != hardest]
            names = finalists(first_round, finalist_count)
            rest = [(name, *cell, seed) for cell in others for name in names]
            return [*first_round, *trials_of.try_all(base, rest)]
    return []


def table(trials: Sequence[Trial], figure: str) -> str:
    """Mean accuracies in Markdown: a row for each strategy, a column for each cell.

    `figure` is the field of `Trial` that is shown, "validation" or "test".
    """
    columns = sorted({(trial.epochs, trial.sparsity) for trial in trials})
    heads = [f"{epochs:g} epochs, {sparsity:.4g}" for epochs, sparsity in columns]
    lines = [f"| strategy | {' | '.join(heads)} |", "|---" * (len(columns) + 1) + "|"]
    for name in dict.fromkeys(trial.strategy for trial in trials):
        cells = [_mean([t for t in trials if t.strategy == name], c, figure) for c in columns]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _mean(trials: Iterable[Trial], column: tuple[float, float], figure: str) -> str:
    values = [getattr(t, figure) for t in trials if (t.epochs, t.sparsity) == column]
    if not values:
        return "-"
    spread = f" ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * statistics.mean(values):.1f} %{spread}"


def _names(control: bool) -> list[str]:
    """The names of the controls, or of the strategies that can be chosen."""
    strategies = strategy_search.SEARCH_STRATEGIES.items()
    return [name for name, strategy in strategies if strategy.control == control]


def _strategies(names: Iterable[str]) -> tuple[SearchStrategy, ...]:
    return tuple(strategy_search.SEARCH_STRATEGIES[name] for name in names)


class AccuracySearch:
    """The trials of a search for the most accurate strategies."""

    def __init__(self, runner: SearchRunner) -> None:
        self.runner, self.store = runner, runner.store

    def rounds(self, base: Spec, grid: Cells, options: argparse.Namespace) -> list[Round]:
        """The rounds of the search, as far as the finished trials determine them.

        Where the finalists or the winner are not known yet, all candidates are listed with their
        share of the trials.
        """
        names, count, seeds = _names(control=False), max(1, options.finalists), base.seeds
        hardest = min(grid, key=hardness)
        others, fresh = [cell for cell in grid if cell != hardest], tuple(options.fresh)
        first_round = self._finished(base, [(name, *hardest, seeds[0]) for name in names])
        final_names = finalists(first_round, count) if first_round else names
        share = 1.0 if first_round else min(1.0, count / len(names))
        second_round = self._finished(
            base, [(name, *cell, seeds[0]) for name in final_names for cell in others]
        )
        chosen = first_round and second_round is not None
        best = winners([*(first_round or []), *(second_round or [])]) if chosen else {}
        rounds = [
            Round(_strategies(names), [hardest], seeds),
            Round(_strategies(final_names), others, seeds, share),
            Round(_strategies(_names(control=True)), grid, fresh),
        ]
        for cell in grid:
            candidates = [best[cell[0]]] if cell[0] in best else final_names
            rounds.append(Round(_strategies(candidates), [cell], fresh, 1 / len(candidates)))
        return rounds

    def _finished(self, base: Spec, cells: Sequence[Cell]) -> list[Trial] | None:
        """The trials in these cells, without unreachable ones; None unless all have finished."""
        trials = []
        for name, epochs, sparsity, seed in cells:
            strategy = strategy_search.SEARCH_STRATEGIES[name]
            amount = target_for(strategy, sparsity, self.runner.layers)
            if amount is None:
                continue
            spec = spec_of(strategy, base, amount, epochs, seed)
            key = final_key(outline(plan(spec, self.store)))
            if not self.store.exists(key):
                return None
            trials.append(self._trial((name, epochs, sparsity, seed), key))
        return trials

    def try_all(self, base: Spec, cells: Sequence[Cell]) -> list[Trial]:
        """The finished trials in these cells, without those that a strategy cannot reach."""
        specs: dict[Cell, tuple[Spec, str]] = {}
        for name, epochs, sparsity, seed in cells:
            strategy = strategy_search.SEARCH_STRATEGIES[name]
            amount = target_for(strategy, sparsity, self.runner.layers)
            if amount is not None:
                spec = spec_of(strategy, base, amount, epochs, seed)
                label = f"{name}, {epochs:g} epochs, {sparsity:.4g}, seed {seed}"
                specs[name, epochs, sparsity, seed] = spec, label
        return [self._trial(cell, key) for cell, key in self.runner.run(specs).items()]

    def _trial(self, cell: Cell, key: str) -> Trial:
        result = read_result(self.store, key, ModelResult)
        loss = result.history[-1]["validation_loss"]
        return Trial(*cell, result.validation_accuracy, loss, result.accuracy)
