"""The command `latency`: a finished model, timed in turn with its dense baseline."""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd
from rich.table import Table

from pruning_core.cli.arguments import add_names, folder, integers
from pruning_core.cli.export import report_failed_stages
from pruning_core.cli.output import check_out
from pruning_core.cli.progress import Terminal, run_stages
from pruning_core.cli.selection import add_index, add_job, find_job, find_model
from pruning_core.common.errors import SpecError
from pruning_core.common.paths import Cache
from pruning_core.common.terminal import one_line
from pruning_core.methods.runtimes import RUNTIMES
from pruning_core.planning.stage import Outline, Stage
from pruning_core.planning.timing import (
    Conditions,
    latency_stages,
    skipped_notes,
    sparse_speedup_stage,
)
from pruning_core.results import latency as latency_results
from pruning_core.results import sparse_speedup
from pruning_core.results.csv_text import csv_text
from pruning_core.results.deployment import verdict
from pruning_core.results.deployment_evidence import evidence
from pruning_core.results.latency import (
    ROLE_SUFFIXES,
    latency_notes,
    model_names,
    speedup_text,
)
from pruning_core.results.sparse_speedup import break_even_text, sparse_speedup_frame
from pruning_core.storage.jobs import Queue
from pruning_core.storage.store import Store

LATENCY_CSV, SPARSE_SPEEDUP_CSV = "latency.csv", "sparse_speedup.csv"
OUT = Path("outputs") / "latency"
# The options of the conditions, by the names that their errors have.
FLAGS = {"batches": "--batch-sizes", "threads": "--threads", "image_size": "--image-size"}


def add_latency_options(command: argparse.ArgumentParser) -> None:
    """The options of the command."""
    add_job(command)
    add_index(command)
    text = "numbers of other models of the job to measure as well"
    command.add_argument("--compare-with", type=integers, default=(), metavar="N,N", help=text)
    add_names(command, "--runtimes", RUNTIMES)
    text = "batch sizes (default: 1)"
    command.add_argument("--batch-sizes", type=integers, default=[1], metavar="N,N", help=text)
    text = "numbers of CPU threads (default: 1)"
    command.add_argument("--threads", type=integers, default=[1], metavar="N,N", help=text)
    text = "width and height of the images in pixels; 0 is the size in training (default: 0)"
    command.add_argument("--image-size", type=int, default=0, metavar="N", help=text)
    text = "also measure the break-even sparsity, from which sparse kernels are faster than dense"
    command.add_argument("--break-even", action="store_true", help=text)
    text = f"folder for the tables (default: {OUT})"
    command.add_argument("--out", type=folder, default=OUT, metavar="DIR", help=text)


def latency(options: argparse.Namespace, cache: Cache, queue: Queue) -> int:
    """Measure, print the table and the conclusion, and write the tables as CSV."""
    job = find_job(queue, options.job)
    model = find_model(queue, job, options.index)
    others = [find_model(queue, job, n, "--compare-with") for n in options.compare_with]
    dense = Outline.from_json(job.outline).dense_of(model)
    models = list(dict.fromkeys([dense, model, *others]))
    conditions = _conditions(options)
    check_out(options.out)
    stages = latency_stages([m.key for m in models], options.runtimes, conditions)
    kernels = [sparse_speedup_stage(model.key, options.image_size)] if options.break_even else []
    rows = run_stages(cache, queue, [*stages, *kernels], Terminal(stderr=True))
    store, written = Store(cache), []
    frame = latency_results.latency_frame(stages, store, model_names(job, models))
    if not frame.empty:
        Terminal().print(_table(frame))
        written.append(_write(frame, options.out / LATENCY_CSV))
    for stage in kernels:
        written += _write_break_even(stage, store, options.out)
    print(verdict(evidence(model, dense, others, stages, store)))
    for note in [*skipped_notes(options.runtimes, conditions), *latency_notes(stages, store)]:
        print(f"Note: {one_line(note)}")
    for path in written:
        print(f"Wrote {path}")
    return report_failed_stages(row for row in rows if row.status != "done")


def _conditions(options: argparse.Namespace) -> Conditions:
    """Batch sizes, threads and image size. Raises `SpecError`, naming the option."""
    try:
        return Conditions(tuple(options.batch_sizes), tuple(options.threads), options.image_size)
    except SpecError as error:
        raise error.for_field(FLAGS.get(error.field, error.field)) from None


def _write_break_even(stage: Stage, store: Store, out: Path) -> list[Path]:
    """Print the break-even sparsity of each kernel, and write the times as CSV."""
    frame = sparse_speedup_frame(stage, store)
    if frame.empty:
        return []
    for kernel in frame["kernel"].unique():
        print(break_even_text(sparse_speedup.break_even(frame, kernel), kernel))
    return [_write(frame, out / SPARSE_SPEEDUP_CSV)]


def _write(frame: pd.DataFrame, path: Path) -> Path:
    path.write_text(csv_text(frame), encoding="utf-8", newline="")
    return path


def _table(frame: pd.DataFrame) -> Table:
    """A row for each model, runtime, batch size and number of threads."""
    table = Table(
        "model",
        "runtime",
        "batch size",
        "threads",
        "p50 (ms)",
        "p90 (ms)",
        "images/s",
        "speed-up",
        caption="Speed-up over the dense model in the same runtime, with its 95 % interval",
    )
    for row in frame.to_dict("records"):
        table.add_row(
            row["model"] + ROLE_SUFFIXES.get(row["role"], ""),
            row["runtime_title"],
            str(row["batch_size"]),
            str(row["threads"]),
            f"{row['p50_ms']:.3g}",
            f"{row['p90_ms']:.3g}",
            f"{row['images_per_second']:,.1f}",
            speedup_text(row),
        )
    return table
