"""Starting the worker of a cache, and giving up on one that ends each time it is started."""

from __future__ import annotations

import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from pruning_core.common.paths import PROJECT, Cache
from pruning_core.common.processes import worker_command
from pruning_core.storage.worker_record import WorkerRecord

MAX_STARTS = 5
MEMORY_SECONDS = 120.0
TAIL_BYTES = 4096
SHOWN_CHARACTERS = 200


class WorkerError(RuntimeError):
    """No worker stays alive; the message is a sentence."""


def start_worker(cache: Cache) -> subprocess.Popen[bytes] | None:
    """Start a worker in a session of its own unless one is alive. Returns what was started.

    Raises `OSError` where the cache cannot be written or no process be made.
    """
    if WorkerRecord(cache.queue).worker():
        return None
    cache.prepare()
    with cache.worker_log.open("ab") as log_file:
        return subprocess.Popen(
            worker_command(cache),
            cwd=PROJECT,
            stdin=subprocess.DEVNULL,
            stdout=log_file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


@dataclass
class WorkerStarter:
    """Starts a worker where there is none, one at a time, and no more than a few in a while."""

    cache: Cache
    process: subprocess.Popen[bytes] | None = None
    starts: list[float] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def look(self) -> None:
        """Have a worker. Raises `WorkerError`."""
        with self.lock:
            if self.process is not None and self.process.poll() is None:
                return
            now = time.monotonic()
            self.starts = [then for then in self.starts if now - then < MEMORY_SECONDS]
            if len(self.starts) >= MAX_STARTS and not WorkerRecord(self.cache.queue).worker():
                raise WorkerError(self._given_up())
            try:
                self.process = start_worker(self.cache)
            except OSError as error:
                raise WorkerError(str(error)) from error
            if self.process is not None:
                self.starts.append(now)

    def _given_up(self) -> str:
        return (
            f"The worker was started {len(self.starts)} times and ended each time. Its log "
            f"{self.cache.worker_log} ends with: {last_line(self.cache.worker_log)} "
            "The job stays in the queue."
        )


_starters: dict[Path, WorkerStarter] = {}


def ensure_worker(cache: Cache) -> str:
    """Have a worker, as far as can be. Returns in a sentence why there is none, else nothing.

    Every page and session of a process calls this as often as it is drawn, so what was tried
    is remembered here, for all of them.
    """
    try:
        _starters.setdefault(cache.root, WorkerStarter(cache)).look()
    except WorkerError as error:
        return str(error)
    return ""


def last_line(path: Path) -> str:
    """The last line of a log, in quotes and not without end."""
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(file.tell() - TAIL_BYTES, 0))
            lines = file.read().decode("utf-8", errors="replace").split("\n")
    except OSError:
        lines = []
    said = [line.strip() for line in lines if line.strip()]
    return f'"{said[-1][:SHOWN_CHARACTERS]}".' if said else "nothing."
