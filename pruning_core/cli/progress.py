"""Follow a job or single stages in the terminal until they end."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.segment import Segment

from pruning_core.cli.selection import find_job
from pruning_core.common.paths import Cache
from pruning_core.common.terminal import one_line, printable
from pruning_core.planning.inspections import pruning_notes
from pruning_core.planning.stage import Stage
from pruning_core.planning.stage_kinds import STAGE_KINDS
from pruning_core.settings.spec import from_json
from pruning_core.storage.connections import CLUSTER, SHARED_STORE, Connections
from pruning_core.storage.job_progress import ACTIVE, JobProgress, fraction, job_progress
from pruning_core.storage.jobs import Queue
from pruning_core.storage.stage_queue import Row
from pruning_core.storage.store import Store
from pruning_core.storage.worker_record import WorkerRecord, silence_text
from pruning_core.worker.start import WorkerError, WorkerStarter, other_code

PAUSE_SECONDS = 0.25
ENDED = ("done", "failed", "cancelled")


class Terminal(Console):
    """The terminal, to which rich writes its own control characters and no others."""

    def __init__(self, stderr: bool = False) -> None:
        stream = sys.stderr if stderr else sys.stdout
        super().__init__(file=getattr(stream, "raw", stream))

    def render(self, *arguments: Any, **options: Any) -> Iterable[Segment]:
        """The segments of what is printed, with their text escaped."""
        for segment in super().render(*arguments, **options):
            yield segment if segment.control else segment._replace(text=printable(segment.text))


def has_ended(progress: JobProgress) -> bool:
    """Whether no stage of a job can still run."""
    return progress.state not in ACTIVE


def is_planned(progress: JobProgress) -> bool:
    """Whether the stages of a job are known, and with them the notes on its pruning."""
    return progress.state != "planning"


def follow_job(
    cache: Cache,
    queue: Queue,
    job_id: str,
    console: Console,
    until: Callable[[JobProgress], bool] = has_ended,
) -> JobProgress:
    """Show a progress bar until `until` holds, by default until the job ends.

    Starts a worker where none is alive. Raises `WorkerError`, and `SpecError` where the job was
    deleted in the meantime.
    """
    starter, notes = WorkerStarter(cache), _PruningNotes(cache, console)
    silence, connections = _Silence(cache, console), _ConnectionErrors(cache, console)
    with _bar(console) as bar:
        task = bar.add_task("Waiting for the worker", total=1.0)
        while True:
            progress = job_progress(queue, find_job(queue, job_id).id)
            notes.print_once(progress)
            _update(bar, task, progress.rows)
            if until(progress):
                connections.print_new()
                return progress
            starter.ensure()
            silence.print_once()
            connections.print_new()
            time.sleep(PAUSE_SECONDS)


def run_stages(cache: Cache, queue: Queue, stages: Iterable[Stage], console: Console) -> list[Row]:
    """Run the stages that the store lacks, with a progress bar; they belong to no job.

    Returns the rows of these stages in the queue, all of which have ended. Raises `WorkerError`.
    """
    check_worker(cache)
    store = Store(cache)
    missing = [stage for stage in stages if not store.exists(stage.key)]
    for stage in missing:
        queue.forget(stage.key)  # so that a stage that failed before runs again
    queue.add(missing)
    starter, silence = WorkerStarter(cache), _Silence(cache, console)
    with _bar(console) as bar:
        task = bar.add_task("Waiting for the worker", total=1.0)
        while True:
            rows = [row for stage in missing if (row := queue.stage(stage.key))]
            _update(bar, task, rows)
            if all(row.status in ENDED for row in rows):
                return rows
            starter.ensure()
            silence.print_once()
            time.sleep(PAUSE_SECONDS)


def check_worker(cache: Cache) -> None:
    """Raise `WorkerError` where the worker of the cache runs other source code."""
    if problem := other_code(cache):
        raise WorkerError(problem)


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
    )


class _PruningNotes:
    """Prints once, before any pruning runs, what the inspections say about it."""

    def __init__(self, cache: Cache, console: Console) -> None:
        self.store, self.console, self.printed = Store(cache), console, False

    def print_once(self, progress: JobProgress) -> None:
        """Print the notes as soon as pruning is planned."""
        prunes = any(STAGE_KINDS[row.kind].prunes for row in progress.rows)
        if self.printed or not prunes:
            return
        self.printed = True
        for note in pruning_notes(from_json(progress.job.spec), self.store):
            text = f"Note: {one_line(note)}"
            self.console.print(text, markup=False, highlight=False, soft_wrap=True)


class _ConnectionErrors:
    """Prints why the shared store or the cluster of the cache cannot be used, each reason once."""

    def __init__(self, cache: Cache, console: Console) -> None:
        self.connections, self.console = Connections(cache.queue), console
        self.printed = {""}

    def print_new(self) -> None:
        """Print the reasons that were not printed yet."""
        for name in (SHARED_STORE, CLUSTER):
            error = self.connections.get(name).error
            if error not in self.printed:
                self.printed.add(error)
                text = f"Note: {one_line(error)}"
                self.console.print(text, markup=False, highlight=False, soft_wrap=True)


class _Silence:
    """Prints once which worker is waited for, when it has not reported for a while."""

    def __init__(self, cache: Cache, console: Console) -> None:
        self.record, self.console, self.printed = WorkerRecord(cache.queue), console, False

    def print_once(self) -> None:
        """Print the process of a worker that is alive and silent."""
        row = None if self.printed else self.record.silent()
        if row is None:
            return
        self.printed = True
        self.console.print(silence_text(row), markup=False, highlight=False, soft_wrap=True)


def _update(bar: Progress, task: TaskID, rows: list[Row]) -> None:
    """Show how many stages are done, and what the first running stage is doing."""
    done = sum(row.status == "done" for row in rows)
    parts = [f"{done} of {len(rows)} stages"]
    if running := [row for row in rows if row.status == "running"]:
        title, message = STAGE_KINDS[running[0].kind].title, running[0].progress.get("message", "")
        parts.append(f"{title}: {message}" if message else title)
    bar.update(task, completed=fraction(rows), description="; ".join(parts))
