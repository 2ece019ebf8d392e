"""Run one stage: build it, publish it, and report the outcome to the queue."""

from __future__ import annotations

import errno
import functools
import logging
import os
import sqlite3
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pruning_core.common.errors import SpecError
from pruning_core.common.paths import Cache
from pruning_core.methods.devices import DEVICES
from pruning_core.planning.stage import Missing
from pruning_core.planning.stage_kinds import STAGE_KINDS
from pruning_core.planning.stage_types import restored, stored
from pruning_core.settings.messages import for_command_line
from pruning_core.storage.database import LOCK_SECONDS
from pruning_core.storage.jobs import Queue
from pruning_core.storage.stage_context import Context, Progress, StageError, StageInterrupted
from pruning_core.storage.stage_queue import Row
from pruning_core.storage.store import Store
from pruning_core.worker.shared_stages import SharedStages

BEAT_SECONDS = 1.0
# Libraries in C and Rust raise their own errors, in which only the text of the system remains.
DISK_FULL = (os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT), "database or disk is full")
NO_ACCESS = (errno.EACCES, errno.EPERM, errno.EROFS)
CPU = "cpu"
Runner = Callable[[Context[Any]], Any]
log = logging.getLogger(__name__)


class Heartbeat:
    """A thread that writes a heartbeat once a second, whatever the stage is doing.

    `lost` is called when this process must not run the stage any longer: the stage was
    cancelled, or the supervisor, which is the process `parent`, has died.
    """

    def __init__(
        self, queue: Queue, row: Row, progress: Progress, lost: Callable[[], None], parent: int
    ) -> None:
        self.queue, self.row, self.progress, self.lost = queue, row, progress, lost
        self.parent = parent
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Heartbeat:
        self._beat()
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.thread.join(timeout=LOCK_SECONDS)

    def _run(self) -> None:
        while os.getppid() == self.parent:
            if self.stop.wait(BEAT_SECONDS):
                return
            if not self._beat() and not self.stop.is_set():
                self.lost()
        log.warning("The worker has ended; the stage is queued again.")
        try:
            self.queue.release(self.row.key, self.row.token or "")
        finally:
            self.lost()

    def _beat(self) -> bool:
        try:
            return self.queue.beat(
                self.row.key, self.row.token or "", os.getpid(), self.progress.as_dict()
            )
        except sqlite3.Error as error:
            log.warning("The heartbeat could not be written (%s).", error)
            return True


def execute(
    cache: Cache, queue: Queue, row: Row, lost: Callable[[], None], parent: int | None = None
) -> None:
    """Run a claimed stage, and mark it as done, failed or queued again.

    `parent` is the process id of the supervisor; a different parent means that it has died.
    """
    progress = Progress()
    with Heartbeat(queue, row, progress, lost, parent or os.getppid()):
        shared = shared_stages(cache)
        outcome = attempt(cache, row, progress, lambda: shared.fetch(row.key, row.kind))
    # Only after the heartbeat has stopped: it would take a finished row for one that is lost.
    report(queue, row, outcome)


@dataclass(frozen=True)
class Outcome:
    """How an attempt to run a stage has ended. Without an error, the store holds the stage.

    `error` is a text, or `SpecError.to_json()` where `field` names the wrong setting. `missing` is
    the key of a stage that this one needs and the store lacks. `interruption` is a sentence where
    the stage can be tried again.
    """

    error: str = ""
    field: str = ""
    missing: str = ""
    interruption: str = ""


def report(queue: Queue, row: Row, outcome: Outcome) -> None:
    """Tell the queue how a claimed stage has ended."""
    token = row.token or ""
    if outcome.missing:
        queue.wait_for(row.key, token, outcome.missing)
    elif outcome.interruption:
        queue.release(row.key, token, outcome.interruption)
    elif outcome.error:
        queue.fail(row.key, token, outcome.error, outcome.field)
    else:
        queue.finish(row.key, token)


def attempt(
    cache: Cache, row: Row, progress: Progress, fetch: Callable[[], bool] = bool
) -> Outcome:
    """Build a stage unless the store holds it, or `fetch` publishes it there."""
    store = Store(cache)
    try:
        if not store.intact(row.key) and not fetch():
            _build(cache, store, row, progress)
    except SpecError as error:
        log.error("Stage %s is refused: %s", row.key[:12], for_command_line(error))
        return Outcome(error.to_json(), error.field)
    except Missing as error:
        log.warning("Stage %s needs a missing stage: %s", row.key[:12], error)
        return Outcome(missing=str(error.args[0]))
    except StageInterrupted as error:
        log.warning("Stage %s is interrupted: %s", row.key[:12], error)
        return Outcome(interruption=str(error))
    except Exception as error:
        log.exception("Stage %s failed.", row.key[:12])
        return Outcome(failure_text(error, cache))
    return Outcome()


@functools.cache
def shared_stages(cache: Cache) -> SharedStages:
    """The shared store of a cache, which a process opens once."""
    return SharedStages(cache)


def failure_text(error: Exception, cache: Cache) -> str:
    """A sentence if the cause is known, else the traceback."""
    if isinstance(error, StageError):
        return str(error)
    trace = traceback.format_exc()
    if isinstance(error, OSError) and error.errno in NO_ACCESS and error.filename:
        path = Path(os.fsdecode(error.filename))
        if path.is_relative_to(cache.root):
            return (
                f"{path} in the cache cannot be used ({error.strerror}). Make it readable and "
                "writable, then press Retry or run the same command again."
            )
    if any(words in trace for words in DISK_FULL):
        return (
            f"The disk that holds {cache.root} is full. Finished results are kept. Free some "
            "space, then press Retry or run the same command again."
        )
    return trace


def runner_of(kind: str) -> Runner:
    """The function that runs a kind of stage. The first call imports torch, in some seconds."""
    runner: Runner = STAGE_KINDS.load(kind)
    return runner


def load_engine() -> None:
    """Import what every stage needs, before the first stage arrives."""
    runner_of("pruned")


def processor() -> str:
    """What computes on this machine, as results name it. The first call imports torch."""
    load_engine()
    name: str = DEVICES.load(CPU)(CPU)
    return name


def _build(cache: Cache, store: Store, row: Row, progress: Progress) -> None:
    started = time.perf_counter()
    log.info("Stage %s (%s) starts, attempt %d.", row.key[:12], row.kind, row.attempts)
    with store.building(row.key) as folder:
        kind = STAGE_KINDS[row.kind]
        settings = restored(kind.settings, row.settings)
        result = runner_of(row.kind)(Context(row, settings, cache, store, folder, progress))
        if type(result) is not kind.result:
            raise TypeError(f"{row.kind} returned {type(result)}, not {kind.result}.")
        store.publish(
            row.key,
            folder,
            kind=row.kind,
            parent=row.parent,
            settings=row.settings,
            result=stored(result),
        )
    cache.checkpoint(row.key).unlink(missing_ok=True)
    log.info("Stage %s is done after %.1f s.", row.key[:12], time.perf_counter() - started)
