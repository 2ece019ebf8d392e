"""The command `sensitivity`: the sensitivity analysis, printed and written as a table."""

from __future__ import annotations

import argparse
import functools
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from rich.table import Column, Table

from pruning_core.cli.arguments import budget, share
from pruning_core.cli.compare import add_compare_options, run_spec
from pruning_core.cli.options import spec_from
from pruning_core.cli.output import FAILED, OK, say
from pruning_core.cli.progress import Terminal, run_stages
from pruning_core.common.errors import Ref, SpecError, check
from pruning_core.common.formatting import format_percent
from pruning_core.common.paths import Cache
from pruning_core.methods.budgets import TIME
from pruning_core.methods.sensitivity_units import GROUP
from pruning_core.planning.presets import QUICKSTART
from pruning_core.planning.sensitivity import sensitivity_only
from pruning_core.planning.timing import sparse_speedup_stage
from pruning_core.results.budget_allocation import allocate_within, allocation_text
from pruning_core.results.budget_costs import budget_facts
from pruning_core.results.csv_text import csv_text
from pruning_core.results.labels import short
from pruning_core.results.sensitivity import (
    allocate,
    images_text,
    measured_sparsities,
    overall,
    read_sensitivity,
    sparsity_texts,
    uncorrected_text,
)
from pruning_core.results.sparse_speedup import sparse_speedup_frame
from pruning_core.settings.messages import flag
from pruning_core.settings.serialization import to_dict
from pruning_core.settings.spec import Spec, from_json
from pruning_core.storage.job_progress import JobProgress
from pruning_core.storage.jobs import Queue
from pruning_core.storage.store import Store

CSV = "sensitivity.csv"
# The width of the table in a file or a pipe, where no line needs to be wrapped.
WIDE = 200
ALLOCATE, BUDGET = "--allocate", "--budget"
PRUNED_UNITS = {"weights": "layer", "channels": "dependency group"}


def add_sensitivity_options(command: argparse.ArgumentParser) -> None:
    """The options of the command: those of `compare`, and the allocation."""
    add_compare_options(command)
    allocation = command.add_mutually_exclusive_group()
    text = "print the per-layer sparsities with equal accuracy drops and this overall sparsity"
    allocation.add_argument(ALLOCATE, type=share, metavar="F", help=text)
    text = (
        "print the per-layer sparsities with the least sum of losses within a budget: zeros=80%%, "
        "bytes=0.9MB, macs=30M or ms=2"
    )
    allocation.add_argument(BUDGET, type=budget, metavar="NAME=LIMIT", help=text)


def sensitivity(options: argparse.Namespace, cache: Cache, queue: Queue) -> int:
    """Prune each layer of the baseline alone, and print and write the accuracies."""
    spec = sensitivity_only(spec_from(options))
    asked = {ALLOCATE: options.allocate, BUDGET: options.budget}
    for name, value in asked.items():
        by_layer = value is None or spec.sensitivity.unit != GROUP
        message = "it needs the sensitivity of layers; leave it out, or give {unit} layer."
        check(by_layer, name, message, unit=Ref("sensitivity.unit"))
    write = functools.partial(
        write_sensitivity,
        excel=options.excel,
        overall_sparsity=options.allocate,
        within=options.budget,
    )
    return run_spec(spec, options, cache, queue, write)


def write_sensitivity(
    progress: JobProgress,
    cache: Cache,
    queue: Queue,
    out: Path | None,
    excel: bool = False,
    overall_sparsity: float | None = None,
    within: tuple[str, float] | None = None,
) -> int:
    """Print a finished sensitivity analysis, and write it as CSV into a folder.

    `excel` is for the CSV. With an `overall_sparsity` (a fraction) also print the allocation that
    reaches it with equal accuracy drops; with `within`, a budget and its limit, the one with the
    least sum of losses. Raises `SpecError` where the analysis does not cover it. Returns the exit
    code.
    """
    spec = from_json(progress.job.spec)
    frame = read_sensitivity(spec, Store(cache))
    if frame.empty:
        return say(FAILED, "The sensitivity analysis has no result; run the same command again.")
    console = Terminal()
    console.width = console.width if console.is_terminal else WIDE
    console.print(_table(frame))
    unit = PRUNED_UNITS[str(frame["size_unit"].iloc[0])]
    images = images_text(frame, spec.sensitivity.images)
    print(
        f"Accuracy in percent with only this {unit} pruned and no training, and its 95 % interval, "
        f"on {images}."
    )
    if text := uncorrected_text(frame):
        print(text)
    if out:
        out.mkdir(parents=True, exist_ok=True)
        (out / CSV).write_text(csv_text(frame, excel=excel), encoding="utf-8", newline="")
        print(f"Wrote {out / CSV}")
    try:
        if overall_sparsity is not None:
            _print_allocation(allocate(frame, overall_sparsity), overall_sparsity, spec)
        if within is not None:
            _print_within(frame, progress, cache, queue, within)
    except SpecError as error:
        raise error.for_field(ALLOCATE if within is None else BUDGET) from None
    return OK


def _timed_kernels(progress: JobProgress, cache: Cache, queue: Queue) -> pd.DataFrame:
    """The times of the kernels of the baseline's layers on this machine; measured once."""
    baseline = progress.outline.models[0]
    stage = sparse_speedup_stage(baseline.key)
    run_stages(cache, queue, [stage], Terminal(stderr=True))
    return sparse_speedup_frame(stage, Store(cache))


def _print_within(
    frame: pd.DataFrame,
    progress: JobProgress,
    cache: Cache,
    queue: Queue,
    within: tuple[str, float],
) -> None:
    """Print the allocation within a budget, what it costs, and its options of `compare`."""
    (name, limit), spec = within, from_json(progress.job.spec)
    kernels = _timed_kernels(progress, cache, queue) if name == TIME else pd.DataFrame()
    facts = budget_facts(frame, spec, Store(cache), kernels)
    chosen = allocate_within(facts, name, limit)
    print(allocation_text(chosen, facts, name))
    _print_allocation(chosen.sparsities, overall(chosen.sparsities, frame), spec)


def _print_allocation(sparsities: Mapping[str, float], total: float, spec: Spec) -> None:
    """Print the per-layer sparsities as options of `compare`."""
    options = [
        f"--allocation custom --amounts {total:.6g} --no-iterative",
        f"--layer-sparsities '{','.join(sparsity_texts(sparsities))}'",
        *_pruning_options(spec),
    ]
    print("Options for compare, to be used with the same options for data and model:")
    print(" ".join(options))


def _pruning_options(spec: Spec) -> list[str]:
    """The options of the pruned layers and units, where they differ from the quick start."""
    default, given = to_dict(QUICKSTART.pruning), to_dict(spec.pruning)
    names = ("criterion", "layers", "exclude", "granularity", "filter_norm", "filter_dim")
    return [
        f"{flag(f'pruning.{name}')} '{','.join(given[name]) if name == 'exclude' else given[name]}'"
        for name in names
        if given[name] != default[name]
    ]


def _table(frame: pd.DataFrame) -> Table:
    """Validation accuracy: a row for each layer, a column for each sparsity."""
    sparsities = measured_sparsities(frame)
    name = Column("layer", min_width=24, overflow="fold")
    units = str(frame["size_unit"].iloc[0])
    table = Table(name, units, *map(format_percent, sparsities))
    for layer, rows in frame.groupby("layer", sort=False):
        texts = {row["sparsity"]: _accuracy(row) for row in rows.to_dict("records")}
        cells = [texts.get(sparsity, "") for sparsity in sparsities]
        table.add_row(short(str(layer)), f"{rows['size'].iloc[0]:,}", *cells)
    return table


def _accuracy(row: dict[Hashable, Any]) -> str:
    low, high = 100 * row["accuracy_low"], 100 * row["accuracy_high"]
    return f"{100 * row['accuracy']:.1f} ({low:.0f}-{high:.0f})"
