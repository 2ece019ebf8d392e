"""The SQLite file of the queue, and whether the process that wrote a row is alive."""

from __future__ import annotations

import json
import logging
import math
import os
import platform
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pruning_core.common.errors import SpecError
from pruning_core.common.paths import CacheError
from pruning_core.settings.spec import Spec, dataset_name, describe, from_json

STALE_SECONDS = 10.0
log = logging.getLogger(__name__)
# Where the name of a job comes from; a name never replaces one of a later origin in this list.
DEFAULT, FROM_SETTINGS, TYPED = range(3)
# The error codes of SQLite, in their low byte, for a disk that is full or cannot be written.
UNWRITABLE = (
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_READONLY,
)
LOCK_SECONDS = 30.0
# The version of the tables, in `PRAGMA user_version`. A queue of a later version is refused. One
# from before `FIRST_KEPT` holds settings and stage keys that no longer exist: its jobs and stages
# are deleted when it is opened; finished stages stay on disk. A later one gets the columns that it
# lacks. A worker of an earlier version ends.
QUEUE_VERSION = 8
FIRST_KEPT = 5
RETRY_SECONDS = 0.01

# The settings of a job that version 8 has removed.
REMOVED_SETTINGS = ("baseline_threads", "finetune_threads")
# The columns of jobs that version 6 has added; `Job` describes them.
ADDED_COLUMNS = {
    "origin": "INTEGER NOT NULL DEFAULT 0",
    "dataset": "TEXT NOT NULL DEFAULT ''",
    "model": "TEXT NOT NULL DEFAULT ''",
    "starred": "INTEGER NOT NULL DEFAULT 0",
    "archived": "INTEGER NOT NULL DEFAULT 0",
    "tags": "TEXT NOT NULL DEFAULT '[]'",
    "notes": "TEXT NOT NULL DEFAULT ''",
    "deleted": "REAL",
}
SCHEMA = f"""
CREATE TABLE IF NOT EXISTS stages (
    key TEXT PRIMARY KEY, kind TEXT NOT NULL, parent TEXT NOT NULL, settings TEXT NOT NULL,
    hints TEXT NOT NULL, threads INTEGER NOT NULL, urgency REAL NOT NULL, status TEXT NOT NULL,
    created REAL NOT NULL, started REAL, finished REAL, token TEXT, host TEXT, pid INTEGER,
    heartbeat REAL, requested REAL, attempts INTEGER NOT NULL DEFAULT 0,
    progress TEXT NOT NULL DEFAULT '{{}}',
    error TEXT NOT NULL DEFAULT '', field TEXT NOT NULL DEFAULT '');
CREATE INDEX IF NOT EXISTS stages_by_status ON stages (status, created);
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, label TEXT NOT NULL, spec TEXT NOT NULL, created REAL NOT NULL,
    status TEXT NOT NULL, error TEXT NOT NULL DEFAULT '', field TEXT NOT NULL DEFAULT '',
    outline TEXT NOT NULL DEFAULT '{{"models": [], "noted": []}}',
    {", ".join(" ".join(column) for column in ADDED_COLUMNS.items())});
CREATE TABLE IF NOT EXISTS wants (
    job TEXT NOT NULL, key TEXT NOT NULL, place INTEGER NOT NULL, PRIMARY KEY (job, key));
CREATE INDEX IF NOT EXISTS wants_by_key ON wants (key);
CREATE TABLE IF NOT EXISTS submitters (
    id TEXT PRIMARY KEY, checkout TEXT NOT NULL, code TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS worker (
    id INTEGER PRIMARY KEY CHECK (id = 1), token TEXT, host TEXT, pid INTEGER, heartbeat REAL,
    code TEXT, started REAL, process TEXT, checkout TEXT, file TEXT);
CREATE TABLE IF NOT EXISTS connections (
    name TEXT PRIMARY KEY, address TEXT NOT NULL, error TEXT NOT NULL DEFAULT '');
CREATE TABLE IF NOT EXISTS nodes (
    name TEXT PRIMARY KEY, host TEXT NOT NULL, cores INTEGER NOT NULL, gpus INTEGER NOT NULL,
    processor TEXT NOT NULL, ready INTEGER NOT NULL, refusal TEXT NOT NULL, written REAL NOT NULL);
"""
# They are created after the columns that they name.
JOB_INDEXES = """
CREATE INDEX IF NOT EXISTS jobs_by_time ON jobs (created);
CREATE INDEX IF NOT EXISTS jobs_by_status ON jobs (status);
CREATE INDEX IF NOT EXISTS jobs_by_dataset ON jobs (dataset);
CREATE INDEX IF NOT EXISTS jobs_by_model ON jobs (model);
CREATE INDEX IF NOT EXISTS jobs_by_deletion ON jobs (deleted) WHERE deleted IS NOT NULL
"""
# The tables by which a file is told from the database of another program.
QUEUE_TABLES = {"jobs", "stages", "wants"}


def alive(host: str | None, pid: int | None, heartbeat: float | None, now: float) -> bool:
    """Whether a process has written a recent heartbeat and, if it runs on this host, exists.

    A heartbeat from the future is no recent one: the clock was changed since.
    """
    if heartbeat is None or abs(now - heartbeat) > STALE_SECONDS:
        return False
    return host != platform.node() or (pid is not None and pid_exists(pid))


def pid_exists(pid: int) -> bool:
    """Whether a process of this machine exists and is not a zombie."""
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


def process_start(pid: int) -> str | None:
    """When a process of this machine started, as a text that no other process with this id has.

    None where there is no such process, or the system does not tell.
    """
    if not pid_exists(pid):
        return None
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {fields[19]}"  # clock ticks from the boot to the start of the process
    except (OSError, IndexError):
        pass
    try:
        command = ["ps", "-o", "lstart=", "-p", str(pid)]
        # The text depends on the language and the time zone of who asks.
        environment = {**os.environ, "LC_ALL": "C", "TZ": "UTC"}
        answer = subprocess.run(command, env=environment, capture_output=True, text=True)
        return answer.stdout.strip() or None
    except OSError:
        return None


def file_identity(path: Path) -> str | None:
    """What tells a file from a copy of it on the same machine; None where there is no file."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return f"{stat.st_dev}:{stat.st_ino}"


class Database:
    """Every call opens its own connection, so any thread may call.

    Opening creates the tables, in place of those of an earlier version of the queue. Raises
    `CacheError` where the queue was written by a later version, or the file by another program.
    """

    lock_seconds = math.inf  # how long a write waits for another one, if less than `LOCK_SECONDS`

    def __init__(self, path: Path) -> None:
        self.path = path
        deadline = time.monotonic() + LOCK_SECONDS
        while not self._create_tables(retry=time.monotonic() < deadline):
            time.sleep(RETRY_SECONDS)

    def _create_tables(self, retry: bool) -> bool:
        """Create the tables of this version. False where another process is creating them."""
        try:
            with self._connect() as db:
                version = _version(db)
                if (tables := _tables(db)) and not tables >= QUEUE_TABLES:
                    raise CacheError(
                        f"{self.path} is the database of another program. Give another folder "
                        "with --cache-dir."
                    )
                if version < QUEUE_VERSION:
                    db.execute("PRAGMA journal_mode = WAL")
                    _update_tables(db)
        except sqlite3.OperationalError as error:
            # SQLite does not wait for the lock while a new file is switched to WAL mode.
            if retry and "locked" in str(error):
                return False
            raise
        if version > QUEUE_VERSION:
            raise CacheError(
                f"The queue {self.path} was written by a later version of Pruning Lab (schema "
                f"{version}; this version knows {QUEUE_VERSION}). Use that version, or give "
                "another folder with --cache-dir."
            )
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
        """A connection that can read, even where the disk is full or read-only."""
        try:
            return self._connected(str(self.path))
        except sqlite3.OperationalError as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF not in UNWRITABLE or self._has_log():
                raise
        # To read a WAL file SQLite writes files beside it, unless the file is declared immutable.
        return self._connected(f"{self.path.absolute().as_uri()}?immutable=1")

    def _connected(self, name: str) -> sqlite3.Connection:
        uri = name.startswith("file:")
        db = sqlite3.connect(
            name, timeout=min(LOCK_SECONDS, self.lock_seconds), isolation_level=None, uri=uri
        )
        try:
            db.row_factory = sqlite3.Row
            db.execute("SELECT 1 FROM sqlite_master").fetchone()
        except sqlite3.Error:
            db.close()
            raise
        return db

    def _has_log(self) -> bool:
        """Whether the WAL file beside this file holds writes, which an immutable read ignores."""
        wal = self.path.with_name(f"{self.path.name}-wal")
        return wal.is_file() and wal.stat().st_size > 0

    def keep_open(self) -> sqlite3.Connection:
        """A connection that makes all writes of this machine faster until it is closed.

        SQLite copies the write-ahead log into the file when the last connection closes. Where none
        is kept open, that is each write, and takes ten times as long as the write itself.
        """
        return self._connected(str(self.path))

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        """A transaction that holds the write lock; an exception undoes all its changes."""
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


def label_origin(spec: Spec) -> int:
    """The origin of the name of a job that nobody has typed."""
    return FROM_SETTINGS if spec.label else DEFAULT


def _version(db: sqlite3.Connection) -> int:
    """The version of the queue; 0 for a new file, and for queues from before the versions."""
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def _update_tables(db: sqlite3.Connection) -> None:
    """Create the tables in one transaction, or bring those of an earlier version up to date."""
    db.execute("BEGIN IMMEDIATE")
    version = _version(db)
    if version < QUEUE_VERSION:  # else another process was faster
        outdated = _tables(db) if version < FIRST_KEPT else set()
        for table in outdated:
            db.execute(f"DROP TABLE {table}")
        _run_each(db, SCHEMA)
        if version >= FIRST_KEPT:
            db.execute("DELETE FROM worker")  # the worker of that version ends
            _remove_settings(db)
        if version == FIRST_KEPT:
            _add_columns(db)
        _run_each(db, JOB_INDEXES)
        db.execute(f"PRAGMA user_version = {QUEUE_VERSION}")
        if outdated:
            log.warning("The queue was written by an earlier version: its jobs were removed.")
    db.execute("COMMIT")


def _remove_settings(db: sqlite3.Connection) -> None:
    """Remove the settings from the jobs that version 8 no longer has; results do not change."""
    for row in db.execute("SELECT id, spec FROM jobs").fetchall():
        try:
            spec = json.loads(row["spec"])
            kept = {name: value for name, value in spec.items() if name not in REMOVED_SETTINGS}
        except (ValueError, AttributeError):  # it was written by hand
            continue
        db.execute("UPDATE jobs SET spec = ? WHERE id = ?", (json.dumps(kept), row["id"]))


def _add_columns(db: sqlite3.Connection) -> None:
    """Give the jobs of version 5 the columns of this version.

    A name that is neither in the settings nor the default of that version was typed. A default
    name becomes that of this version.
    """
    for name, kind in ADDED_COLUMNS.items():
        db.execute(f"ALTER TABLE jobs ADD COLUMN {name} {kind}")
    for row in db.execute("SELECT id, label, spec FROM jobs").fetchall():
        try:
            spec = from_json(row["spec"])
        except SpecError:  # it was written by hand; the job still has its name
            continue
        default = f"{spec.model.name} on {dataset_name(spec)}"
        typed = row["label"] not in (spec.label, default)
        label, origin = (row["label"], TYPED) if typed else (describe(spec), label_origin(spec))
        db.execute(
            "UPDATE jobs SET label = ?, origin = ?, dataset = ?, model = ? WHERE id = ?",
            (label, origin, dataset_name(spec), spec.model.name, row["id"]),
        )


def _run_each(db: sqlite3.Connection, statements: str) -> None:
    """Execute statements, without the COMMIT that `executescript` begins with."""
    for statement in statements.split(";"):
        db.execute(statement)


def _tables(db: sqlite3.Connection) -> set[str]:
    return {
        row["name"] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
    }
