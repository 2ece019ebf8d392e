"""Recipes run as jobs: all trials in one queue, where each ended, and what is left to do."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence

from rich.console import Console

from pruning_core.cli.output import OK, complain, say
from pruning_core.cli.progress import follow
from pruning_core.common.formatting import format_seconds
from pruning_core.common.machine import usable_cores
from pruning_core.common.paths import Cache
from pruning_core.methods.layers import Layer
from pruning_core.planning import search
from pruning_core.planning.plan import inspect_data, inspect_model, plan
from pruning_core.planning.search import Recipe, amount_for, final_key, spec_of
from pruning_core.planning.search_choice import Trial, finalists, hardness, winners
from pruning_core.planning.search_time import Cells, Round, check_hours, seconds_left
from pruning_core.planning.stage import outline
from pruning_core.settings.spec import Spec
from pruning_core.storage.jobs import Queue
from pruning_core.storage.store import Store

Cell = tuple[str, float, float, int]  # recipe, epochs, sparsity, seed


def named(control: bool) -> list[str]:
    """The controls, or the recipes that can win."""
    return [name for name, recipe in search.RECIPES.items() if recipe.control == control]


def _recipes(names: Iterable[str]) -> tuple[Recipe, ...]:
    return tuple(search.RECIPES[name] for name in names)


class Kitchen:
    """Runs specs as jobs and reads where they ended."""

    def __init__(self, cache: Cache, queue: Queue) -> None:
        self.cache, self.queue, self.store = cache, queue, Store(cache)
        self.layers: list[Layer] = []

    def look(self, base: Spec) -> int:
        """Train the baseline, and with it find out the model's layers."""
        bare = spec_of(search.RECIPES["dense"], base, 0.0, 0.0, base.seeds[0])
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
        found = seconds_left(rounds, base, self.layers, self.store, usable_cores())
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
            amount = amount_for(search.RECIPES[name], sparsity, self.layers)
            if amount is None:
                continue
            made = plan(spec_of(search.RECIPES[name], base, amount, epochs, seed), self.store)
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
            recipe = search.RECIPES[name]
            amount = amount_for(recipe, sparsity, self.layers)
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
