"""The command `search`: try pruning strategies, choose on validation images, report on new seeds.

Every trial is a job in the cache, so the same command continues an interrupted search.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from pruning_core.cli.accuracy_search import SPARSITIES, search_most_accurate
from pruning_core.cli.arguments import folder, integers, numbers, shares
from pruning_core.cli.latency_search import search_fastest
from pruning_core.cli.options import add_options, given_settings, spec_from
from pruning_core.cli.output import OK, check_out
from pruning_core.cli.search_runner import CSV, SearchRunner
from pruning_core.common.errors import SpecError, check
from pruning_core.common.paths import Cache
from pruning_core.planning.search import STEP_EPOCHS
from pruning_core.storage.jobs import Queue

# Of a list: each value takes a run for each strategy.
MOST_VALUES = 50
OUT = Path("outputs") / "search"
# An estimate may be wrong; most searches with the default options take about three hours.
MAX_HOURS = 4.0
MAX_DROP = 1.0  # percentage points
DEFAULT_FINALISTS = 3
ACCURACY, LATENCY = "accuracy", "latency"
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


def add_search_options(command: argparse.ArgumentParser) -> None:
    """The options of the command: those of the settings, and of the search."""
    add_options(command)
    group = command.add_argument_group("Search")
    text = "what is searched for: the highest accuracy at each budget, or the lowest latency on "
    text += f"this machine within --max-drop (default: {ACCURACY})"
    group.add_argument("--objective", choices=(ACCURACY, LATENCY), default=ACCURACY, help=text)
    text = "fine-tuning epochs; one strategy is chosen for each budget (default: 5,10)"
    group.add_argument("--budgets", type=numbers, default=[5.0, 10.0], metavar="F,F", help=text)
    text = "sparsities of all convolution, linear and attention weights together "
    text += f"(default: {','.join(map(str, SPARSITIES))}); the objective {LATENCY} has its own"
    group.add_argument("--sparsities", type=shares, metavar="F,F", help=text)
    text = "number of best strategies of the first round (smallest budget, highest sparsity) that "
    text += f"are tried at all budgets and sparsities (default: {DEFAULT_FINALISTS})"
    group.add_argument("--finalists", type=int, metavar="N", help=text)
    text = "largest drop of the validation accuracy from that of the dense model with the same "
    text += f"training, in percentage points, for the objective {LATENCY} (default: {MAX_DROP:g})"
    group.add_argument("--max-drop", type=float, metavar="F", help=text)
    text = "new seeds for the test of the chosen strategies (default: 1,2,3)"
    group.add_argument("--fresh", type=integers, default=[1, 2, 3], metavar="N,N", help=text)
    text = f"maximum estimated time in hours; 0 means no limit (default: {MAX_HOURS:g})"
    group.add_argument("--hours", type=float, default=MAX_HOURS, metavar="F", help=text)
    text = f"folder for the table {CSV} (default: {OUT})"
    command.add_argument("--out", type=folder, default=OUT, metavar="DIR", help=text)


def search(options: argparse.Namespace, cache: Cache, queue: Queue) -> int:
    """Try the strategies, choose by the objective, and report the chosen ones on new seeds."""
    check_out(options.out)
    _check_options(options)
    base, runner = spec_from(options), SearchRunner(cache, queue)
    if (code := runner.train_baseline(base)) != OK:
        return code
    if options.objective == LATENCY:
        return search_fastest(options, base, runner)
    return search_most_accurate(options, base, runner)


def _check_options(options: argparse.Namespace) -> None:
    """Refuse options that every strategy sets, and new seeds that are not new."""
    for name, flag in given_settings(options).items():
        if name.partition(".")[0] in SET_BY_STRATEGIES:
            raise SpecError(flag, "every strategy of the search sets this; leave it out.")
    for name in ("budgets", "sparsities", "fresh"):
        count = len(getattr(options, name) or ())
        message = f"{count:,} values are too many; give at most {MOST_VALUES}."
        check(count <= MOST_VALUES, f"--{name}", message)
    other = {LATENCY: ("sparsities", "finalists"), ACCURACY: ("max_drop",)}[options.objective]
    for name in other:
        message = f"it does not apply to the objective {options.objective}; leave it out."
        check(getattr(options, name) is None, f"--{name.replace('_', '-')}", message)
    options.finalists = DEFAULT_FINALISTS if options.finalists is None else options.finalists
    options.max_drop = MAX_DROP if options.max_drop is None else options.max_drop
    check(0 <= options.max_drop <= 100, "--max-drop", "give 0 to 100 percentage points.")
    smallest = min(options.budgets)
    message = f"give {STEP_EPOCHS:g} epochs or more, because each pruning step trains so many."
    check(smallest >= STEP_EPOCHS, "--budgets", message)
    seeds = spec_from(options).seeds
    message = "give one seed, on which the strategies are chosen; --fresh gives the others."
    check(len(seeds) == 1, "--seed", message)
    message = f"{seeds[0]} is the seed on which the strategies are chosen; give other seeds."
    check(seeds[0] not in options.fresh, "--fresh", message)
