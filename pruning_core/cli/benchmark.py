"""The command `benchmark`: time this project on this machine, and keep the figures for Home."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from dataclasses import astuple

from rich.console import Console
from rich.table import Table

from pruning_core.cli.output import FAILED, OK, check_out, say
from pruning_core.cli.progress import Terminal
from pruning_core.common.files import expand_path
from pruning_core.common.paths import PROJECT, Cache
from pruning_core.common.processes import ENVIRONMENT
from pruning_core.methods.devices import BENCHMARKED, CPU
from pruning_core.results.benchmark import ALL_FIGURES, BenchmarkResult, figure_text, write_result
from pruning_core.storage.jobs import Queue


def add_benchmark_options(command: argparse.ArgumentParser) -> None:
    """The options of the command."""
    text = "a smaller benchmark: a few minutes instead of a quarter of an hour"
    command.add_argument("--quick", action="store_true", help=text)
    text = "what is measured: training on the CPU, or on one NVIDIA GPU"
    command.add_argument("--device", choices=BENCHMARKED, default=CPU, help=text)
    text = "also write the figures to this file, such as outputs/benchmark/figures.json"
    command.add_argument("--json", type=expand_path, metavar="FILE", help=text)


def benchmark(options: argparse.Namespace, cache: Cache, queue: Queue) -> int:
    """Time this project against the assignment's script, and print and keep the figures."""
    if options.json:
        check_out(options.json.parent, "--json")
    result = measure("quick" if options.quick else "full", options.device)
    if result is None:
        return say(FAILED, "The benchmark ended early; its last messages are above.")
    _print(result, Terminal())
    path = cache.benchmark if options.device == CPU else cache.gpu_benchmark
    write_result(result, path, "--cache-dir")
    if options.json:
        write_result(result, options.json, "--json")
        print(f"Wrote {options.json}")
    return OK


def measure(size: str, device: str) -> BenchmarkResult | None:
    """Run the benchmark in a process with the environment of a stage; None where it fails.

    It reports its progress on standard error.
    """
    command = [sys.executable, "-m", "pruning_core.engine.benchmark", size, device]
    environment = {**ENVIRONMENT, **os.environ}
    done = subprocess.run(
        command, cwd=PROJECT, env=environment, stdout=subprocess.PIPE, text=True, check=False
    )
    return BenchmarkResult.from_json(done.stdout.splitlines()[-1]) if done.returncode == 0 else None


def _print(result: BenchmarkResult, console: Console) -> None:
    """Print the figures as a table: the median of the rounds, and the lowest and the highest."""
    table = Table("figure", "median", "lowest", "highest", caption=result.environment())
    for name, measured in ALL_FIGURES.items():
        if name in result.figures:
            values = astuple(result.figures[name])
            table.add_row(measured.text, *map(figure_text, values))
    console.print(table)
    console.print(result.torch_config, markup=False, highlight=False, soft_wrap=True)
