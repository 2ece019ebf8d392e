"""Which process is the worker of a cache: one row that the worker keeps fresh."""

from __future__ import annotations

import os
import platform
import time
from typing import Any

from pruning_core.common.paths import PROJECT
from pruning_core.storage.database import (
    STALE_SECONDS,
    Database,
    alive,
    file_identity,
    process_start,
)

TIME_FORMAT = "%Y-%m-%d %H:%M:%S"


class WorkerRecord(Database):
    """The one worker of a cache."""

    def register(self, token: str, code: str) -> dict[str, Any] | None:
        """Become the worker of this cache; `code` is the digest of the source code it runs.

        Returns None on success, else the row of the worker that is alive.
        """
        now, pid, file = time.time(), os.getpid(), file_identity(self.path)
        values = (platform.node(), pid, now, code, now, process_start(pid), str(PROJECT), file)
        with self._write() as db:
            row = db.execute("SELECT * FROM worker").fetchone()
            # A row of our process id here was written by an earlier process that had this id.
            ours = row is not None and (row["host"], row["pid"]) == (platform.node(), pid)
            if row is not None and not ours and self._alive(dict(row)):
                return dict(row)
            db.execute(
                "INSERT OR REPLACE INTO worker"
                " (id, token, host, pid, heartbeat, code, started, process, checkout, file)"
                " VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (token, *values),
            )
        return None

    def beat(self, token: str) -> bool:
        """Record that the worker is alive. False when another worker has replaced it."""
        with self._write() as db:
            query = "UPDATE worker SET heartbeat = ? WHERE token = ?"
            return db.execute(query, (time.time(), token)).rowcount == 1

    def unregister(self, token: str) -> None:
        """Delete the row; another worker's row stays."""
        with self._write() as db:
            db.execute("DELETE FROM worker WHERE token = ?", (token,))

    def current(self) -> dict[str, Any] | None:
        """The row of the worker that is alive, or None."""
        rows = self._all("SELECT * FROM worker")
        return rows[0] if rows and self._alive(rows[0]) else None

    def silent(self) -> dict[str, Any] | None:
        """The row of a worker that is alive and has written no recent heartbeat, or None."""
        row = self.current()
        return row if row and abs(time.time() - row["heartbeat"]) > STALE_SECONDS else None

    def _alive(self, row: dict[str, Any]) -> bool:
        """Whether the worker of a row is alive and serves this cache.

        On this machine its process decides, and not the clock: a locked queue delays heartbeats,
        the clock may be changed, and a process id may be used again by another process. In a copy
        of a cache, the row is that of the worker of the original.
        """
        if row["host"] == platform.node() and row["process"]:
            same_file = row["file"] == file_identity(self.path)
            return same_file and process_start(row["pid"]) == row["process"]
        return alive(row["host"], row["pid"], row["heartbeat"], time.time())


def is_elsewhere(row: dict[str, Any]) -> bool:
    """Whether the worker of a row runs from another folder or on another machine."""
    return bool(row["host"] != platform.node() or row["checkout"] != str(PROJECT))


def describe_worker(row: dict[str, Any]) -> str:
    """A worker as a person finds it: its process id, when it started, and where."""
    started = time.strftime(TIME_FORMAT, time.localtime(row["started"]))
    place = "" if row["host"] == platform.node() else f" on {row['host']}"
    return f"process {row['pid']}{place}, started {started}"


def silence_text(row: dict[str, Any]) -> str:
    """That a worker is alive and has not reported for a while, and what to do."""
    last = time.strftime(TIME_FORMAT, time.localtime(row["heartbeat"]))
    return (
        f"Waiting for the worker ({describe_worker(row)}), which last reported at {last}. If it "
        f"stays silent, end process {row['pid']}. A new worker then starts."
    )
