"""Which process is the worker of a cache: one row that the worker keeps fresh."""

from __future__ import annotations

import os
import platform
import time
from typing import Any

from pruning_core.storage.database import Database, alive


class WorkerRecord(Database):
    """The one worker of a cache."""

    def register(self, token: str, code: str) -> int | None:
        """Become the worker of this cache; `code` is the digest of the source code it runs.

        Returns None on success, else the process id of the worker that is alive.
        """
        now = time.time()
        with self._write() as db:
            row = db.execute("SELECT * FROM worker").fetchone()
            # A row with our process id was written by an earlier process that had this id.
            other = row is not None and row["pid"] != os.getpid()
            if other and alive(row["host"], row["pid"], row["heartbeat"], now):
                return int(row["pid"])
            db.execute(
                "INSERT OR REPLACE INTO worker VALUES (1, ?, ?, ?, ?, ?, ?)",
                (token, platform.node(), os.getpid(), now, code, now),
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
        row = rows[0] if rows else None
        ok = row and alive(row["host"], row["pid"], row["heartbeat"], time.time())
        return row if ok else None
