"""The command `search`: try pruning strategies, choose on validation images, report on new seeds.

Every trial is a job in the cache, so the same command continues an interrupted search.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from pruning_core.cli.arguments import folder, integers, numbers, shares
from pruning_core.cli.options import add_options, given_settings, spec_from
from pruning_core.cli.output import FAILED, OK, check_out, report_failure, say
from pruning_core.cli.progress import Terminal, follow_job
from pruning_core.common.errors import SpecError, check
from pruning_core.common.formatting import format_epochs, format_seconds
from pruning_core.common.machine import usable_cores
from pruning_core.common.paths import Cache
from pruning_core.methods.layers import Layer
from pruning_core.planning import search as strategy_search
from pruning_core.planning.inspection_types import InspectDatasetResult, InspectModelResult
from pruning_core.planning.inspections import inspect_data, inspect_model
from pruning_core.planning.model_types import ModelResult
from pruning_core.planning.plan import plan
from pruning_core.planning.search import (
    Cells,
    Round,
    SearchStrategy,
    Trial,
    check_hours,
    final_key,
    finalists,
    hardness,
    remaining_seconds,
    spec_of,
    target_for,
    winners,
)
from pruning_core.planning.stage import outline, read_result
from pruning_core.results.csv_text import csv_text
from pruning_core.settings.spec import Spec
from pruning_core.storage.jobs import Queue
from pruning_core.storage.store import FixedFiles, Store

CSV = "search.csv"
# Of a list: each value takes a run for each strategy.
MOST_VALUES = 50
OUT = Path("outputs") / "search"
# An estimate may be wrong; most searches with the default options take about three hours.
MAX_HOURS = 4.0
# The sections of a spec, and the settings, that each strategy sets.
SET_BY_STRATEGIES = (
    "pruning",
    "one_shot",
    "iterative",
    "recovery",
    "lr_schedule_span",
    "correction",
    "sensitivity",
    "structured",
)
Cell = tuple[str, float, float, int]  # strategy, epochs, sparsity, seed


def add_search_options(command: argparse.ArgumentParser) -> None:
    """The options of the command: those of the settings, and of the search."""
    add_options(command)
    group = command.add_argument_group("Search")
    text = "fine-tuning epochs; one strategy is chosen for each budget (default: 5,10)"
    group.add_argument("--budgets", type=numbers, default=[5.0, 10.0], metavar="F,F", help=text)
    text = "sparsities of all convolution, linear and attention weights together "
    text += "(default: 0.5,0.8,0.9,0.95)"
    default = [0.5, 0.8, 0.9, 0.95]
    group.add_argument("--sparsities", type=shares, default=default, metavar="F,F", help=text)
    text = "number of best strategies of the first round (smallest budget, highest sparsity) that "
    text += "are tried at all budgets and sparsities (default: 3)"
    group.add_argument("--finalists", type=int, default=3, metavar="N", help=text)
    text = "new seeds for the test of the chosen strategies (default: 1,2,3)"
    group.add_argument("--fresh", type=integers, default=[1, 2, 3], metavar="N,N", help=text)
    text = f"maximum estimated time in hours; 0 means no limit (default: {MAX_HOURS:g})"
    group.add_argument("--hours", type=float, default=MAX_HOURS, metavar="F", help=text)
    text = f"folder for the table {CSV} (default: {OUT})"
    command.add_argument("--out", type=folder, default=OUT, metavar="DIR", help=text)


def search(options: argparse.Namespace, cache: Cache, queue: Queue) -> int:
    """Try the strategies, choose one for each budget, and report it on new seeds."""
    check_out(options.out)
    _check_options(options)
    base, presets = spec_from(options), PresetSearch(cache, queue)
    if (code := presets.train_baseline(base)) != OK:
        return code
    grid = [(epochs, s) for epochs in options.budgets for s in options.sparsities]
    presets.check_time(base, grid, options)
    trials = _try_on_validation(presets, base, grid, options.finalists)
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
    fresh_trials = presets.try_all(base, cells)
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


def _check_options(options: argparse.Namespace) -> None:
    """Refuse options that every strategy sets, and new seeds that are not new."""
    for name, flag in given_settings(options).items():
        if name.partition(".")[0] in SET_BY_STRATEGIES:
            raise SpecError(flag, "every strategy of the search sets this; leave it out.")
    for name in ("budgets", "sparsities", "fresh"):
        count = len(getattr(options, name))
        message = f"{count:,} values are too many; give at most {MOST_VALUES}."
        check(count <= MOST_VALUES, f"--{name}", message)
    smallest = min(options.budgets)
    check(smallest > 0, "--budgets", "give epochs above 0, because each strategy trains.")
    seeds = spec_from(options).seeds
    message = "give one seed, on which the strategies are chosen; --fresh gives the others."
    check(len(seeds) == 1, "--seed", message)
    message = f"{seeds[0]} is the seed on which the strategies are chosen; give other seeds."
    check(seeds[0] not in options.fresh, "--fresh", message)


def _try_on_validation(
    presets: PresetSearch, base: Spec, grid: Cells, finalist_count: int
) -> list[Trial]:
    """Try all strategies in the hardest cell, and the best of them in all cells.

    A cell is a budget and a sparsity. The hardest one has the highest sparsity that any strategy
    reaches, and the smallest budget. This is one round of successive halving (Jamieson and
    Talwalkar 2016, https://arxiv.org/abs/1502.07943).
    """
    seed = base.seeds[0]
    for hardest in sorted(grid, key=hardness):
        cells = [(name, *hardest, seed) for name in _names(control=False)]
        first_round = presets.try_all(base, cells)
        if first_round:
            others = [cell for cell in grid if cell != hardest]
            names = finalists(first_round, finalist_count)
            rest = [(name, *cell, seed) for cell in others for name in names]
            return [*first_round, *presets.try_all(base, rest)]
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


class PresetSearch:
    """Runs the trials as jobs, and reads their results."""

    def __init__(self, cache: Cache, queue: Queue) -> None:
        self.cache, self.queue, self.store = cache, queue, Store(cache)
        self.console = Terminal(stderr=True)
        self.layers: list[Layer] = []

    def train_baseline(self, base: Spec) -> int:
        """Train the baseline, and read the layers of the model. Returns the exit code."""
        spec = spec_of(strategy_search.SEARCH_STRATEGIES["dense"], base, 0.0, 0.0, base.seeds[0])
        job = self.queue.submit(spec, "Baseline")
        progress = follow_job(self.cache, self.queue, job, self.console)
        if progress.state != "done":
            return report_failure(progress, self.cache)
        data = read_result(self.store, inspect_data(base, self.store).key, InspectDatasetResult)
        inspection = inspect_model(base, len(data.classes))
        model = read_result(self.store, inspection.key, InspectModelResult)
        self.layers = [Layer(**layer) for layer in model.layers]
        return OK

    def check_time(self, base: Spec, grid: Cells, options: argparse.Namespace) -> None:
        """Print how long the search will take. Raises `SpecError` where that is too long."""
        rounds = self._rounds(base, grid, options)
        store = FixedFiles(self.cache)
        remaining = remaining_seconds(rounds, base, self.layers, store, usable_cores())
        check_hours(remaining, options.hours)
        say(OK, f"About {format_seconds(remaining)} of computing remain on this machine.")

    def _rounds(self, base: Spec, grid: Cells, options: argparse.Namespace) -> list[Round]:
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
            amount = target_for(strategy, sparsity, self.layers)
            if amount is None:
                continue
            spec = spec_of(strategy, base, amount, epochs, seed)
            key = final_key(outline(plan(spec, self.store)))
            if not self.store.exists(key):
                return None
            trials.append(self._trial((name, epochs, sparsity, seed), key))
        return trials

    def try_all(self, base: Spec, cells: Sequence[Cell]) -> list[Trial]:
        """The finished trials in these cells, without those that a strategy cannot reach.

        All jobs are submitted before the first is followed, so that no core is idle.
        """
        jobs: dict[Cell, str] = {}
        for name, epochs, sparsity, seed in cells:
            strategy = strategy_search.SEARCH_STRATEGIES[name]
            amount = target_for(strategy, sparsity, self.layers)
            if amount is not None:
                spec = spec_of(strategy, base, amount, epochs, seed)
                label = f"{name}, {epochs:g} epochs, {sparsity:.4g}, seed {seed}"
                jobs[name, epochs, sparsity, seed] = self.queue.submit(spec, label)
        return [trial for cell, job in jobs.items() if (trial := self._follow(cell, job))]

    def _follow(self, cell: Cell, job: str) -> Trial | None:
        """The trial of a job, once it has ended; None, with a message, where it has failed."""
        progress = follow_job(self.cache, self.queue, job, self.console)
        if progress.state != "done":
            report_failure(progress, self.cache)
            return None
        return self._trial(cell, final_key(progress.outline))

    def _trial(self, cell: Cell, key: str) -> Trial:
        result = read_result(self.store, key, ModelResult)
        loss = result.history[-1]["validation_loss"]
        return Trial(*cell, result.validation_accuracy, loss, result.accuracy)
