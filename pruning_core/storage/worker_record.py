"""Which process is the worker of a cache: one row that it keeps fresh."""

from __future__ import annotations

import os
import platform
import time
from typing import Any

from pruning_core.storage.database import Database, alive


class WorkerRecord(Database):
    """The one worker of a cache."""

    def enlist(self, token: str, code: str) -> int | None:
        """Become the worker of this cache. None when it worked, else the other's process id."""
        now = time.time()
        with self._write() as db:
            row = db.execute("SELECT * FROM worker").fetchone()
            # A row with our own number was left by a process that had it before us.
            other = row is not None and row["pid"] != os.getpid()
            if other and alive(row["host"], row["pid"], row["heartbeat"], now):
                return int(row["pid"])
            db.execute(
                "INSERT OR REPLACE INTO worker VALUES (1, ?, ?, ?, ?, ?, ?)",
                (token, platform.node(), os.getpid(), now, code, now),
            )
        return None

    def worker_beat(self, token: str) -> bool:
        """Say that the worker is alive. False when another has taken its place."""
        with self._write() as db:
            query = "UPDATE worker SET heartbeat = ? WHERE token = ?"
            return db.execute(query, (time.time(), token)).rowcount == 1

    def dismiss(self, token: str) -> None:
        """The worker ends."""
        with self._write() as db:
            db.execute("DELETE FROM worker WHERE token = ?", (token,))

    def worker(self) -> dict[str, Any] | None:
        """The worker that is alive, or None."""
        rows = self._all("SELECT * FROM worker")
        row = rows[0] if rows else None
        ok = row and alive(row["host"], row["pid"], row["heartbeat"], time.time())
        return row if ok else None
