"""The command line on a full disk, when interrupted, and its messages of long values."""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path

import pytest

from pruning_core.common import errors, paths
from pruning_core.common.errors import brief
from pruning_core.common.paths import Cache
from pruning_core.methods.commands import COMMANDS
from pruning_core.storage.jobs import Queue
from pruning_core.worker import start
from tests.helpers.many_runs import fill
from tests.helpers.refusals import ended, one_line


@pytest.fixture
def full(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> str:
    """A cache with a finished job, on a disk that has become full. The job's id."""
    (job,) = fill(cache, 1)

    def no_room(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(paths.tempfile, "TemporaryFile", no_room)
    return job


def test_results_are_shown_on_a_full_disk(
    cache: Cache, full: str, capfd: pytest.CaptureFixture[str]
) -> None:
    code, out, error = ended(capfd, "show", full, "--cache-dir", str(cache.root))
    assert code == 0
    assert "Iterative Pruning Results:" in out
    assert one_line(error).startswith(f"Note: The cache folder {cache.root} cannot be written (No")


@pytest.mark.parametrize("command", [["jobs"], ["cache", "size"], ["cache", "clean"]])
def test_what_needs_no_room_works_on_a_full_disk(
    cache: Cache, full: str, capfd: pytest.CaptureFixture[str], command: list[str]
) -> None:
    code, out, error = ended(capfd, *command, "--cache-dir", str(cache.root))
    assert code == 0
    assert out
    if command[0] != "cache":  # which writes nothing before it removes something
        assert one_line(error).startswith("Note: ")


@pytest.mark.parametrize("command", ["compare", "worker"])
def test_nothing_starts_on_a_full_disk(
    cache: Cache, full: str, capfd: pytest.CaptureFixture[str], command: str
) -> None:
    code, out, error = ended(capfd, command, "--cache-dir", str(cache.root))
    assert (code, out) == (2, "")
    assert one_line(error).startswith("--cache-dir: ")
    assert len(Queue(cache.queue).jobs()) == 1


def test_clean_reports_a_queue_that_cannot_be_written(
    cache: Cache, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files are removed before the queue, whose failure is reported."""
    job, _ = fill(cache, 2)
    Queue(cache.queue).delete(job)
    Queue(cache.queue).purge()

    def no_row(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(Queue, "forget", no_row)
    code, _, error = ended(capfd, "cache", "clean", "--cache-dir", str(cache.root))
    assert code == 1
    assert "database or disk is full" in one_line(error)


def test_clean_on_a_read_only_disk_is_one_sentence(
    cache: Cache, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    job, _ = fill(cache, 2)
    Queue(cache.queue).delete(job)
    Queue(cache.queue).purge()

    def read_only(source: Path, target: Path) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(source))

    monkeypatch.setattr(os, "replace", read_only)
    code, _, error = ended(capfd, "cache", "clean", "--cache-dir", str(cache.root))
    assert code == 1
    assert "cannot be used (Read-only file system)" in one_line(error)


@pytest.mark.parametrize("command", ["jobs", "cache"])
def test_an_interrupt_is_130_and_one_line(
    cache: Cache,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    command: str,
) -> None:
    def interrupted(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(COMMANDS[command].implementation.replace(":", "."), interrupted)
    arguments = [command, "size"] if command == "cache" else [command]
    code, out, error = ended(capfd, *arguments, "--cache-dir", str(cache.root))
    assert (code, out, one_line(error)) == (130, "", "Interrupted.")


def test_a_worker_that_cannot_be_started_is_a_failed_run(
    cache: Cache, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start, "MAX_STARTS", 0)
    options = ["--cache-dir", str(cache.root), "--out", str(cache.root / "out")]
    code, _, error = ended(capfd, "compare", *options)
    assert code == 1
    assert "ended each time" in one_line(error)


@pytest.mark.parametrize(
    ("message", "beginning"),
    [
        ("--target: 2 is too large.", "--target: 2 is too large."),
        ("x" * 60, "x" * 60),
        ("'" + "x" * 5000 + "' is not a number.", "'xxx"),
        ("/a" * 100 + " cannot be written.", "/a" * 100 + " cannot be written."),
        ("/a" * 4000 + " cannot be written.", "/a/a"),
        ("many words " * 1000, "many words "),
    ],
)
def test_a_long_message_is_shortened(message: str, beginning: str) -> None:
    shortened = brief(message)
    assert shortened.startswith(beginning)
    assert len(shortened) <= errors.MESSAGE_CHARACTERS
    assert shortened[-3:] == message[-3:]
