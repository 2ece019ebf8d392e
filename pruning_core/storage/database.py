"""One SQLite file, and the question whether the process that wrote a row still lives."""

from __future__ import annotations

import logging
import os
import platform
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

STALE_SECONDS = 10.0
log = logging.getLogger(__name__)
# What SQLite says of a disk that takes nothing more, by the low byte of its error codes.
UNWRITABLE = (
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_READONLY,
)
LOCK_SECONDS = 30.0
# Jobs and stages of an earlier version have names and keys that mean nothing now. They are
# deleted when the queue is opened; finished stages stay on disk until the cache is cleaned.
QUEUE_VERSION = 2
RETRY_SECONDS = 0.01

SCHEMA = """
CREATE TABLE IF NOT EXISTS stages (
    key TEXT PRIMARY KEY, kind TEXT NOT NULL, parent TEXT NOT NULL, settings TEXT NOT NULL,
    hints TEXT NOT NULL, threads INTEGER NOT NULL, urgency REAL NOT NULL, status TEXT NOT NULL,
    created REAL NOT NULL, started REAL, finished REAL, token TEXT, host TEXT, pid INTEGER,
    heartbeat REAL, attempts INTEGER NOT NULL DEFAULT 0, progress TEXT NOT NULL DEFAULT '{}',
    error TEXT NOT NULL DEFAULT '', field TEXT NOT NULL DEFAULT '');
CREATE INDEX IF NOT EXISTS stages_by_status ON stages (status, created);
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, label TEXT NOT NULL, spec TEXT NOT NULL, created REAL NOT NULL,
    status TEXT NOT NULL, error TEXT NOT NULL DEFAULT '', field TEXT NOT NULL DEFAULT '',
    outline TEXT NOT NULL DEFAULT '{"models": [], "noted": []}');
CREATE INDEX IF NOT EXISTS jobs_by_time ON jobs (created);
CREATE INDEX IF NOT EXISTS jobs_by_status ON jobs (status);
CREATE TABLE IF NOT EXISTS wants (
    job TEXT NOT NULL, key TEXT NOT NULL, place INTEGER NOT NULL, PRIMARY KEY (job, key));
CREATE INDEX IF NOT EXISTS wants_by_key ON wants (key);
CREATE TABLE IF NOT EXISTS worker (
    id INTEGER PRIMARY KEY CHECK (id = 1), token TEXT, host TEXT, pid INTEGER, heartbeat REAL,
    code TEXT, started REAL);
"""


def _forget_old_jobs(db: sqlite3.Connection) -> None:
    """Delete the jobs and stages of an earlier version of the queue."""
    db.execute("BEGIN IMMEDIATE")
    for table in ("wants", "jobs", "stages"):
        db.execute(f"DELETE FROM {table}")
    db.execute(f"PRAGMA user_version = {QUEUE_VERSION}")
    db.execute("COMMIT")
    log.warning("The queue was written by an earlier version: its jobs are no longer listed.")


def alive(host: str | None, pid: int | None, heartbeat: float | None, now: float) -> bool:
    """Whether a process still works: it has beaten lately and, on this host, exists."""
    if heartbeat is None or now - heartbeat > STALE_SECONDS:
        return False
    return host != platform.node() or (pid is not None and pid_exists(pid))


def pid_exists(pid: int) -> bool:
    """Whether a process of this machine exists and is no zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (OSError, IndexError):
        return True


class Database:
    """Every call opens a connection of its own, so any thread may call."""

    def __init__(self, path: Path) -> None:
        self.path = path
        end = time.monotonic() + LOCK_SECONDS
        while not self._made(patient=time.monotonic() < end):
            time.sleep(RETRY_SECONDS)

    def _made(self, patient: bool) -> bool:
        """Make the tables if there are none. False where another process is about it."""
        try:
            with self._connect() as db:
                if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'worker'").fetchone():
                    db.execute("PRAGMA journal_mode = WAL")
                    db.executescript(SCHEMA)
                    db.execute(f"PRAGMA user_version = {QUEUE_VERSION}")
                elif db.execute("PRAGMA user_version").fetchone()[0] < QUEUE_VERSION:
                    _forget_old_jobs(db)
        except sqlite3.OperationalError as error:
            # SQLite does not wait its turn while a new file becomes a WAL file.
            if patient and "locked" in str(error):
                return False
            raise
        return True

    @contextmanager
    def _connect(self) -> Iterator[sqlite3.Connection]:
        db = self._open()
        try:
            db.execute("PRAGMA synchronous = NORMAL")
            yield db
        finally:
            db.close()

    def _open(self) -> sqlite3.Connection:
        """A connection that can read, also where the disk is full or must not be written."""
        try:
            return self._connected(str(self.path))
        except sqlite3.OperationalError as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF not in UNWRITABLE or self._has_log():
                raise
        # SQLite writes beside a WAL file even to read it, unless told that nobody writes.
        return self._connected(f"{self.path.absolute().as_uri()}?immutable=1")

    def _connected(self, name: str) -> sqlite3.Connection:
        uri = name.startswith("file:")
        db = sqlite3.connect(name, timeout=LOCK_SECONDS, isolation_level=None, uri=uri)
        try:
            db.row_factory = sqlite3.Row
            db.execute("SELECT 1 FROM sqlite_master").fetchone()
        except sqlite3.Error:
            db.close()
            raise
        return db

    def _has_log(self) -> bool:
        """Whether somebody's writes wait beside the file, to be read with it."""
        log = self.path.with_name(f"{self.path.name}-wal")
        return log.is_file() and log.stat().st_size > 0

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        with self._connect() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
            except BaseException:
                db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")

    def _all(self, query: str, *values: Any) -> list[dict[str, Any]]:
        with self._connect() as db:
            return [dict(row) for row in db.execute(query, values)]
