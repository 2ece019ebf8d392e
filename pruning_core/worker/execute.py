"""Run one stage: build it, publish it, and say in the queue how it went."""

from __future__ import annotations

import errno
import logging
import os
import sqlite3
import threading
import time
import traceback
from collections.abc import Callable

from pruning_core.paths import Cache
from pruning_core.queue.database import LOCK_SECONDS
from pruning_core.queue.jobs import Queue
from pruning_core.queue.stage_queue import Row
from pruning_core.spec import SpecError
from pruning_core.store import Missing, Store
from pruning_core.worker.context import Context, Progress, StageError

BEAT_SECONDS = 1.0
# Libraries in C and Rust raise errors of their own, in which only the system's words remain.
DISK_FULL = (os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT), "database or disk is full")
log = logging.getLogger(__name__)


class Heart:
    """A timer thread that beats once a second, whatever the stage is doing.

    `lost` is called when the stage is no longer this process's to run: it was cancelled, or
    the supervisor (the parent process) has died.
    """

    def __init__(
        self, queue: Queue, row: Row, progress: Progress, lost: Callable[[], None]
    ) -> None:
        self.queue, self.row, self.progress, self.lost = queue, row, progress, lost
        self.parent = os.getppid()
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Heart:
        self._beat()
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.thread.join(timeout=LOCK_SECONDS)

    def _run(self) -> None:
        while not self.stop.wait(BEAT_SECONDS):
            if os.getppid() != self.parent:
                log.warning("The worker has ended; the stage goes back into the queue.")
                try:
                    self.queue.release(self.row.key, self.row.token or "")
                finally:
                    self.lost()
            elif not self._beat() and not self.stop.is_set():
                self.lost()

    def _beat(self) -> bool:
        try:
            return self.queue.beat(
                self.row.key, self.row.token or "", os.getpid(), self.progress.as_dict()
            )
        except sqlite3.Error as error:
            log.warning("No heartbeat could be written (%s).", error)
            return True


def execute(cache: Cache, queue: Queue, row: Row, lost: Callable[[], None]) -> None:
    """Run a claimed stage to its end: done, failed, or given back."""
    store, progress = Store(cache), Progress()
    token = row.token or ""
    with Heart(queue, row, progress, lost):
        try:
            if not store.exists(row.key):
                _build(cache, store, row, progress)
            queue.finish(row.key, token)
        except SpecError as error:
            queue.fail(row.key, token, error.message, error.field)
        except Missing as error:
            log.warning("A stage that this one needs has gone: %s", error)
            queue.lost(str(error.args[0]))
            queue.release(row.key, token)
        except Exception as error:
            log.exception("Stage %s failed.", row.key[:12])
            queue.fail(row.key, token, explain(error, cache))


def explain(error: Exception, cache: Cache) -> str:
    """A sentence where the cause is known, else the traceback."""
    if isinstance(error, StageError):
        return str(error)
    trace = traceback.format_exc()
    if any(words in trace for words in DISK_FULL):
        return (
            f"The disk that holds {cache.root} is full. What is finished is kept. Make room, "
            "then press Retry or give the same command again."
        )
    return trace


def _build(cache: Cache, store: Store, row: Row, progress: Progress) -> None:
    from pruning_core.engine.stages import RUNNERS

    started = time.perf_counter()
    log.info("Stage %s (%s) starts, attempt %d.", row.key[:12], row.kind, row.attempts)
    with store.building(row.key) as folder:
        context = Context(row, cache, store, folder, progress)
        result = RUNNERS[row.kind](context)
        store.publish(
            row.key,
            folder,
            kind=row.kind,
            parent=row.parent,
            settings=row.settings,
            result=result,
        )
    cache.checkpoint(row.key).unlink(missing_ok=True)
    log.info("Stage %s is done after %.1f s.", row.key[:12], time.perf_counter() - started)
