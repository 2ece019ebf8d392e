"""The queue on a disk that takes nothing more, and one that another process keeps locked."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from pruning_core.common.paths import Cache, CacheError
from pruning_core.storage import database
from pruning_core.storage.jobs import Queue
from pruning_core.storage.worker_record import WorkerRecord
from tests.storage.test_jobs import SMALL, submit


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
    job, made = submit(Queue(cache.queue))
    fill(small_disk)
    if read_only:
        subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(CacheError, match="cannot be written"):
        cache.prepare()
    queue = Queue(cache.queue)
    assert [found.id for found in queue.jobs()] == [job]
    assert len(queue.stages_of(job)) == len(made.stages)
    assert WorkerRecord(cache.queue).current() is None
    with pytest.raises(sqlite3.OperationalError):
        queue.submit(SMALL, "again")
    if not read_only:
        (small_disk / "full").unlink()
        assert queue.submit(SMALL, "again") == job


def test_a_folder_that_cannot_be_written_is_read_without_a_wal(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What SQLite says there, on every machine."""
    job, _ = submit(queue)
    connect = sqlite3.connect

    def unwritable(name: Any, **options: Any) -> sqlite3.Connection:
        if "immutable" not in str(name):
            error = sqlite3.OperationalError("unable to open database file")
            error.sqlite_errorcode = sqlite3.SQLITE_CANTOPEN
            raise error
        return connect(name, **options)

    monkeypatch.setattr(database.sqlite3, "connect", unwritable)
    assert [found.id for found in Queue(queue.path).jobs()] == [job]
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        queue.cancel(job)


def test_writes_that_wait_in_a_wal_are_not_overlooked(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading the file alone would show an older state as if it were the last one."""
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


def test_what_a_locked_queue_refuses_is_as_before_and_works_later(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, made = submit(queue)
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
    assert len(queue.stages_of(job)) == len(made.stages)


def test_many_sessions_of_one_process_try_the_cache_at_once(cache: Cache) -> None:
    """None takes another's trial file away."""
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
