"""`search` for the fastest model on this machine that loses little accuracy."""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict

import pandas as pd

from pruning_core.cli.export import report_failed_stages
from pruning_core.cli.output import FAILED, OK, say
from pruning_core.cli.progress import run_stages
from pruning_core.cli.search_runner import CSV, SearchRunner
from pruning_core.common.formatting import (
    format_epochs,
    format_percent,
    format_points,
    format_times,
    signed,
)
from pruning_core.methods.runtimes import RUNTIMES
from pruning_core.planning.latency_search import (
    DENSE,
    LATENCY_STRATEGIES,
    timed_runtimes,
    timing_stages,
    usable_strategies,
)
from pruning_core.planning.search import Round, spec_of
from pruning_core.planning.timing import Conditions, skipped_notes
from pruning_core.results.csv_text import csv_text
from pruning_core.results.latency_trials import (
    LatencyTrial,
    Trained,
    fastest,
    latency_trials,
    quantized_files,
)
from pruning_core.settings.spec import Spec

Cell = tuple[str, float, float, int]  # strategy, target, epochs, seed


def search_fastest(options: argparse.Namespace, base: Spec, runner: SearchRunner) -> int:
    """Choose the fastest model for each budget, and report it on new seeds."""
    seed, max_drop = base.seeds[0], options.max_drop / 100
    runner.check_time(_rounds(options, seed), base, options.hours)
    for note in skipped_notes(RUNTIMES, Conditions()):
        say(OK, f"Note: {note}")
    trials: list[LatencyTrial] = []
    search = LatencySearch(base, runner)
    for epochs in options.budgets:
        cells = [
            (name, target, epochs, seed)
            for name in usable_strategies()
            for target in LATENCY_STRATEGIES[name].targets
        ]
        tried = search.timed(cells)
        dense = [t for t in tried if t.strategy == DENSE and not RUNTIMES[t.runtime].quantized]
        chosen = fastest(tried, dense[0].validation - max_drop) if dense else None
        fresh = search.on_new_seeds(chosen, options.fresh) if chosen else []
        trials += [*tried, *fresh]
        print(f"With {format_epochs(epochs)}, on validation images (seed {seed}):")
        print(trial_table(tried, "validation"))
        print(_chosen_text(chosen, max_drop))
        if fresh:
            print(f"\nOn test images, seeds {', '.join(map(str, options.fresh))}:")
            print(trial_table(fresh, "test"))
            print(_drop_text(fresh))
    frame = pd.DataFrame([asdict(trial) for trial in trials])
    (options.out / CSV).write_text(csv_text(frame), encoding="utf-8", newline="")
    print(f"Wrote {options.out / CSV}")
    return search.code


def _rounds(options: argparse.Namespace, seed: int) -> list[Round]:
    """The training of the search; of the strategies one is trained again with new seeds."""
    names = [name for name in usable_strategies() if name != DENSE]
    strategies = {name: LATENCY_STRATEGIES[name] for name in names}
    count = sum(len(strategy.targets) for strategy in strategies.values())
    cells = {
        name: [(epochs, target) for epochs in options.budgets for target in strategy.targets]
        for name, strategy in strategies.items()
    }
    new, dense = tuple(options.fresh), LATENCY_STRATEGIES[DENSE]
    return [
        Round((dense,), [(epochs, 0.0) for epochs in options.budgets], (seed, *new)),
        *(Round((strategies[name],), cells[name], (seed,)) for name in names),
        *(Round((strategies[name],), cells[name], new, 1 / count) for name in names),
    ]


class LatencySearch:
    """Trains and times the models. `code` is the exit code: that of the last failure, if any."""

    def __init__(self, base: Spec, runner: SearchRunner) -> None:
        self.base, self.runner, self.code = base, runner, OK

    def timed(
        self, cells: Iterable[Cell], runtimes: Sequence[str] = tuple(RUNTIMES)
    ) -> list[LatencyTrial]:
        """Train models, write their int8 files, and time all of them beside the first dense one.

        What fails is left out, and its reason is printed.
        """
        runner = self.runner
        specs = {
            (name, target, epochs, seed): (
                spec_of(LATENCY_STRATEGIES[name], self.base, target, epochs, seed),
                f"{name} {target:.4g}, {epochs:g} epochs, seed {seed}",
            )
            for name, target, epochs, seed in cells
        }
        keys = runner.run(specs)
        if len(keys) < len(specs):
            self.code = FAILED
        models = {key: Trained(*cell, key) for cell, key in keys.items()}
        dense = next((model for model in models.values() if model.strategy == DENSE), None)
        if dense is None:
            return []
        # Zeros are not faster in int8, so sparse models are not written as int8 files.
        others = [one for one in models.values() if not LATENCY_STRATEGIES[one.strategy].sparse]
        files = quantized_files(set(timed_runtimes([DENSE])) & set(runtimes), others)
        pairs = [(model.strategy, model.key) for model in models.values()]
        stages = timing_stages(dense.key, pairs, runtimes)
        rows = run_stages(runner.cache, runner.queue, [*files, *stages], runner.console)
        failed = [row for row in rows if row.status != "done"]
        self.code = report_failed_stages(failed) or self.code
        return latency_trials(models, stages, runner.store)

    def on_new_seeds(self, chosen: LatencyTrial, seeds: Sequence[int]) -> list[LatencyTrial]:
        """The chosen strategy in its runtime, and the dense model in the fastest dense one."""
        cells = [
            (name, target, chosen.epochs, seed)
            for name, target in dict.fromkeys([(DENSE, 0.0), (chosen.strategy, chosen.target)])
            for seed in seeds
        ]
        shown = {(DENSE, chosen.fastest_runtime), (chosen.strategy, chosen.runtime)}
        trials = self.timed(cells, [runtime for _, runtime in shown])
        return [trial for trial in trials if (trial.strategy, trial.runtime) in shown]


def _chosen_text(chosen: LatencyTrial | None, max_drop: float) -> str:
    """What was chosen, in a sentence."""
    within = f"loses at most {format_points(max_drop)} of the dense model's validation accuracy"
    if chosen is None:
        return f"No model that {within} is reliably faster than the dense model."
    text = LATENCY_STRATEGIES[chosen.strategy].text
    target = f" {format_percent(chosen.target)}" if chosen.target else ""
    return (
        f"Chosen: {chosen.strategy}{target} ({text}) in {RUNTIMES[chosen.runtime].title}. It is "
        f"the fastest model that {within}."
    )


def _drop_text(trials: Sequence[LatencyTrial]) -> str:
    """The accuracy of the chosen strategy minus that of the dense model with the same seed."""
    dense = {trial.seed: trial.test for trial in trials if trial.strategy == DENSE}
    pairs = [(t.test, dense[t.seed]) for t in trials if t.strategy != DENSE and t.seed in dense]
    differences = [accuracy - other for accuracy, other in pairs]
    if not differences:
        return ""
    spread = f" ± {100 * statistics.stdev(differences):.1f}" if len(differences) > 1 else ""
    return (
        f"Accuracy minus that of the dense model with the same seed: "
        f"{signed(statistics.mean(differences))}{spread} points."
    )


def trial_table(trials: Sequence[LatencyTrial], accuracy: str) -> str:
    """The models in Markdown, the fastest first.

    With several seeds, means and standard deviations over them; else the speed-up has its 95 %
    interval. `accuracy` is the field of `LatencyTrial` that is shown, "validation" or "test".
    """
    groups: dict[tuple[str, float, str], list[LatencyTrial]] = {}
    for trial in trials:
        groups.setdefault((trial.strategy, trial.target, trial.runtime), []).append(trial)
    lines = [
        f"| strategy | target | runtime | {accuracy} accuracy | latency (ms) | speed-up | over |",
        "|---" * 7 + "|",
    ]
    for group in sorted(groups.values(), key=lambda group: -_mean(group, "speedup")):
        first = group[0]
        over = dict.fromkeys(RUNTIMES[trial.fastest_runtime].title for trial in group)
        cells = (
            first.strategy,
            format_percent(first.target) if first.target else "-",
            RUNTIMES[first.runtime].title,
            f"{100 * _mean(group, accuracy):.1f} %{_spread(group, accuracy, 100, 1)}",
            f"{_mean(group, 'ms'):.3g}",
            _speedup(group),
            f"dense in {', '.join(over)}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _speedup(group: Sequence[LatencyTrial]) -> str:
    text = f"{format_times(_mean(group, 'speedup'))}x"
    if len(group) > 1:
        return text + _spread(group, "speedup", 1, 2)
    low, high = format_times(group[0].speedup_low), format_times(group[0].speedup_high)
    return text if low == high else f"{text} (95 % CI {low} to {high})"


def _mean(trials: Sequence[LatencyTrial], field: str) -> float:
    return statistics.mean(getattr(trial, field) for trial in trials)


def _spread(trials: Sequence[LatencyTrial], field: str, factor: float, digits: int) -> str:
    """The standard deviation over seeds; empty for a single one."""
    values = [getattr(trial, field) for trial in trials]
    return f" ± {factor * statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
