"""`python -m pruning_core scan`: the sensitivity scan, printed and written as a table."""

from __future__ import annotations

import argparse
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Column, Table

from pruning_core.cli.output import FAILED, OK, say
from pruning_core.common.errors import SpecError, check
from pruning_core.common.formatting import format_percent
from pruning_core.common.paths import Cache
from pruning_core.planning.presets import QUICKSTART
from pruning_core.results.labels import short
from pruning_core.results.sensitivity import (
    allocate,
    images_text,
    measured_sparsities,
    read_sensitivity,
    sparsity_texts,
)
from pruning_core.settings.conditions import GROUP
from pruning_core.settings.messages import flag
from pruning_core.settings.serialization import to_dict
from pruning_core.settings.spec import Spec, from_json
from pruning_core.storage.job_progress import Standing
from pruning_core.storage.jobs import Queue
from pruning_core.storage.store import Store

FILE = "sensitivity.csv"
WIDE = 200


def add_propose(command: argparse.ArgumentParser) -> None:
    """The option of the command beside those of `compare`."""
    text = "print the shares that lose equally much in each layer and remove so much in all"
    command.add_argument("--propose", type=float, metavar="F", help=text)


def write_scan(
    now: Standing, cache: Cache, queue: Queue, out: Path | None, total: float | None = None
) -> int:
    """Print a finished scan, and write it as CSV into a folder.

    For a `total` (a fraction) also print the shares that it proposes. Raises `SpecError` where
    the scan does not reach it.
    """
    spec = from_json(now.job.spec)
    found = read_sensitivity(spec, Store(cache))
    if found.empty:
        return say(FAILED, "The scan has no result; give the same command again.")
    console = Console()
    # In a file nothing needs to be cut off; a terminal wraps.
    console.width = console.width if console.is_terminal else WIDE
    console.print(table(found))
    told = CAPTION.format(what=WHAT[str(found["size_unit"].iloc[0])])
    print(f"{told} Measured on {images_text(found, spec.sensitivity.images)}.")
    if out:
        out.mkdir(parents=True, exist_ok=True)
        found.to_csv(out / FILE, index=False)
        print(f"Wrote {out / FILE}")
    if total is not None:
        _print_proposal(found, total, spec)
    return OK


def check_proposable(spec: Spec, total: float | None) -> None:
    """Refuse a proposal from a scan of groups: the shares by hand are those of layers."""
    told = "shares by hand are of layers; leave it out, or scan with --sensitivity-unit layer."
    check(total is None or spec.sensitivity.unit != GROUP, "--propose", told)


def _print_proposal(found: pd.DataFrame, total: float, spec: Spec) -> None:
    """The shares in the form in which `compare` takes them, beside the data and the model."""
    try:
        table = sparsity_texts(allocate(found, total))
    except SpecError as error:
        raise SpecError("--propose", error.message) from None
    shares = f"--allocation custom --amounts {total:g} --no-iterative --layer-sparsities '{','.join(table)}'"
    print("For compare, beside this scan's own data and model:")
    print(" ".join([shares, *_pruning_options(spec)]))


def _pruning_options(spec: Spec) -> list[str]:
    """The options of what was pruned, where they differ from those that `compare` starts with."""
    usual, own = to_dict(QUICKSTART.pruning), to_dict(spec.pruning)
    names = ("criterion", "layers", "exclude", "granularity", "filter_norm", "filter_dim")
    return [
        f"{flag(f'pruning.{name}')} '{','.join(own[name]) if name == 'exclude' else own[name]}'"
        for name in names
        if own[name] != usual[name]
    ]


def table(found: pd.DataFrame) -> Table:
    """Validation accuracy, a line a layer and a column a sparsity."""
    steps = measured_sparsities(found)
    name = Column("layer", min_width=24, overflow="fold")
    noun = str(found["size_unit"].iloc[0])
    drawn = Table(name, noun, *map(format_percent, steps))
    for layer, rows in found.groupby("layer", sort=False):
        there = {row["sparsity"]: _interval(row) for row in rows.to_dict("records")}
        cells = [there.get(step, "") for step in steps]
        drawn.add_row(short(str(layer)), f"{rows['size'].iloc[0]:,}", *cells)
    return drawn


CAPTION = (
    "Percent of validation images that are right with {what} alone cut, nothing trained, and "
    "the 95 % interval."
)
WHAT = {"weights": "this layer", "channels": "this coupled group of channels"}


def _interval(row: dict[Hashable, Any]) -> str:
    low, high = 100 * row["accuracy_low"], 100 * row["accuracy_high"]
    return f"{100 * row['accuracy']:.1f} ({low:.0f}-{high:.0f})"
