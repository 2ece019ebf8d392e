"""What the command line says when a job has ended: tables and files, or why there are none."""

from __future__ import annotations

import shutil
import sqlite3
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from pruning_core.common.errors import SpecError, brief
from pruning_core.common.paths import Cache
from pruning_core.reports.csv_export import write_report
from pruning_core.results.models import results_frame
from pruning_core.settings import spec as specs
from pruning_core.settings.messages import for_command_line
from pruning_core.storage.job_progress import Standing
from pruning_core.storage.jobs import Queue
from pruning_core.storage.store import Store

if TYPE_CHECKING:
    import pandas as pd

LITTLE_BYTES = 2**16
OK, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130


def say(code: int, message: str) -> int:
    """Write one line to standard error. Returns the exit code."""
    print(brief(" ".join(message.splitlines())), file=sys.stderr)
    return code


def check_out(out: Path, option: str = "--out") -> None:
    """Make the folder for files. Raises `SpecError`, naming the option, where that fails."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out) as probe:
            probe.write(b"x")
    except OSError as error:
        reason = error.strerror or str(error)
        message = f"the folder {out} cannot be written ({reason}); name another."
        raise SpecError(option, message) from None


def write_results(now: Standing, cache: Cache, queue: Queue, out: Path | None) -> int:
    """Print the two tables, write the files into `out`, and say where they are."""
    from pruning_core.reports import csv_export
    from pruning_core.results.findings import findings
    from pruning_core.results.tables import int8_notes, model_notes

    frame = results_frame(now.outline, Store(cache), now.job.label, now.job.id)
    lost = [point.key for point in now.outline.models if not Store(cache).exists(point.key)]
    if lost:
        for key in lost:
            queue.lost(key)
        what = "result was" if len(lost) == 1 else "results were"
        return say(FAILED, f"{len(lost)} {what} damaged; give the same command again.")
    print(csv_export.summary_tables(frame))
    for finding in findings(frame):
        print(f"- {finding.text}")
    code, notes = write_files(now, frame, out) if out else (OK, [])
    for note in [*model_notes(frame), *int8_notes(frame), *notes]:
        print(f"Note: {note}")
    return code


def write_files(now: Standing, frame: pd.DataFrame, out: Path) -> tuple[int, list[str]]:
    """Write the files. Returns the exit code and notes on what is missing."""
    from pruning_core.reports import csv_export
    from pruning_core.reports.image_export import ImageError

    notes, written = list(csv_export.missing_chrome()), [out]
    try:
        written = write_report(frame, {now.job.id: specs.from_json(now.job.spec)}, out)
    except ImageError as error:
        notes.append(str(error))
    except OSError as error:
        message = f"--out: {error.filename or out} cannot be written ({error.strerror or error})."
        hint = f"The run is kept: python -m pruning_core show {now.job.id} --out DIR."
        return say(FAILED, f"{message} {hint}"), notes
    for path in written:
        print(f"Wrote {path}")
    return OK, notes


def complain(now: Standing, cache: Cache) -> int:
    """Say on standard error why a job has no result. Returns the exit code."""
    if now.state == "cancelled":
        return say(FAILED, f"Job {now.job.id} was cancelled.")
    failed = [row for row in now.rows if row.status == "failed"]
    field, error = now.job.field, now.job.error
    if failed and not error:
        field, error = failed[0].field, failed[0].error
    if field:
        return say(BAD_INPUT, for_command_line(SpecError.from_json(field, error)))
    print(error.rstrip(), file=sys.stderr)
    logs = ", ".join(str(cache.log(row.key)) for row in failed)
    return say(FAILED, f"Job {now.job.id} failed. Log: {logs}")


def unusable(cache: Cache, error: sqlite3.Error) -> str:
    """Why the queue failed, and what can be done about it."""
    full = shutil.disk_usage(cache.root).free < LITTLE_BYTES
    what = "the disk is full; make room, and" if full else "once it can be used,"
    return (
        f"--cache-dir: The queue {cache.queue} cannot be used ({error}): {what} give the same "
        "command again. What is finished is kept."
    )
