"""`search` for the fastest model on this machine that loses little accuracy."""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace

import pandas as pd

from pruning_core.cli.output import FAILED, OK, say
from pruning_core.cli.progress import run_stages
from pruning_core.cli.search_runner import CSV, SearchRunner
from pruning_core.common.formatting import (
    format_epochs,
    format_percent,
    format_points,
    format_times,
)
from pruning_core.methods.runtimes import BACKENDS, RUNTIMES, missing_packages
from pruning_core.planning.latency_search import (
    DENSE,
    LATENCY_STRATEGIES,
    timed_runtimes,
    timing_stages,
)
from pruning_core.planning.search import Round, spec_of
from pruning_core.results.csv_text import csv_text
from pruning_core.results.latency_trials import (
    LatencyTrial,
    Trained,
    fastest,
    latency_trials,
    quantized_files,
)
from pruning_core.settings.spec import Spec

Candidate = tuple[str, float, float, int]  # strategy, amount, epochs, seed


def search_fastest(options: argparse.Namespace, base: Spec, runner: SearchRunner) -> int:
    """Choose the fastest model for each budget, and report it on new seeds."""
    rounds = [
        Round((strategy,), [(epochs, amount)], seeds)
        for epochs in options.budgets
        for name, strategy in LATENCY_STRATEGIES.items()
        for amount in strategy.amounts
        for seeds in [base.seeds]
    ]
    runner.check_time(rounds, base, options.hours)
    for note in _missing_runtimes():
        say(OK, f"Note: {note}")
    trials: list[LatencyTrial] = []
    for epochs in options.budgets:
        candidates = [
            (name, amount, epochs, base.seeds[0])
            for name, strategy in LATENCY_STRATEGIES.items()
            for amount in strategy.amounts
        ]
        tried = _timed(runner, base, candidates)
        dense = next((trial for trial in tried if trial.strategy == DENSE), None)
        if dense is None:
            return say(FAILED, "The dense model failed, so there is nothing to compare with.")
        lowest = dense.validation - options.max_drop / 100
        chosen = fastest(tried, lowest)
        fresh = _on_new_seeds(runner, base, chosen, options.fresh) if chosen else []
        trials += [*tried, *fresh]
        print(f"Tried with {format_epochs(epochs)} (validation images, seed {base.seeds[0]}):")
        print(trial_table(tried, "validation"))
        print(_chosen_text(chosen, dense, options.max_drop / 100))
        if fresh:
            print(f"\nOn test images, seeds {', '.join(map(str, options.fresh))}:")
            print(trial_table(fresh, "test"))
    frame = pd.DataFrame([asdict(trial) for trial in trials])
    (options.out / CSV).write_text(csv_text(frame), encoding="utf-8", newline="")
    print(f"Wrote {options.out / CSV}")
    return OK


def _missing_runtimes() -> list[str]:
    """Sentences on the runtimes that are not installed here."""
    packages = missing_packages()
    return [
        f"{backend.title} is not tried, because it is not installed: pip install {backend.package}."
        for backend in BACKENDS.values()
        if backend.package in packages
    ]


def _timed(
    runner: SearchRunner,
    base: Spec,
    candidates: Iterable[Candidate],
    runtimes: Sequence[str] = tuple(RUNTIMES),
) -> list[LatencyTrial]:
    """Train the candidates, write the int8 files, and time all of them beside the first dense one.

    A candidate that fails is left out, and its reason is printed.
    """
    specs = {
        (name, amount, epochs, seed): (
            spec_of(LATENCY_STRATEGIES[name], base, amount, epochs, seed),
            f"{name} {amount:.4g}, {epochs:g} epochs, seed {seed}",
        )
        for name, amount, epochs, seed in candidates
    }
    keys = runner.run(specs)
    models = {key: Trained(*candidate, key) for candidate, key in keys.items()}
    dense = next((model for model in models.values() if model.strategy == DENSE), None)
    if dense is None:
        return []
    names = [name for name in timed_runtimes([DENSE]) if name in runtimes]
    # Zeros are not faster in int8, so only these are written as int8 files.
    others = [model for model in models.values() if not LATENCY_STRATEGIES[model.strategy].sparse]
    stages = timing_stages(
        dense.key, [(model.strategy, model.key) for model in models.values()], runtimes
    )
    for row in run_stages(
        runner.cache, runner.queue, [*quantized_files(names, others), *stages], runner.console
    ):
        if row.status != "done":
            say(OK, f"{row.kind} failed: {row.error.strip()}")
    return latency_trials(models, stages, runner.store)


def _on_new_seeds(
    runner: SearchRunner, base: Spec, chosen: LatencyTrial, seeds: Sequence[int]
) -> list[LatencyTrial]:
    """The chosen strategy in its runtime, and the dense model in the fastest dense one."""
    candidates = [
        (name, amount, chosen.epochs, seed)
        for name, amount in dict.fromkeys([(DENSE, 0.0), (chosen.strategy, chosen.amount)])
        for seed in seeds
    ]
    shown = {(DENSE, chosen.fastest_runtime), (chosen.strategy, chosen.runtime)}
    trials = _timed(runner, base, candidates, [runtime for _, runtime in shown])
    return [trial for trial in trials if (trial.strategy, trial.runtime) in shown]


def _chosen_text(chosen: LatencyTrial | None, dense: LatencyTrial, max_drop: float) -> str:
    """What was chosen, in a sentence."""
    if chosen is None:
        return f"No model loses at most {format_points(max_drop)} on the validation images."
    text = LATENCY_STRATEGIES[chosen.strategy].text
    amount = f" {format_percent(chosen.amount)}" if chosen.amount else ""
    return (
        f"Chosen: {chosen.strategy}{amount} ({text}) in {RUNTIMES[chosen.runtime].title}: "
        f"{_speedup(chosen)} as fast as the dense model in "
        f"{RUNTIMES[chosen.fastest_runtime].title}, the fastest dense runtime; validation accuracy "
        f"{format_percent(chosen.validation)}, the dense model {format_percent(dense.validation)}."
    )


def _speedup(trial: LatencyTrial) -> str:
    low, high = format_times(trial.speedup_low), format_times(trial.speedup_high)
    return f"{format_times(trial.speedup)} ({low} to {high}) times"


def trial_table(trials: Sequence[LatencyTrial], accuracy: str) -> str:
    """The models in Markdown, the fastest first: mean accuracy and speed-up over the seeds.

    `accuracy` is the field of `LatencyTrial` that is shown, "validation" or "test".
    """
    groups: dict[tuple[str, float, str], list[LatencyTrial]] = {}
    for trial in trials:
        groups.setdefault((trial.strategy, trial.amount, trial.runtime), []).append(trial)
    lines = [
        f"| strategy | amount | runtime | {accuracy} accuracy | ms | speed-up (95 % CI) |",
        "|---|---|---|---|---|---|",
    ]
    ranked = sorted(groups.values(), key=lambda group: -_mean(group, "speedup"))
    for group in ranked:
        first = group[0]
        accuracies = [getattr(trial, accuracy) for trial in group]
        spread = f" ± {100 * statistics.stdev(accuracies):.1f}" if len(group) > 1 else ""
        cells = (
            first.strategy,
            format_percent(first.amount) if first.amount else "-",
            RUNTIMES[first.runtime].title,
            f"{100 * statistics.mean(accuracies):.1f} %{spread}",
            f"{_mean(group, 'ms'):.3g}",
            _speedup(
                replace(
                    first,
                    speedup=_mean(group, "speedup"),
                    speedup_low=min(trial.speedup_low for trial in group),
                    speedup_high=max(trial.speedup_high for trial in group),
                )
            ).removesuffix(" times"),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _mean(trials: Sequence[LatencyTrial], field: str) -> float:
    return statistics.mean(getattr(trial, field) for trial in trials)
