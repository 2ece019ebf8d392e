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

from pruning_core.cli.option_table import OPTIONS, integers, numbers
from pruning_core.cli.options import FLAGS, add_options, spec_from
from pruning_core.cli.output import FAILED, OK, check_out, say
from pruning_core.cli.search_runs import Kitchen, named
from pruning_core.common.errors import check
from pruning_core.common.formatting import format_epochs
from pruning_core.common.paths import Cache
from pruning_core.planning import search as recipe_list
from pruning_core.planning.search_choice import Trial, finalists, hardness, winners
from pruning_core.planning.search_time import Cells
from pruning_core.settings.spec import Spec, SpecError
from pruning_core.storage.jobs import Queue

FILE = "recipes.csv"
# "About three hours" for all of it, and what an estimate may be wrong by.
HOURS = 4.0
SET_BY_RECIPES = (
    *("prune", "one_shot", "iterative", "recovery", "lr_span", "ladder", "scan", "structured"),
)


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
        print(f"- for {format_epochs(epochs)}: {name}, {recipe_list.RECIPES[name].text}.")
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
