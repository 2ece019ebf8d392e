"""Starting the worker of a cache, and giving up where it ends each time it is started."""

from __future__ import annotations

import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from pruning_core.common.paths import PROJECT, Cache
from pruning_core.common.processes import code_digest, worker_command
from pruning_core.storage.worker_record import WorkerRecord, describe_worker, is_elsewhere

MAX_STARTS = 5
WINDOW_SECONDS = 120.0
LOG_END_BYTES = 4096
SHOWN_CHARACTERS = 200


class WorkerError(RuntimeError):
    """The worker cannot be started, ends each time, or is not ours; the message is a sentence."""


def other_code(cache: Cache) -> str:
    """Why the worker of this cache must not be used, as a sentence; "" where it may.

    A worker of another checkout serves the cache with its own source code. A worker of this one
    restarts itself when the code on disk changes.
    """
    row = WorkerRecord(cache.queue).current()
    if row is None or not is_elsewhere(row) or row["code"] == code_digest():
        return ""
    return (
        f"The worker of the cache {cache.root} runs other source code than this: that of "
        f"{row['checkout'] or 'another version'} ({describe_worker(row)}). Nothing was started. "
        "Wait until it ends or stop it, or use another folder for the cache (--cache-dir, "
        "PRUNING_LAB_CACHE)."
    )


def start_worker(cache: Cache) -> subprocess.Popen[bytes] | None:
    """Start a worker in a new session, unless one is alive. Returns the new process.

    Raises `OSError` where the cache cannot be written or no process can be started.
    """
    if WorkerRecord(cache.queue).current():
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
    """Starts a worker when none is alive, at most `MAX_STARTS` times in `WINDOW_SECONDS`."""

    cache: Cache
    process: subprocess.Popen[bytes] | None = None
    starts: list[float] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def ensure(self) -> None:
        """Start a worker unless one is alive or starting. Raises `WorkerError`."""
        with self.lock:
            if self.process is not None and self.process.poll() is None:
                return
            if problem := other_code(self.cache):
                raise WorkerError(problem)
            now = time.monotonic()
            self.starts = [start for start in self.starts if now - start < WINDOW_SECONDS]
            if len(self.starts) >= MAX_STARTS and not WorkerRecord(self.cache.queue).current():
                raise WorkerError(self._reason())
            try:
                self.process = start_worker(self.cache)
            except OSError as error:
                raise WorkerError(str(error)) from error
            if self.process is not None:
                self.starts.append(now)

    def _reason(self) -> str:
        return (
            f"The worker was started {len(self.starts)} times and ended each time. The last line "
            f"of its log {self.cache.worker_log} is: {last_line(self.cache.worker_log)} "
            "The job stays in the queue."
        )


_starters: dict[Path, WorkerStarter] = {}


def ensure_worker(cache: Cache) -> str:
    """Start a worker unless one is alive. Returns a sentence if that fails, else "".

    Each page calls this each time it is drawn, so the starts are counted once per process, for
    all pages and sessions.
    """
    try:
        _starters.setdefault(cache.root, WorkerStarter(cache)).ensure()
    except WorkerError as error:
        return str(error)
    return ""


def last_line(path: Path) -> str:
    """The last line of a log, in quotes and shortened."""
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(file.tell() - LOG_END_BYTES, 0))
            lines = file.read().decode("utf-8", errors="replace").split("\n")
    except OSError:
        lines = []
    texts = [line.strip() for line in lines if line.strip()]
    return f'"{texts[-1][:SHOWN_CHARACTERS]}".' if texts else "(none)."
