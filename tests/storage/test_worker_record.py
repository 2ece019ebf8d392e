"""Which process is the worker of a cache: its process decides, and not the clock."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pruning_core.storage import database
from pruning_core.storage.database import STALE_SECONDS, process_start
from pruning_core.storage.jobs import Queue
from pruning_core.storage.worker_record import WorkerRecord, describe_worker, is_elsewhere


@pytest.fixture
def record(queue: Queue) -> WorkerRecord:
    return WorkerRecord(queue.path)


@pytest.fixture
def other() -> Iterator[int]:
    """The id of another process that lives."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process.pid
        process.communicate(b"\n")


def change(record: WorkerRecord, **columns: object) -> None:
    """Write columns of the row of the worker."""
    with record._write() as db:
        for name, value in columns.items():
            db.execute(f"UPDATE worker SET {name} = ?", (value,))


def registered(record: WorkerRecord, pid: int) -> None:
    """Another process is the worker."""
    assert record.register("theirs", "code") is None
    change(record, pid=pid, process=process_start(pid))


def test_a_cache_has_one_worker(record: WorkerRecord) -> None:
    assert record.current() is None
    assert record.register("a", "code") is None
    worker = record.current()
    assert worker is not None
    assert worker["pid"] == os.getpid()
    assert not record.beat("b")
    record.unregister("a")
    assert record.current() is None


@pytest.mark.parametrize("seconds", [-86400.0, -STALE_SECONDS - 1, STALE_SECONDS + 1, 86400.0])
def test_a_living_worker_stays_whatever_the_clock_says(
    record: WorkerRecord, other: int, seconds: float
) -> None:
    """The queue was locked for a while, or the clock was changed."""
    registered(record, other)
    change(record, heartbeat=database.time.time() + seconds)
    row = record.register("mine", "code")
    assert row is not None
    assert row["pid"] == other
    assert record.current() is not None
    silent = record.silent()
    assert silent is not None, "and it can be said that it is waited for"
    assert describe_worker(silent).startswith(f"process {other}, started 2")


def test_the_worker_of_a_cache_is_not_that_of_its_copy(
    record: WorkerRecord, other: int, tmp_path: Path
) -> None:
    """A copy or a backup would wait for ever for a process that serves another cache."""
    registered(record, other)
    copy = tmp_path / "copy.sqlite"
    shutil.copy(record.path, copy)
    assert record.current() is not None
    assert WorkerRecord(copy).current() is None
    assert WorkerRecord(copy).register("mine", "code") is None


@pytest.mark.parametrize("seconds", [0.0, 86400.0])
def test_a_process_that_has_the_id_of_a_dead_worker_is_no_worker(
    record: WorkerRecord, other: int, seconds: float
) -> None:
    """However fresh its heartbeat, and if it is from the future."""
    registered(record, other)
    change(record, process="an earlier start", heartbeat=database.time.time() + seconds)
    assert record.current() is None
    assert record.silent() is None
    assert record.register("mine", "code") is None


def test_a_dead_worker_is_replaced_at_once(record: WorkerRecord) -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    registered(record, process.pid)
    assert record.current()
    process.communicate(b"\n")
    assert record.current() is None
    assert record.register("mine", "code") is None


@pytest.mark.parametrize(
    ("seconds", "living"), [(0.0, True), (-STALE_SECONDS - 1, False), (3600.0, False)]
)
def test_a_worker_on_another_machine_is_judged_by_its_heartbeat(
    record: WorkerRecord, seconds: float, living: bool
) -> None:
    record.register("theirs", "code")
    change(record, host="elsewhere", pid=1, heartbeat=database.time.time() + seconds)
    row = record.current()
    assert (row is not None) is living
    if row:
        assert is_elsewhere(row)
        assert " on elsewhere, started" in describe_worker(row)


def test_without_proc_the_start_of_a_process_is_asked_of_the_system(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As on macOS."""
    monkeypatch.setattr(database.Path, "read_text", lambda *_: (_ for _ in ()).throw(OSError()))
    answers = iter(["Fri Nov 27 02:00:00 2026\n", ""])

    def ps(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        assert command[-1] == str(os.getpid())
        return subprocess.CompletedProcess(command, 0, next(answers))

    monkeypatch.setattr(database.subprocess, "run", ps)
    assert process_start(os.getpid()) == "Fri Nov 27 02:00:00 2026"
    assert process_start(os.getpid()) is None
