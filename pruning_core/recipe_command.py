"""`python -m pruning_core recipes`: try every recipe, choose on validation, report on fresh seeds.

Everything is a job in the cache, so the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd
from rich.console import Console

from pruning_core.follow import follow
from pruning_core.layer_choices import Layer
from pruning_core.option_table import OPTIONS, integers, numbers
from pruning_core.options import FLAGS, add_options, spec_from
from pruning_core.outcome import FAILED, OK, check_out, complain, say
from pruning_core.paths import Cache
from pruning_core.plan import inspect_data, inspect_model
from pruning_core.queue.jobs import Queue
from pruning_core.recipes import RECIPES, amount_for, final_key, spec_of
from pruning_core.settings import check
from pruning_core.spec import Spec, SpecError
from pruning_core.store import Store
from pruning_core.text import format_epochs

FILE = "recipes.csv"
SET_BY_RECIPES = (
    *("prune", "one_shot", "iterative", "recovery", "lr_span", "ladder", "scan", "structured"),
)


@dataclass(frozen=True)
class Trial:
    """A recipe tried once: where it ended on validation and on test images.

    Accuracies are fractions; the loss is the cross-entropy on the validation images.
    """

    recipe: str
    epochs: float
    sparsity: float
    seed: int
    validation: float
    validation_loss: float
    test: float


Cell = tuple[str, float, float, int]  # recipe, epochs, sparsity, seed


def add_recipes(command: argparse.ArgumentParser) -> None:
    """The options of the command: those of `compare`, which make the base, and its own."""
    add_options(command)
    command.add_argument("--budgets", type=numbers, default=[5.0, 10.0], metavar="F,F")
    command.add_argument("--sparsities", type=numbers, default=[0.5, 0.8, 0.9, 0.95], metavar="F,F")
    command.add_argument("--finalists", type=int, default=3, metavar="N")
    command.add_argument("--fresh", type=integers, default=[1, 2, 3], metavar="N,N")
    command.add_argument("--out", type=Path, default=Path("outputs") / "recipes", metavar="DIR")


def recipes(options: argparse.Namespace, cache: Cache, queue: Queue) -> int:
    """Try, choose, and report."""
    check_out(options.out)
    _check_own(options)
    base, lab = spec_from(options), _Kitchen(cache, queue)
    if (code := lab.look(base)) != OK:
        return code
    grid = [(e, s) for e in options.budgets for s in options.sparsities]
    tried = _try_on_validation(lab, base, grid, options.finalists)
    if not tried:
        return say(FAILED, "No recipe reached any of --sparsities; they are fractions below 1.")
    best = winners(tried)
    last = [
        (name, epochs, sparsity, seed)
        for epochs, sparsity in grid
        if epochs in best
        for name in (best[epochs], *_names(True))
        for seed in options.fresh
    ]
    fresh = lab.try_all(base, last)
    frame = pd.DataFrame([asdict(trial) for trial in (*tried, *fresh)])
    frame.to_csv(options.out / FILE, index=False)
    print(f"Chosen on validation images (seed {base.seeds[0]}):")
    for epochs, name in best.items():
        print(f"- for {format_epochs(epochs)}: {name}, {RECIPES[name].text}.")
    for epochs in [e for e in options.budgets if e not in best]:
        print(f"- for {format_epochs(epochs)}: none, since no recipe came to its end.")
    print(table(tried, "validation"))
    print(f"\nOn test images, means of the seeds {', '.join(map(str, options.fresh))}:")
    print(table(fresh, "test"))
    print(f"Wrote {options.out / FILE}")
    return OK


def _check_own(options: argparse.Namespace) -> None:
    """Refuse an option that every recipe sets itself, and fresh seeds that are not fresh."""
    for option in OPTIONS:
        own = option.fields[0].partition(".")[0] in SET_BY_RECIPES
        if own and getattr(options, option.name) is not None:
            raise SpecError(option.flag, "a recipe sets this itself; leave it out.")
    for flag in FLAGS:
        name = f"--{flag.replace('_', '-')}"
        check(not getattr(options, flag), name, "a recipe sets this itself; leave it out.")
    seeds = spec_from(options).seeds
    check(len(seeds) == 1, "--seed", "give one seed to choose with; --fresh names the others.")
    told = f"{seeds[0]} has chosen the recipe, so it is not fresh; give other seeds."
    check(seeds[0] not in options.fresh, "--fresh", told)


def _names(control: bool) -> list[str]:
    return [name for name, recipe in RECIPES.items() if recipe.control == control]


def _try_on_validation(
    lab: _Kitchen, base: Spec, grid: Sequence[tuple[float, float]], count: int
) -> list[Trial]:
    """All recipes where it is hardest; those that do best there (`count` of them) everywhere.

    Hardest is the smallest budget with the highest sparsity that any recipe can reach. This is
    one round of successive halving (Jamieson and Talwalkar 2016).
    """
    seed = base.seeds[0]
    for hardest in sorted(grid, key=lambda cell: (-cell[1], cell[0])):
        opened = lab.try_all(base, [(name, *hardest, seed) for name in _names(False)])
        if opened:
            others = [(n, *cell, seed) for cell in grid for n in finalists(opened, count)]
            rest = [cell for cell in others if cell[1:3] != hardest]
            return [*opened, *lab.try_all(base, rest)]
    return []


def finalists(trials: Iterable[Trial], count: int) -> list[str]:
    """The recipes with the best validation accuracy, as many as `count`, the best first."""
    ranked = sorted(trials, key=lambda trial: (-trial.validation, trial.validation_loss))
    return [trial.recipe for trial in ranked[: max(1, count)]]


def winners(trials: Sequence[Trial]) -> dict[float, str]:
    """The winner of each number of epochs: what is best in a few is not so in many."""
    budgets = sorted({trial.epochs for trial in trials})
    return {epochs: winner(t for t in trials if t.epochs == epochs) for epochs in budgets}


def winner(trials: Iterable[Trial]) -> str:
    """The recipe, no control, with the best mean validation accuracy over all cells it could do.

    Of equal ones the one with the lowest loss.
    """
    found: dict[str, list[Trial]] = {}
    for trial in trials:
        if not RECIPES[trial.recipe].control:
            found.setdefault(trial.recipe, []).append(trial)
    most = max(map(len, found.values()))
    whole = [name for name, cells in found.items() if len(cells) == most]
    return max(whole, key=lambda name: _merit(found[name]))


def _merit(trials: Sequence[Trial]) -> tuple[float, float]:
    loss = statistics.mean(trial.validation_loss for trial in trials)
    return statistics.mean(trial.validation for trial in trials), -loss


def table(trials: Sequence[Trial], figure: str) -> str:
    """A line a recipe, a column a number of epochs and sparsity, in Markdown."""
    columns = sorted({(trial.epochs, trial.sparsity) for trial in trials})
    heads = [f"{epochs:g} epochs, {sparsity:.4g}" for epochs, sparsity in columns]
    lines = [f"| recipe | {' | '.join(heads)} |", "|---" * (len(columns) + 1) + "|"]
    for name in dict.fromkeys(trial.recipe for trial in trials):
        cells = [_cell([t for t in trials if t.recipe == name], c, figure) for c in columns]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(trials: Iterable[Trial], column: tuple[float, float], figure: str) -> str:
    values = [getattr(t, figure) for t in trials if (t.epochs, t.sparsity) == column]
    if not values:
        return "-"
    spread = f" ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * statistics.mean(values):.1f} %{spread}"


class _Kitchen:
    """Runs specs as jobs and reads where they ended."""

    def __init__(self, cache: Cache, queue: Queue) -> None:
        self.cache, self.queue, self.store = cache, queue, Store(cache)
        self.layers: list[Layer] = []

    def look(self, base: Spec) -> int:
        """Train the baseline, and with it find out the model's layers."""
        bare = spec_of(RECIPES["dense"], base, 0.0, 0.0, base.seeds[0])
        now = follow(self.cache, self.queue, self.queue.submit(bare, "Baseline"), self.console)
        if now.state != "done":
            return complain(now, self.cache)
        data = self.store.read(inspect_data(base).key)
        model = self.store.read(inspect_model(base, len(data["classes"])).key)
        self.layers = [Layer(**layer) for layer in model["layers"]]
        return OK

    @property
    def console(self) -> Console:
        return Console(stderr=True)

    def try_all(self, base: Spec, cells: Sequence[Cell]) -> list[Trial]:
        """All at once in the queue, so that every core has work; those that can be done."""
        jobs: dict[Cell, str] = {}
        for name, epochs, sparsity, seed in cells:
            recipe = RECIPES[name]
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
        found = self.store.read(final_key(now.outline))
        loss = found["history"][-1]["validation_loss"]
        return Trial(*cell, found["validation_accuracy"], loss, found["accuracy"])
