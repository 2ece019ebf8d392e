"""Watch a job in the terminal until it ends."""

from __future__ import annotations

import time
from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from pruning_core.paths import Cache
from pruning_core.plan import known_of_cuts
from pruning_core.queue.jobs import Queue
from pruning_core.queue.standing import ACTIVE, TITLES, Standing, standing
from pruning_core.spec import from_json
from pruning_core.store import Store
from pruning_core.worker.start import Starter

PAUSE_SECONDS = 0.25


def follow(cache: Cache, queue: Queue, job_id: str, console: Console) -> Standing:
    """Show a progress bar until the job ends. Raises `WorkerError`."""
    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
    )
    with bar:
        task = bar.add_task("Waiting for the worker", total=1.0)
        teller = _Teller(cache, console)

        def draw(now: Standing) -> None:
            teller.look(now)
            _draw(bar, task, now)

        return _wait(Starter(cache), queue, job_id, draw)


class _Teller:
    """Says once, when the stages are planned, what is to be known of the cuts before they run."""

    def __init__(self, cache: Cache, console: Console) -> None:
        self.store, self.console, self.done = Store(cache), console, False

    def look(self, now: Standing) -> None:
        if self.done or not any(row.kind == "level" for row in now.rows):
            return
        self.done = True
        for sentence in known_of_cuts(from_json(now.job.spec), self.store):
            self.console.print(f"Note: {sentence}", markup=False, highlight=False)


def _wait(
    starter: Starter, queue: Queue, job_id: str, draw: Callable[[Standing], None]
) -> Standing:
    while True:
        now = standing(queue, job_id)
        draw(now)
        if now.state not in ACTIVE:
            return now
        starter.look()
        time.sleep(PAUSE_SECONDS)


def _draw(bar: Progress, task: TaskID, now: Standing) -> None:
    running = [row for row in now.rows if row.status == "running"]
    doing = [(TITLES[row.kind], row.progress.get("message", "")) for row in running]
    texts = [": ".join(filter(None, words)) for words in doing]
    done = sum(row.status == "done" for row in now.rows)
    head = f"{done} of {len(now.rows)} stages"
    bar.update(task, completed=now.fraction, description="; ".join([head, *texts[:1]]))
