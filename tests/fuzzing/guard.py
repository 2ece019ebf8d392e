"""What an attempt with hostile input may not do: leave its folder, run code, open a connection."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

NEVER = ("subprocess.Popen", "os.system", "os.exec", "os.fork", "os.posix_spawn", "socket.connect")
CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.chmod")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
LONGEST_SECONDS = 60
MOST_BYTES = 2 * 2**30


class Forbidden(AssertionError):
    """Hostile input made the program do something else than accept or refuse it."""


class Guard:
    """Watches the events of this process while an attempt runs inside `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.active = os.path.realpath(folder), False
        self.violations: list[str] = []
        sys.addaudithook(self._audit)
        # Temporary files belong to the attempt, and compiled modules are not its business.
        tempfile.tempdir, sys.dont_write_bytecode = self.folder, True

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Raise `Forbidden` where the block leaves the folder, runs code, or never ends."""
        self.violations.clear()
        previous = signal.signal(signal.SIGALRM, self._too_long)
        signal.alarm(LONGEST_SECONDS)
        self.active = True
        try:
            yield
        finally:
            self.active = False
            signal.alarm(0)
            signal.signal(signal.SIGALRM, previous)
            if self.violations:
                raise Forbidden("; ".join(self.violations))

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.active:
            return
        if event in NEVER or event == "pickle.find_class":
            self._note(event, arguments)
        elif event == "open":
            path, mode, flags = arguments
            writes = bool((flags or 0) & WRITING) or any(c in (mode or "") for c in "wax+")
            if writes and not isinstance(path, int):
                self._check_path(event, path)
        elif event in CHANGES:
            for path in arguments[:2]:
                if isinstance(path, str | bytes | os.PathLike):
                    self._check_path(event, path)

    def _check_path(self, event: str, path: Any) -> None:
        resolved = os.path.realpath(os.fsdecode(path))
        if resolved != os.devnull and not resolved.startswith(self.folder):
            self._note(event, (resolved,))

    def _note(self, event: str, arguments: tuple[Any, ...]) -> None:
        self.violations.append(f"{event} {arguments!r}"[:300])

    def _too_long(self, number: int, frame: FrameType | None) -> None:
        raise Forbidden(f"it took longer than {LONGEST_SECONDS} s")


def limit_memory() -> None:
    """Let this process fail where it takes more than `MOST_BYTES` beyond what it has now."""
    import resource

    pages = int(Path("/proc/self/statm").read_text().split()[5])
    limit = pages * resource.getpagesize() + MOST_BYTES
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
