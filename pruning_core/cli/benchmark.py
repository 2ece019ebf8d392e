"""`python -m pruning_core bench`: run it in a stage process's environment, tell and keep it."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

from rich.console import Console
from rich.table import Table

from pruning_core.cli.output import FAILED, OK, check_out, say
from pruning_core.common.files import place
from pruning_core.common.paths import PROJECT, Cache
from pruning_core.common.processes import ENVIRONMENT
from pruning_core.results.benchmark import FIGURES, BenchmarkResult, Figure, write_result
from pruning_core.storage.jobs import Queue


def add_bench(command: argparse.ArgumentParser) -> None:
    """The options of the command."""
    command.add_argument(
        "--quick", action="store_true", help="a few minutes instead of a quarter of an hour"
    )
    command.add_argument("--json", type=place, metavar="FILE", help="write the figures there")


def bench(options: argparse.Namespace, cache: Cache, queue: Queue) -> int:
    """Time this project against the plain script, and its parts; keep the result for Home."""
    if options.json:
        check_out(options.json.parent, "--json")
    result = run("quick" if options.quick else "full")
    if result is None:
        return say(FAILED, "The bench ended early; what it said stands above.")
    show(result, Console())
    write_result(result, cache.bench, "--cache-dir")
    if options.json:
        write_result(result, options.json, "--json")
        print(f"Wrote {options.json}")
    return OK


def run(size: str) -> BenchmarkResult | None:
    """Measure in a process of its own, which tells what it does on standard error."""
    command = [sys.executable, "-m", "pruning_core.engine.benchmark", size]
    environment = {**ENVIRONMENT, **os.environ}
    done = subprocess.run(
        command, cwd=PROJECT, env=environment, stdout=subprocess.PIPE, text=True, check=False
    )
    return BenchmarkResult.from_json(done.stdout.splitlines()[-1]) if done.returncode == 0 else None


def show(result: BenchmarkResult, console: Console) -> None:
    """Print the figures as a table."""
    table = Table("figure", "median", "low", "high", caption=result.environment())
    for name, measured in FIGURES.items():
        if name in result.figures:
            table.add_row(measured.text, *map(_digits, _parts(result.figures[name])))
    console.print(table)


def _parts(figure: Figure) -> tuple[float, float, float]:
    return figure.median, figure.low, figure.high


def _digits(value: float) -> str:
    return f"{value:.3g}"
