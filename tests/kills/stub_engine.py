"""Processes of the worker whose engine replays finished stages, and which die on request.

The processes are forked, so that a start takes milliseconds. A process dies by SIGKILL right
before one of its file operations: opening, renaming or deleting a file of the cache, a statement
of SQLite, or the next part of a file that is being written.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from mmap import mmap
from pathlib import Path
from typing import IO, Any, ClassVar

import torch

from pruning_core.common.paths import Cache
from pruning_core.engine.training import checkpoint
from pruning_core.planning.stage_kinds import STAGE_KINDS
from pruning_core.planning.stage_types import restored
from pruning_core.storage.database import Database
from pruning_core.storage.stage_context import Context
from pruning_core.storage.store import MANIFEST, Store
from pruning_core.worker import execute, stage_process, supervisor
from pruning_core.worker.processes import StageProcess
from pruning_core.worker.supervisor import Supervisor

FILE_EVENTS = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "sqlite3.connect")
PARTS = 4
EPOCHS = 2
COUNTER_BYTES = 8


@dataclass
class Killer:
    """Counts the file operations of a process below `root`, and kills it before one of them.

    `role` names the process that is to die, and `operation` the number of the operation before
    which it dies. Shared memory holds, for each role, the most operations that one of its processes
    has done, and whether a process has died.
    """

    roles: tuple[str, ...]
    root: str = ""
    role: str = ""
    operation: int = 0
    current: str = ""
    count: int = 0
    shared: mmap = field(default_factory=lambda: mmap(-1, 4096))

    def install(self) -> None:
        """Hear of the file operations of this process and of those that it forks."""
        sys.addaudithook(self._audit)
        connected = Database._connected

        def traced(database: Database, name: str) -> sqlite3.Connection:
            connection = connected(database, name)
            connection.set_trace_callback(lambda _: self.before_operation())
            return connection

        Database._connected = traced  # type: ignore[assignment, method-assign]

    def start(self, role: str) -> None:
        """Begin to count the operations of a new process."""
        self.current, self.count = role, 0

    def before_operation(self) -> None:
        """One operation is about to happen."""
        if self.current not in self.roles:
            return
        self.count += 1
        if self.count > self.operations(self.current):
            self.shared[self._place(self.current)] = self.count.to_bytes(COUNTER_BYTES, "little")
        if self.current == self.role and self.count == self.operation and not self.killed:
            self.shared[-1] = 1
            os.kill(os.getpid(), signal.SIGKILL)

    def arm(self, role: str, operation: int) -> None:
        """Let the next process of a role die before one of its operations."""
        self.role, self.operation, self.shared[-1] = role, operation, 0

    @property
    def killed(self) -> bool:
        """Whether a process has died since `arm`."""
        return bool(self.shared[-1])

    def operations(self, role: str) -> int:
        """The most operations that a process of this role has done so far."""
        return int.from_bytes(self.shared[self._place(role)], "little")

    def _place(self, role: str) -> slice:
        start = self.roles.index(role) * COUNTER_BYTES
        return slice(start, start + COUNTER_BYTES)

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in FILE_EVENTS and any(self._in_cache(part) for part in arguments[:2]):
            self.before_operation()

    def _in_cache(self, path: object) -> bool:
        return isinstance(path, str | os.PathLike) and os.fspath(path).startswith(self.root)


class Fork:
    """A forked process with the methods of `subprocess.Popen` that the supervisor uses."""

    # The standard inputs of the other processes of this process, which a fork must not keep open.
    inputs: ClassVar[list[IO[str]]] = []

    def __init__(self, killer: Killer, role: str, call: Callable[[], object]) -> None:
        reading, writing = os.pipe()
        self.returncode: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.close(writing)
            for stdin in self.inputs:
                stdin.close()
            self.inputs.clear()
            os.dup2(reading, 0)
            sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
            _end_with(killer, role, call)
        os.close(reading)
        self.stdin = os.fdopen(writing, "w", encoding="utf-8")
        self.inputs.append(self.stdin)

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while the process runs."""
        return self._ended(os.WNOHANG)

    def wait(self) -> int:
        """Wait for the end of the process. Returns its exit code."""
        code = self._ended(0)
        assert code is not None
        return code

    def kill(self) -> None:
        """End the process."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)

    def _ended(self, options: int) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, options)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
                self.stdin.close()
        return self.returncode


def _end_with(killer: Killer, role: str, call: Callable[[], object]) -> None:
    """Run a call in this forked process, and end the process with it."""
    code = 0
    try:
        killer.start(role)
        call()
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
        code = 1
    finally:
        os._exit(code)


def use(killer: Killer, donor: Cache) -> None:
    """Make the worker of this process fork its stage processes, which replay `donor`."""

    def start(cache: Cache, cores: int, gpu: int = 0) -> StageProcess:
        parent = os.getpid()
        fork = Fork(killer, "stage", lambda: stage_process.main(str(cache.root), parent))
        return StageProcess(fork, gpu=gpu)  # type: ignore[arg-type]

    supervisor.start_stage_process = start
    # A fork of a process with threads could wait for ever for a lock that a thread holds.
    Supervisor._write_heartbeats = lambda *_: None  # type: ignore[method-assign]
    supervisor.PAUSE_SECONDS = supervisor.SLOW_SECONDS = supervisor.IDLE_PAUSE_SECONDS = 0.002
    supervisor.room_for_another = lambda *_: True
    supervisor.code_digest = lambda: ""
    execute.BEAT_SECONDS = 0.02
    stage_process.load_engine = lambda: None
    execute.runner_of = lambda kind: lambda context: replay(context, donor)


def replay(context: Context[Any], donor: Cache) -> object:
    """The result and the files of a finished stage, written in parts after some checkpoints."""
    store, key = Store(donor), context.row.key
    if context.row.kind in ("baseline", "pruned"):
        saved = checkpoint.load(context.cache.checkpoint(key)) or {"epoch": 0}
        for epoch in range(int(saved["epoch"]), EPOCHS):
            checkpoint.save(context.cache.checkpoint(key), {"epoch": epoch + 1, "x": torch.ones(9)})
            context.progress.published += 1
    for path in sorted(donor.stage(key).iterdir()):
        if path.name != MANIFEST:
            _write_in_parts(context.folder / path.name, path.read_bytes())
    return restored(STAGE_KINDS[context.row.kind].result, store.read(key))


def _write_in_parts(path: Path, content: bytes) -> None:
    step = max(1, -(-len(content) // PARTS))
    with path.open("wb", buffering=0) as file:
        for start in range(0, len(content), step):
            file.write(content[start : start + step])
            sys.audit("open", str(path), "wb", 0)
