"""Watch a job in the terminal until it ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from pruning_core.common.paths import Cache
from pruning_core.methods.strategies import STRUCTURED
from pruning_core.planning.inspections import known_of_cuts
from pruning_core.planning.stage import Stage
from pruning_core.planning.stage_kinds import STAGE_KINDS
from pruning_core.settings.spec import from_json
from pruning_core.storage.job_progress import ACTIVE, JobProgress, fraction, job_progress
from pruning_core.storage.jobs import Queue
from pruning_core.storage.stage_queue import Row
from pruning_core.storage.store import Store
from pruning_core.worker.start import WorkerStarter

PAUSE_SECONDS = 0.25
ENDED = ("done", "failed", "cancelled")


def ended(now: JobProgress) -> bool:
    """Whether nothing of a job is left to run."""
    return now.state not in ACTIVE


def planned(now: JobProgress) -> bool:
    """Whether a job's stages are known, and with them what is to be said before they run."""
    return ended(now) or now.state != "planning"


def follow(
    cache: Cache,
    queue: Queue,
    job_id: str,
    console: Console,
    until: Callable[[JobProgress], bool] = ended,
) -> JobProgress:
    """Show a progress bar until the job is so far, at first its end. Raises `WorkerError`."""
    with _bar(console) as bar:
        task = bar.add_task("Waiting for the worker", total=1.0)
        teller = _Teller(cache, console)

        def draw(now: JobProgress) -> None:
            teller.look(now)
            _draw(bar, task, now.rows)

        return _wait(WorkerStarter(cache), queue, job_id, draw, until)


def finish(cache: Cache, queue: Queue, stages: Iterable[Stage], console: Console) -> list[Row]:
    """Run stages that no job wants, those that are missing, and show a bar until all have ended.

    Returns their rows in the queue; of a stage that the store has already there may be none.
    Raises `WorkerError`.
    """
    wanted, store = list(stages), Store(cache)
    missing = [stage for stage in wanted if not store.exists(stage.key)]
    for stage in missing:
        queue.forget(stage.key)  # one that failed before is tried again
    queue.add(missing)
    starter = WorkerStarter(cache)
    with _bar(console) as bar:
        task = bar.add_task("Waiting for the worker", total=1.0)
        while True:
            rows = [row for stage in missing if (row := queue.stage(stage.key))]
            _draw(bar, task, rows)
            if all(row.status in ENDED for row in rows):
                return rows
            starter.look()
            time.sleep(PAUSE_SECONDS)


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
    )


class _Teller:
    """Says once, when the stages are planned, what is to be known of the cuts before they run."""

    def __init__(self, cache: Cache, console: Console) -> None:
        self.store, self.console, self.done = Store(cache), console, False

    def look(self, now: JobProgress) -> None:
        if self.done or not any(row.kind in ("pruned", STRUCTURED) for row in now.rows):
            return
        self.done = True
        for sentence in known_of_cuts(from_json(now.job.spec), self.store):
            self.console.print(f"Note: {sentence}", markup=False, highlight=False, soft_wrap=True)


def _wait(
    starter: WorkerStarter,
    queue: Queue,
    job_id: str,
    draw: Callable[[JobProgress], None],
    until: Callable[[JobProgress], bool],
) -> JobProgress:
    while True:
        now = job_progress(queue, job_id)
        draw(now)
        if until(now):
            return now
        starter.look()
        time.sleep(PAUSE_SECONDS)


def _draw(bar: Progress, task: TaskID, rows: list[Row]) -> None:
    running = [row for row in rows if row.status == "running"]
    doing = [(STAGE_KINDS[row.kind].title, row.progress.get("message", "")) for row in running]
    texts = [": ".join(filter(None, words)) for words in doing]
    done = sum(row.status == "done" for row in rows)
    head = f"{done} of {len(rows)} stages"
    bar.update(task, completed=fraction(rows), description="; ".join([head, *texts[:1]]))
