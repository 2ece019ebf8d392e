"""`python -m pruning_core recipes`: try every recipe, choose on validation, report on fresh seeds.

Everything is a job in the cache, so the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

import pandas as pd
from rich.console import Console

from pruning_core.cli.options import add_options, given_settings, integers, numbers, spec_from
from pruning_core.cli.output import FAILED, OK, check_out, complain, say
from pruning_core.cli.progress import follow
from pruning_core.common.errors import SpecError, check
from pruning_core.common.formatting import format_epochs, format_seconds
from pruning_core.common.machine import usable_cores
from pruning_core.common.paths import Cache
from pruning_core.methods.layers import Layer
from pruning_core.planning import search
from pruning_core.planning import search as recipe_list
from pruning_core.planning.inspections import inspect_data, inspect_model
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
from pruning_core.planning.stage import outline
from pruning_core.settings.spec import Spec
from pruning_core.storage.jobs import Queue
from pruning_core.storage.store import Store

FILE = "recipes.csv"
# "About three hours" for all of it, and what an estimate may be wrong by.
HOURS = 4.0
SET_BY_RECIPES = (
    *(
        "pruning",
        "one_shot",
        "iterative",
        "recovery",
        "lr_schedule_span",
        "correction",
        "sensitivity",
        "structured",
    ),
)
Cell = tuple[str, float, float, int]  # recipe, epochs, sparsity, seed


def add_recipes(command: argparse.ArgumentParser) -> None:
    """The options of the command: those of `compare`, which make the base, and its own."""
    add_options(command)
    command.add_argument("--budgets", type=numbers, default=[5.0, 10.0], metavar="F,F")
    command.add_argument("--sparsities", type=numbers, default=[0.5, 0.8, 0.9, 0.95], metavar="F,F")
    command.add_argument("--finalists", type=int, default=3, metavar="N")
    command.add_argument("--fresh", type=integers, default=[1, 2, 3], metavar="N,N")
    command.add_argument("--hours", type=float, default=HOURS, metavar="F")
    command.add_argument("--out", type=Path, default=Path("outputs") / "recipes", metavar="DIR")


def recipes(options: argparse.Namespace, cache: Cache, queue: Queue) -> int:
    """Try, choose, and report."""
    check_out(options.out)
    _check_own(options)
    check(min(options.budgets) > 0, "--budgets", "give epochs above 0: a recipe trains.")
    base, lab = spec_from(options), Kitchen(cache, queue)
    if (code := lab.look(base)) != OK:
        return code
    grid = [(e, s) for e in options.budgets for s in options.sparsities]
    lab.tell_time(base, grid, options)
    tried = _try_on_validation(lab, base, grid, options.finalists)
    if not tried:
        return say(FAILED, "No recipe reached any of --sparsities; they are fractions below 1.")
    best = winners(tried)
    last = [
        (name, epochs, sparsity, seed)
        for epochs, sparsity in grid
        if epochs in best
        for name in (best[epochs], *named(True))
        for seed in options.fresh
    ]
    fresh = lab.try_all(base, last)
    frame = pd.DataFrame([asdict(trial) for trial in (*tried, *fresh)])
    frame.to_csv(options.out / FILE, index=False)
    print(f"Chosen on validation images (seed {base.seeds[0]}):")
    for epochs, name in best.items():
        print(f"- for {format_epochs(epochs)}: {name}, {recipe_list.SEARCH_STRATEGIES[name].text}.")
    for epochs in [e for e in options.budgets if e not in best]:
        print(f"- for {format_epochs(epochs)}: none, since no recipe came to its end.")
    print(table(tried, "validation"))
    print(f"\nOn test images, means of the seeds {', '.join(map(str, options.fresh))}:")
    print(table(fresh, "test"))
    print(f"Wrote {options.out / FILE}")
    return OK


def _check_own(options: argparse.Namespace) -> None:
    """Refuse an option that every recipe sets itself, and fresh seeds that are not fresh."""
    for name, flag in given_settings(options).items():
        if name.partition(".")[0] in SET_BY_RECIPES:
            raise SpecError(flag, "every strategy of the search sets this; leave it out.")
    seeds = spec_from(options).seeds
    check(len(seeds) == 1, "--seed", "give one seed to choose with; --fresh names the others.")
    told = f"{seeds[0]} has chosen the recipe, so it is not fresh; give other seeds."
    check(seeds[0] not in options.fresh, "--fresh", told)


def _try_on_validation(lab: Kitchen, base: Spec, grid: Cells, count: int) -> list[Trial]:
    """All recipes where it is hardest; those that do best there (`count` of them) everywhere.

    Hardest is the smallest budget with the highest sparsity that any recipe can reach. This is
    one round of successive halving (Jamieson and Talwalkar 2016).
    """
    seed = base.seeds[0]
    for hardest in sorted(grid, key=hardness):
        opened = lab.try_all(base, [(name, *hardest, seed) for name in named(False)])
        if opened:
            others = [(n, *cell, seed) for cell in grid for n in finalists(opened, count)]
            rest = [cell for cell in others if cell[1:3] != hardest]
            return [*opened, *lab.try_all(base, rest)]
    return []


def table(trials: Sequence[Trial], figure: str) -> str:
    """A line a recipe, a column a number of epochs and sparsity, in Markdown."""
    columns = sorted({(trial.epochs, trial.sparsity) for trial in trials})
    heads = [f"{epochs:g} epochs, {sparsity:.4g}" for epochs, sparsity in columns]
    lines = [f"| recipe | {' | '.join(heads)} |", "|---" * (len(columns) + 1) + "|"]
    for name in dict.fromkeys(trial.strategy for trial in trials):
        cells = [_cell([t for t in trials if t.strategy == name], c, figure) for c in columns]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(trials: Iterable[Trial], column: tuple[float, float], figure: str) -> str:
    values = [getattr(t, figure) for t in trials if (t.epochs, t.sparsity) == column]
    if not values:
        return "-"
    spread = f" ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * statistics.mean(values):.1f} %{spread}"


def named(control: bool) -> list[str]:
    """The controls, or the recipes that can win."""
    return [name for name, recipe in search.SEARCH_STRATEGIES.items() if recipe.control == control]


def _recipes(names: Iterable[str]) -> tuple[SearchStrategy, ...]:
    return tuple(search.SEARCH_STRATEGIES[name] for name in names)


class Kitchen:
    """Runs specs as jobs and reads where they ended."""

    def __init__(self, cache: Cache, queue: Queue) -> None:
        self.cache, self.queue, self.store = cache, queue, Store(cache)
        self.layers: list[Layer] = []

    def look(self, base: Spec) -> int:
        """Train the baseline, and with it find out the model's layers."""
        bare = spec_of(search.SEARCH_STRATEGIES["dense"], base, 0.0, 0.0, base.seeds[0])
        now = follow(self.cache, self.queue, self.queue.submit(bare, "Baseline"), self.console)
        if now.state != "done":
            return complain(now, self.cache)
        data = self.store.read(inspect_data(base).key)
        model = self.store.read(inspect_model(base, len(data["classes"])).key)
        self.layers = [Layer(**layer) for layer in model["layers"]]
        return OK

    def tell_time(self, base: Spec, grid: Cells, options: argparse.Namespace) -> None:
        """Say how long the search will take here. Raises `SpecError` where that is too long."""
        rounds = self._rounds(base, grid, options)
        found = remaining_seconds(rounds, base, self.layers, self.store, usable_cores())
        check_hours(found, options.hours)
        say(OK, f"About {format_seconds(found)} of computing are left here.")

    def _rounds(self, base: Spec, grid: Cells, options: argparse.Namespace) -> list[Round]:
        """What the search will try, as far as what is finished tells already."""
        names, count, seeds = named(False), max(1, options.finalists), base.seeds
        hardest = min(grid, key=hardness)
        others, fresh = [cell for cell in grid if cell != hardest], tuple(options.fresh)
        opened = self._finished(base, [(name, *hardest, seeds[0]) for name in names])
        finals = finalists(opened, count) if opened else names
        share = 1.0 if opened else min(1.0, count / len(names))
        tried = self._finished(base, [(n, *cell, seeds[0]) for n in finals for cell in others])
        best = winners([*(opened or []), *tried]) if opened and tried is not None else {}
        rounds = [
            Round(_recipes(names), [hardest], seeds),
            Round(_recipes(finals), others, seeds, share),
            Round(_recipes(named(True)), grid, fresh),
        ]
        for cell in grid:
            own = [best[cell[0]]] if cell[0] in best else finals
            rounds.append(Round(_recipes(own), [cell], fresh, 1 / len(own)))
        return rounds

    def _finished(self, base: Spec, cells: Sequence[Cell]) -> list[Trial] | None:
        """Where these ended, of those that can be done; None unless every one of them has."""
        found = []
        for name, epochs, sparsity, seed in cells:
            amount = target_for(search.SEARCH_STRATEGIES[name], sparsity, self.layers)
            if amount is None:
                continue
            made = plan(
                spec_of(search.SEARCH_STRATEGIES[name], base, amount, epochs, seed), self.store
            )
            key = final_key(outline(made))
            if not self.store.exists(key):
                return None
            found.append(self._trial((name, epochs, sparsity, seed), key))
        return found

    @property
    def console(self) -> Console:
        return Console(stderr=True)

    def try_all(self, base: Spec, cells: Sequence[Cell]) -> list[Trial]:
        """All at once in the queue, so that every core has work; those that can be done."""
        jobs: dict[Cell, str] = {}
        for name, epochs, sparsity, seed in cells:
            recipe = search.SEARCH_STRATEGIES[name]
            amount = target_for(recipe, sparsity, self.layers)
            if amount is not None:
                spec = spec_of(recipe, base, amount, epochs, seed)
                label = f"{name}, {epochs:g} epochs, {sparsity:.4g}, seed {seed}"
                jobs[name, epochs, sparsity, seed] = self.queue.submit(spec, label)
        return [trial for cell, job in jobs.items() if (trial := self._end(cell, job))]

    def _end(self, cell: Cell, job: str) -> Trial | None:
        """Where a job ended; None, with the reason on standard error, where it has no result."""
        now = follow(self.cache, self.queue, job, self.console)
        if now.state != "done":
            complain(now, self.cache)
            return None
        return self._trial(cell, final_key(now.outline))

    def _trial(self, cell: Cell, key: str) -> Trial:
        found = self.store.read(key)
        loss = found["history"][-1]["validation_loss"]
        return Trial(*cell, found["validation_accuracy"], loss, found["accuracy"])
