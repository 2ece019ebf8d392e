"""A full disk, a locked queue, a damaged entry, a worker that dies: said clearly, nothing lost."""

from __future__ import annotations

import errno
import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pruning_core import follow
from pruning_core.engine import checkpoint
from pruning_core.paths import Cache
from pruning_core.queue import database
from pruning_core.queue.jobs import Queue
from pruning_core.store import Store
from tests.refusals import contents, ended, one_line, training
from tests.workers import TINY_OPTIONS


def test_a_full_disk_is_said_and_the_same_command_goes_on(
    used: Cache,
    inline: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The baseline stands; the first level finds no room for its checkpoint."""
    before, trained = contents(used), training(used)
    options = [*TINY_OPTIONS, "--amounts", "0.25", "--no-matched", "--out", str(tmp_path)]
    command = ["compare", "--cache-dir", str(used.root), *options]

    def full(path: Path, state: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", full)
        code, _, said = ended(capfd, *command)
    assert code == 1
    assert f"The disk that holds {used.root} is full" in said
    assert "Traceback" not in said
    assert {name: contents(used).get(name) for name in before} == before
    assert not list(used.building.iterdir())
    assert ended(capfd, *command)[0] == 0
    assert (tmp_path / "pruning_comparison.csv").is_file()
    assert {key: training(used)[key] for key in trained} == trained


def test_a_queue_that_cannot_be_written_is_said(
    used: Cache, inline: None, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def full(*arguments: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(follow, "standing", full)
    code, _, said = ended(capfd, "compare", "--cache-dir", str(used.root), *TINY_OPTIONS)
    assert code == 1
    assert "cannot be used (database or disk is full)" in one_line(said)


def test_a_locked_queue_is_said(
    used: Cache, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(database, "LOCK_SECONDS", 0.01)
    other = sqlite3.connect(used.queue, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    code, _, said = ended(capfd, "compare", "--cache-dir", str(used.root), "--detach")
    other.close()
    assert code == 1
    assert "database is locked" in one_line(said)


def test_a_queue_that_another_process_is_making_is_waited_for(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite itself does not wait while a new file becomes a WAL file."""
    connect, calls = sqlite3.connect, []

    def busy(*arguments: Any, **options: Any) -> sqlite3.Connection:
        calls.append(arguments)
        if len(calls) < 3:
            raise sqlite3.OperationalError("database is locked")
        return connect(*arguments, **options)

    monkeypatch.setattr(database.sqlite3, "connect", busy)
    assert Queue(cache.queue).jobs() == []


def test_a_queue_that_is_no_database_is_said(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    Cache(tmp_path).queue.write_text("This is a letter. " * 100)
    code, _, said = ended(capfd, "jobs", "--cache-dir", str(tmp_path))
    assert code == 1
    assert "not a database" in one_line(said)


def test_a_worker_that_cannot_start_is_given_up(
    cache: Cache, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    started = []

    def broken(cache: Cache) -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen([sys.executable, "-c", "raise SystemExit(1)"]))
        return started[-1]

    monkeypatch.setattr(follow, "ensure_worker", broken)
    monkeypatch.setattr(follow, "PAUSE_SECONDS", 0.0)
    code, _, said = ended(capfd, "compare", "--cache-dir", str(cache.root), *TINY_OPTIONS)
    assert code == 1
    assert str(cache.worker_log) in one_line(said)
    assert len(started) == follow.MAX_STARTS


def test_a_damaged_inspection_is_made_anew(
    used: Cache, inline: None, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    trained = training(used)
    for key in Store(used).finished():
        if Store(used).settings(key)["kind"].startswith("inspect"):
            (used.stage(key) / "manifest.json").write_text(json.dumps({"seal": "broken"}))
    options = [*TINY_OPTIONS, "--amounts", "0.5", "--no-matched", "--out", str(tmp_path)]
    code, _, said = ended(capfd, "compare", "--cache-dir", str(used.root), *options)
    assert (code, said) == (0, "")
    assert {key: training(used)[key] for key in trained} == trained
