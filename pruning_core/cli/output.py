"""What the command line prints when a job has ended: tables and files, or why it failed."""

from __future__ import annotations

import argparse
import os
import shutil
import sqlite3
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from pruning_core.common.errors import SpecError, brief
from pruning_core.common.paths import Cache
from pruning_core.common.terminal import one_line
from pruning_core.reports.csv_export import write_report
from pruning_core.results.models import results_frame
from pruning_core.settings import spec as specs
from pruning_core.settings.messages import failure_reason, for_command_line
from pruning_core.storage.cleanup import unreadable
from pruning_core.storage.job_progress import JobProgress
from pruning_core.storage.jobs import Queue
from pruning_core.storage.store import Store

if TYPE_CHECKING:
    import pandas as pd

# With less free space than this, the disk is full.
MIN_FREE_BYTES = 2**16
READABLE = "Make it readable and writable, then run the same command again."
# The error codes of SQLite, in their low byte, for a file that is no queue any more.
DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
# The exit codes of the command line.
OK, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130


def say(code: int, message: str) -> int:
    """Write one line to standard error. Returns the exit code."""
    print(brief(" ".join(message.splitlines())), file=sys.stderr)
    return code


def check_out(out: Path, option: str = "--out") -> None:
    """Make an output folder. Raises `SpecError`, naming the option, where that fails."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out) as probe:
            probe.write(b"x")
    except OSError as error:
        reason = error.strerror or str(error)
        message = f"the folder {out} cannot be written ({reason}); name another one."
        raise SpecError(option, message) from None


def add_excel(command: argparse.ArgumentParser) -> None:
    """The option for the format of the CSV file."""
    text = "write the CSV with ; and a decimal comma, as Excel in German or French expects it"
    command.add_argument("--excel", action="store_true", help=text)


def write_results(
    progress: JobProgress, cache: Cache, queue: Queue, out: Path | None, excel: bool = False
) -> int:
    """Print the two tables and the findings, and write the files into `out`.

    `excel` is for the CSV. Returns the exit code.
    """
    from pruning_core.results.findings import control_notes, findings
    from pruning_core.results.tables import int8_notes, model_notes, summary_tables

    store, job = Store(cache), progress.job
    frame = results_frame(progress.outline, store, job.label, job.id)
    damaged = [model.key for model in progress.outline.models if not store.exists(model.key)]
    if damaged:
        for folder, reason in unreadable(cache).items():
            return say(FAILED, f"{folder} cannot be read ({reason}). {READABLE}")
        for key in damaged:
            queue.lost(key)
        results = "result is" if len(damaged) == 1 else "results are"
        return say(FAILED, f"{len(damaged)} {results} damaged; run the same command again.")
    print(summary_tables(frame))
    for finding in findings(frame):
        print(f"- {one_line(finding.text)}")
    code, notes = _write_files(progress, frame, out, excel) if out else (OK, [])
    for note in [*model_notes(frame), *control_notes(frame), *int8_notes(frame), *notes]:
        print(f"Note: {one_line(note)}")
    return code


def _write_files(
    progress: JobProgress, frame: pd.DataFrame, out: Path, excel: bool
) -> tuple[int, list[str]]:
    """Write the files. Returns the exit code, and notes on files that could not be made."""
    from pruning_core.reports.image_export import ImageError

    job = progress.job
    notes: list[str] = []
    written = [out]
    try:
        written = write_report(frame, {job.id: specs.from_json(job.spec)}, out, excel)
    except ImageError as error:
        notes.append(str(error))
    except OSError as error:
        message = f"--out: {error.filename or out} cannot be written ({error.strerror or error})."
        option = " --excel" if excel else ""
        hint = f"The results are kept: python -m pruning_core show {job.id} --out DIR{option}."
        return say(FAILED, f"{message} {hint}"), notes
    for path in written:
        print(f"Wrote {one_line(str(path))}")
    return OK, notes


def failure_message(field: str, error: str) -> str:
    """Why a stage or a job failed, as the command line says it."""
    return failure_reason(field, error, for_command_line)


def report_failure(progress: JobProgress, cache: Cache) -> int:
    """Print to standard error why a job has no result. Returns the exit code."""
    job = progress.job
    if progress.state == "cancelled":
        return say(FAILED, f"Job {job.id} was cancelled.")
    failed = [row for row in progress.rows if row.status == "failed"]
    field, error = job.field, job.error
    if failed and not error:
        field, error = failed[0].field, failed[0].error
    if field:
        return say(BAD_INPUT, failure_message(field, error))
    print(error.rstrip(), file=sys.stderr)
    logs = ", ".join(str(cache.log(row.key)) for row in failed)
    return say(FAILED, f"Job {job.id} failed." + (f" Log: {logs}" if logs else ""))


def queue_failure(cache: Cache, error: sqlite3.Error) -> str:
    """Why the queue cannot be used, and what the user can do."""
    advice = "Run the same command again."
    if shutil.disk_usage(cache.root).free < MIN_FREE_BYTES:
        advice = "The disk is full: free some space, then run the same command again."
    elif getattr(error, "sqlite_errorcode", 0) & 0xFF in DAMAGED:
        advice = (
            "It is damaged. Move it and the files beside it that begin with its name to another "
            "folder, then run the same command again: a new queue is made."
        )
    elif not os.access(cache.queue, os.R_OK | os.W_OK) and cache.queue.exists():
        advice = READABLE
    return (
        f"--cache-dir: the queue {cache.queue} cannot be used ({error}). {advice} Finished results "
        "are kept."
    )
