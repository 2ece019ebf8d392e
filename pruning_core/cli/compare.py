"""The command `compare`: submit a comparison, follow it, print and write its results."""

from __future__ import annotations

import argparse
import functools
import signal
from collections.abc import Callable
from pathlib import Path

from pruning_core.cli.arguments import folder
from pruning_core.cli.options import add_options, spec_from, unused_options
from pruning_core.cli.output import (
    INTERRUPTED,
    OK,
    add_excel,
    check_out,
    report_failure,
    say,
    write_results,
)
from pruning_core.cli.progress import (
    Terminal,
    check_worker,
    follow_job,
    has_ended,
    is_planned,
)
from pruning_core.common.paths import Cache
from pruning_core.planning.plan import plan
from pruning_core.planning.pruned import recovery_notes
from pruning_core.settings.spec import Spec, describe
from pruning_core.storage.job_progress import ACTIVE, JobProgress
from pruning_core.storage.job_record import job_id
from pruning_core.storage.jobs import Queue
from pruning_core.storage.store import Store

OUT = Path("outputs") / "pruning_comparison"
# Prints the results of a finished job, writes them into a folder, returns the exit code.
WriteResults = Callable[[JobProgress, Cache, Queue, Path | None], int]


def add_compare_options(command: argparse.ArgumentParser) -> None:
    """The options of the command: all settings, the output folder and the background."""
    add_options(command)
    text = f"folder for the results (default: {OUT})"
    command.add_argument("--out", type=folder, default=OUT, metavar="DIR", help=text)
    add_excel(command)
    command.add_argument("--detach", action="store_true", help="run in the background")


def compare(options: argparse.Namespace, cache: Cache, queue: Queue) -> int:
    """Compare one-shot and iterative pruning."""
    write = functools.partial(write_results, excel=options.excel)
    return run_spec(spec_from(options), options, cache, queue, write)


def run_spec(
    spec: Spec, options: argparse.Namespace, cache: Cache, queue: Queue, write: WriteResults
) -> int:
    """Submit a spec, follow it and write its results. Returns the exit code."""
    plan(spec, Store(cache))  # refuses wrong settings before anything is written
    check_worker(cache)
    for note in (*unused_options(options, spec), *recovery_notes(spec)):
        say(OK, f"Note: {note}")
    if not options.detach:
        check_out(options.out)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        job = queue.submit(spec, describe(spec))
        until = is_planned if options.detach else has_ended
        progress = follow_job(cache, queue, job, Terminal(stderr=True), until)
    except KeyboardInterrupt:
        queue.cancel(job_id(spec))
        return say(INTERRUPTED, "Interrupted: the job is cancelled, finished results are kept.")
    if progress.state not in ("done", *ACTIVE):
        return report_failure(progress, cache)
    if options.detach:
        print(f"Job {job} is queued. To see it: python -m pruning_core show {job}")
        return OK
    return write(progress, cache, queue, options.out)
