"""`python -m pruning_core measure`: a finished point timed in turn with its dense baseline."""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table

from pruning_core.cli.export import add_point, complain, find_point
from pruning_core.cli.options import integers
from pruning_core.cli.output import check_out
from pruning_core.cli.progress import finish
from pruning_core.common.files import place
from pruning_core.common.paths import Cache
from pruning_core.methods.runtimes import RUNTIMES
from pruning_core.planning.stage import Outline, Stage
from pruning_core.planning.timing import Conditions, crossover_stage, latency_stages, left_out
from pruning_core.results import latency, sparse_speedup
from pruning_core.results.deployment import verdict
from pruning_core.results.deployment_evidence import evidence
from pruning_core.results.latency import latency_notes, model_names, speedup_text
from pruning_core.results.sparse_speedup import break_even_text, sparse_speedup_frame
from pruning_core.storage.jobs import Queue
from pruning_core.storage.store import Store

SPEED_CSV, CROSSOVER_CSV = "speed.csv", "crossover.csv"
OUT = Path("outputs") / "measure"


def add_measure(command: argparse.ArgumentParser) -> None:
    """The options of the command."""
    command.add_argument("job", metavar="JOB", help="a job's name or how it begins")
    add_point(command)
    beside = "further points of the job, timed beside it"
    command.add_argument("--beside", type=integers, default=(), metavar="N,N", help=beside)
    runtimes = f"of {', '.join(RUNTIMES)} (all)"
    command.add_argument(
        "--runtimes", type=_runtimes, default=list(RUNTIMES), metavar="R,R", help=runtimes
    )
    command.add_argument(
        "--batches", type=integers, default=[1], metavar="N,N", help="images at a time (1)"
    )
    command.add_argument("--threads", type=integers, default=[1], metavar="N,N", help="threads (1)")
    pixels = "pixels a side (0: as trained)"
    command.add_argument("--pixels", type=int, default=0, metavar="N", help=pixels)
    zeros = "find where, over sparsity, zeros begin to pay on this machine"
    command.add_argument("--crossover", action="store_true", help=zeros)
    command.add_argument("--out", type=place, default=OUT, metavar="DIR", help=f"files ({OUT})")


def _runtimes(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    if unknown := [name for name in names if name not in RUNTIMES]:
        message = f"{unknown[0]!r} is no runtime; there are {', '.join(RUNTIMES)}"
        raise argparse.ArgumentTypeError(message)
    return names


def measure(options: argparse.Namespace, cache: Cache, queue: Queue) -> int:
    """Time, print, write, and say what it means."""
    job, point = find_point(queue, options.job, options.point)
    others = [find_point(queue, options.job, number)[1] for number in options.beside]
    dense = Outline.from_json(job.outline).dense_of(point)
    models = list(dict.fromkeys([dense, point, *others]))
    how = Conditions(tuple(options.batches), tuple(options.threads), options.pixels)
    check_out(options.out)
    stages = latency_stages([one.key for one in models], options.runtimes, how)
    zeros = [crossover_stage(point.key, options.pixels)] if options.crossover else []
    rows = finish(cache, queue, [*stages, *zeros], Console(stderr=True))
    store, written = Store(cache), []
    names = model_names(job, models)
    frame = latency.latency_frame(stages, store, names)
    if not frame.empty:
        Console().print(_table(frame))
        written.append(_write(frame, options.out / SPEED_CSV))
    for stage in zeros:
        written += _tell_zeros(stage, store, options.out)
    print(verdict(evidence(point, dense, others, stages, store)))
    for note in [*left_out(options.runtimes, how), *latency_notes(stages, store)]:
        print(f"Note: {note}")
    for path in written:
        print(f"Wrote {path}")
    return complain(row for row in rows if row.status != "done")


def _tell_zeros(stage: Stage, store: Store, out: Path) -> list[Path]:
    frame = sparse_speedup_frame(stage, store)
    if frame.empty:
        return []
    for kernel in frame["kernel"].unique():
        print(break_even_text(sparse_speedup.break_even(frame, kernel), kernel))
    return [_write(frame, out / CROSSOVER_CSV)]


def _write(frame: pd.DataFrame, path: Path) -> Path:
    frame.to_csv(path, index=False, lineterminator="\n")
    return path


def _table(frame: pd.DataFrame) -> Table:
    heads = (
        "model",
        "runtime",
        "images",
        "threads",
        "p50 ms",
        "p90 ms",
        "images/s",
        "times as fast",
    )
    drawn = Table(
        *heads, caption="Times as fast: against the dense model in the same runtime, 95 %"
    )
    for row in frame.to_dict("records"):
        again = " (again)" if row["role"] == "control" else ""
        drawn.add_row(
            f"{row['model']}{again}",
            row["runtime_title"],
            str(row["batch_size"]),
            str(row["threads"]),
            f"{row['p50_ms']:.3g}",
            f"{row['p90_ms']:.3g}",
            f"{row['images_per_second']:.3g}",
            speedup_text(row),
        )
    return drawn
