"""The queue on a full disk, while another process locks it, and of an earlier version."""

from __future__ import annotations

import json
import logging
import os
import shutil
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pruning_core.common.paths import Cache, CacheError
from pruning_core.planning.plan import plan
from pruning_core.settings.spec import describe, from_json
from pruning_core.storage import database
from pruning_core.storage.job_progress import job_progress
from pruning_core.storage.jobs import Queue
from pruning_core.storage.store import Store
from pruning_core.storage.worker_record import WorkerRecord
from tests.helpers.inspections import Facts
from tests.helpers.queues import SMALL, submit

LARGE = replace(SMALL, one_shot=replace(SMALL.one_shot, amounts=(0.0, 0.7)))


def fill(folder: Path) -> None:
    """Write until there is no byte left."""
    with (folder / "full").open("wb", 0) as file, suppress(OSError):
        while file.write(bytes(4096)):
            pass


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of three megabytes."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if not shutil.which("mount"):
        pytest.skip("there is no mount command")
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no disk can be mounted without being root")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.mark.parametrize("read_only", [False, True])
def test_a_full_disk_can_be_read(small_disk: Path, read_only: bool) -> None:
    cache = Cache(small_disk / "cache")
    cache.prepare()
    job, job_plan = submit(Queue(cache.queue))
    fill(small_disk)
    if read_only:
        subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(CacheError, match="cannot be written"):
        cache.prepare()
    queue = Queue(cache.queue)
    assert [listed.id for listed in queue.jobs()] == [job]
    assert len(queue.stages_of(job)) == len(job_plan.stages)
    assert WorkerRecord(cache.queue).current() is None
    with pytest.raises(sqlite3.OperationalError):
        queue.submit(SMALL, "again")
    if not read_only:
        (small_disk / "full").unlink()
        assert queue.submit(SMALL, "again") == job


def test_a_folder_that_cannot_be_written_is_read_without_a_wal(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the error of SQLite in such a folder, on every machine."""
    job, _ = submit(queue)
    connect = sqlite3.connect

    def unwritable(name: Any, **options: Any) -> sqlite3.Connection:
        if "immutable" not in str(name):
            error = sqlite3.OperationalError("unable to open database file")
            error.sqlite_errorcode = sqlite3.SQLITE_CANTOPEN
            raise error
        return connect(name, **options)

    monkeypatch.setattr(database.sqlite3, "connect", unwritable)
    assert [listed.id for listed in Queue(queue.path).jobs()] == [job]
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        queue.cancel(job)


def test_writes_that_wait_in_a_wal_are_not_ignored(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file alone would show an older state as if it were the last one."""
    open_elsewhere = sqlite3.connect(queue.path)
    open_elsewhere.execute("SELECT * FROM jobs").fetchall()
    submit(queue)

    connected = Queue._connected

    def unwritable(self: Queue, name: str) -> sqlite3.Connection:
        if "immutable" in name:
            return connected(self, name)
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR
        raise error

    monkeypatch.setattr(Queue, "_connected", unwritable)
    with pytest.raises(sqlite3.OperationalError, match="disk I/O error"):
        queue.jobs()
    open_elsewhere.close()


def test_a_locked_queue_changes_nothing_and_works_later(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, job_plan = submit(queue)
    monkeypatch.setattr(database, "LOCK_SECONDS", 0.01)
    other = sqlite3.connect(queue.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    for write in (queue.cancel, queue.delete, queue.retry):
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            write(job)
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        queue.claim("t", 2)
    assert {row.status for row in queue.stages_of(job)} == {"queued"}
    other.close()
    assert queue.claim("t", 2)
    assert len(queue.stages_of(job)) == len(job_plan.stages)


def test_many_sessions_of_one_process_try_the_cache_at_once(cache: Cache) -> None:
    """None deletes the trial file of another."""
    failed: list[CacheError] = []

    def prepare() -> None:
        try:
            for _ in range(50):
                cache.prepare()
        except CacheError as error:
            failed.append(error)

    threads = [threading.Thread(target=prepare) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert not list(cache.building.iterdir())


# As the first version of the queue was written, with a job, its stage and a worker that is alive.
EARLIER_QUEUE = """
CREATE TABLE stages (
    key TEXT PRIMARY KEY, kind TEXT NOT NULL, parent TEXT NOT NULL, settings TEXT NOT NULL,
    hints TEXT NOT NULL, threads INTEGER NOT NULL, urgency REAL NOT NULL, status TEXT NOT NULL,
    created REAL NOT NULL, started REAL, finished REAL, token TEXT, host TEXT, pid INTEGER,
    heartbeat REAL, attempts INTEGER NOT NULL DEFAULT 0, progress TEXT NOT NULL DEFAULT '{}',
    error TEXT NOT NULL DEFAULT '', field TEXT NOT NULL DEFAULT '');
CREATE INDEX stages_by_status ON stages (status, created);
CREATE TABLE jobs (
    id TEXT PRIMARY KEY, label TEXT NOT NULL, spec TEXT NOT NULL, created REAL NOT NULL,
    status TEXT NOT NULL, error TEXT NOT NULL DEFAULT '', field TEXT NOT NULL DEFAULT '',
    outline TEXT NOT NULL DEFAULT '{"points": [], "noted": []}');
CREATE INDEX jobs_by_time ON jobs (created);
CREATE INDEX jobs_by_status ON jobs (status);
CREATE TABLE wants (
    job TEXT NOT NULL, key TEXT NOT NULL, place INTEGER NOT NULL, PRIMARY KEY (job, key));
CREATE INDEX wants_by_key ON wants (key);
CREATE TABLE worker (
    id INTEGER PRIMARY KEY CHECK (id = 1), token TEXT, host TEXT, pid INTEGER, heartbeat REAL,
    code TEXT, started REAL);
INSERT INTO jobs (id, label, spec, created, status)
    VALUES ('abc', 'Old run', '{"pruning": {"scope": "layer"}}', 1, 'active');
INSERT INTO stages (key, kind, parent, settings, hints, threads, urgency, status, created)
    VALUES ('aa', 'level', '', '{}', '{}', 1, 1, 'queued', 1);
INSERT INTO wants VALUES ('abc', 'aa', 0);
"""


def test_an_earlier_queue_is_opened_without_its_jobs_and_finished_stages_stay(
    cache: Cache, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    key = "ab" * 32
    with store.building(key) as folder:
        store.publish(key, folder, kind="level", parent="", settings={}, result={"accuracy": 0.5})
    with sqlite3.connect(cache.queue) as earlier:
        earlier.executescript(EARLIER_QUEUE)
        row = ("old", os.uname().nodename, os.getppid(), database.time.time())
        earlier.execute("INSERT INTO worker VALUES (1, ?, ?, ?, ?, 'code', 0)", row)
    earlier.close()
    with caplog.at_level(logging.WARNING):
        queue = Queue(cache.queue)
    assert caplog.messages == [
        "The queue was written by an earlier version: its jobs were removed."
    ]
    assert queue.jobs() == []
    assert queue.stage("aa") is None
    assert queue.wanted_keys() == set()
    assert not queue.busy()
    assert store.read(key) == {"accuracy": 0.5}
    assert not WorkerRecord(cache.queue).beat("old"), "the worker of that version ends"
    job = queue.submit(SMALL, "new")
    assert job_progress(queue, job).outline.models == (), "the tables are those of this version"
    caplog.clear()
    assert [listed.id for listed in Queue(cache.queue).jobs()] == [job]
    assert caplog.messages == []


@pytest.fixture
def version_5(cache: Cache) -> Path:
    """A queue as version 5 wrote it: with a default, a preset's and a typed name, and a worker."""
    queue = Queue(cache.queue)
    unnamed = replace(SMALL, label="", seeds=(1,))
    names = {"mobilenet_v2 on digits": unnamed, SMALL.label: SMALL, "Typed": LARGE}
    for name, spec in names.items():
        queue.expand(queue.submit(spec, name), plan(spec, Facts(spec)), ())
    with sqlite3.connect(cache.queue) as db:
        for index in ("dataset", "model", "deletion"):
            db.execute(f"DROP INDEX jobs_by_{index}")
        for column in database.ADDED_COLUMNS:
            db.execute(f"ALTER TABLE jobs DROP COLUMN {column}")
        db.execute("INSERT INTO worker (id, token) VALUES (1, 'old')")
        db.execute("PRAGMA user_version = 5")
    db.close()
    return cache.queue


def test_the_jobs_of_version_5_stay(
    version_5: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(db: sqlite3.Connection) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(database, "_add_columns", killed)
        with pytest.raises(KeyboardInterrupt):
            Queue(version_5)
    queue = Queue(version_5)
    jobs = queue.jobs()
    assert [job.label for job in jobs] == ["Typed", SMALL.label, "digits, uniform, seed 1"]
    assert {(job.dataset, job.model) for job in jobs} == {("digits", "mobilenet_v2")}
    assert {(job.tags, job.notes, job.starred, job.deleted) for job in jobs} == {
        ((), "", False, None)
    }
    assert all(queue.stages_of(job.id) for job in jobs)
    assert not WorkerRecord(version_5).beat("old"), "the worker of that version ends"
    queue.submit(LARGE, describe(LARGE))
    assert queue.jobs()[0].label == "Typed"
    assert caplog.messages == []


def test_a_job_of_version_5_with_unreadable_settings_keeps_its_name(version_5: Path) -> None:
    with sqlite3.connect(version_5) as db:
        db.execute("""UPDATE jobs SET spec = '{"pruning": {"scope": 1}}' WHERE label = 'Typed'""")
    db.close()
    assert "Typed" in [job.label for job in Queue(version_5).jobs()]


def test_the_jobs_of_version_7_lose_the_settings_that_are_gone(cache: Cache) -> None:
    queue = Queue(cache.queue)
    job, handwritten = queue.submit(SMALL, "A"), queue.submit(LARGE, "B")
    with sqlite3.connect(cache.queue) as db:
        (text,) = db.execute("SELECT spec FROM jobs WHERE id = ?", (job,)).fetchone()
        earlier = {**json.loads(text), "baseline_threads": 0, "finetune_threads": 1}
        db.execute("UPDATE jobs SET spec = ? WHERE id = ?", (json.dumps(earlier), job))
        db.execute("UPDATE jobs SET spec = '[1]' WHERE id = ?", (handwritten,))
        db.execute("PRAGMA user_version = 7")
    db.close()
    specs = {entry.id: entry.spec for entry in Queue(cache.queue).jobs()}
    assert from_json(specs[job]) == SMALL
    assert specs[handwritten] == "[1]"


def test_a_new_queue_is_no_earlier_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    queue = Queue(tmp_path / "queue.sqlite")
    assert caplog.messages == []
    with queue._connect() as db:
        assert db.execute("PRAGMA user_version").fetchone()[0] == database.QUEUE_VERSION
        assert db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"


def test_a_queue_of_a_later_version_is_refused_and_not_changed(queue: Queue) -> None:
    submit(queue)
    later = database.QUEUE_VERSION + 1
    with sqlite3.connect(queue.path) as db:
        db.execute(f"PRAGMA user_version = {later}")
    db.close()
    before = queue.path.read_bytes()
    with pytest.raises(CacheError, match=f"later version of Pruning Lab .schema {later}; this"):
        Queue(queue.path)
    assert queue.path.read_bytes() == before


@pytest.mark.parametrize("version", [0, database.QUEUE_VERSION])
def test_the_database_of_another_program_is_refused_and_not_changed(
    tmp_path: Path, version: int
) -> None:
    """Such as the queue of another library, with a table of the same name."""
    path = tmp_path / "queue.sqlite"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE jobs (id INTEGER, thesis TEXT)")
        db.execute("INSERT INTO jobs VALUES (1, 'years of work')")
        db.execute(f"PRAGMA user_version = {version}")
    db.close()
    before = path.read_bytes()
    with pytest.raises(CacheError, match="is the database of another program"):
        Queue(path)
    assert path.read_bytes() == before
