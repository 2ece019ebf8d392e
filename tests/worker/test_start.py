"""A worker that ends each time it is started is started a few times only."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pruning_core.cli.main import main
from pruning_core.cli.output import FAILED
from pruning_core.common.paths import PROJECT, Cache
from pruning_core.storage.jobs import Queue
from pruning_core.storage.worker_record import WorkerRecord
from pruning_core.worker import start
from pruning_core.worker.start import (
    MAX_STARTS,
    WorkerError,
    WorkerStarter,
    code_digest,
    ensure_worker,
    last_line,
)
from tests.helpers.workers import TINY_OPTIONS

DYING = "raise SystemExit('ModuleNotFoundError: no module named torch')"


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """Real processes that end at once, instead of workers."""
    processes: list[subprocess.Popen[bytes]] = []

    def dying(cache: Cache) -> subprocess.Popen[bytes]:
        with cache.worker_log.open("ab") as log:
            processes.append(subprocess.Popen([sys.executable, "-c", DYING], stderr=log))
        processes[-1].wait()
        return processes[-1]

    monkeypatch.setattr(start, "start_worker", dying)
    return processes


def test_pages_start_a_dying_worker_a_few_times_only(
    cache: Cache, started: list[subprocess.Popen[bytes]]
) -> None:
    answers = [ensure_worker(cache) for _ in range(4 * MAX_STARTS)]
    assert len(started) == MAX_STARTS
    assert set(answers[:MAX_STARTS]) == {""}
    (sentence,) = set(answers[MAX_STARTS:])
    assert "no module named torch" in sentence
    assert str(cache.worker_log) in sentence


def test_after_a_while_it_is_tried_again(
    cache: Cache, started: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So a user who has fixed the cause need not restart Streamlit."""
    for _ in range(MAX_STARTS + 1):
        ensure_worker(cache)
    later = start.time.monotonic() + start.WINDOW_SECONDS + 1
    monkeypatch.setattr(start.time, "monotonic", lambda: later)
    assert ensure_worker(cache) == ""
    assert len(started) == MAX_STARTS + 1


def test_a_worker_of_another_process_is_enough(
    cache: Cache, started: list[subprocess.Popen[bytes]]
) -> None:
    for _ in range(MAX_STARTS):
        ensure_worker(cache)
    assert WorkerRecord(cache.queue).register("other", "code") is None
    assert ensure_worker(cache) == ""


@pytest.mark.parametrize(
    ("checkout", "code", "used"),
    [
        ("/another/checkout", "their code", False),
        ("/another/checkout", code_digest(), True),
        (str(PROJECT), "code before a change on disk", True),
    ],
)
def test_a_worker_with_other_code_is_not_used(
    cache: Cache, checkout: str, code: str, used: bool
) -> None:
    """It would compute a run that was submitted from here; one of this checkout restarts."""
    record = WorkerRecord(cache.queue)
    record.register("theirs", code)
    with record._write() as db:
        db.execute("UPDATE worker SET checkout = ?", (checkout,))
    if used:
        assert ensure_worker(cache) == ""
        return
    sentence = ensure_worker(cache)
    assert "runs other source code" in sentence
    assert checkout in sentence
    assert f"process {os.getpid()}, started" in sentence
    options = [*TINY_OPTIONS, "--out", str(cache.root / "out"), "--cache-dir", str(cache.root)]
    assert main(["compare", *options]) == FAILED
    assert Queue(cache.queue).jobs() == []


def test_a_worker_that_is_starting_is_not_started_twice(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several sessions draw their pages before its first heartbeat."""
    waiting = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    starts = [waiting]
    monkeypatch.setattr(start, "start_worker", lambda cache: starts.pop())
    assert [ensure_worker(cache) for _ in range(3)] == ["", "", ""]
    waiting.communicate(b"\n")


def test_no_worker_is_started_for_a_cache_that_cannot_be_written(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fragment of a page asks for the worker every two seconds."""
    assert WorkerRecord(cache.queue).current() is None
    cache.building.rmdir()
    cache.building.write_text("in the way")
    assert "cannot be written" in ensure_worker(cache)
    with pytest.raises(WorkerError, match="cannot be written"):
        WorkerStarter(cache).ensure()


LONG_LINE = '"' + "\N{REPLACEMENT CHARACTER}" * start.SHOWN_CHARACTERS + '".'


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (None, "(none)."),
        (b"", "(none)."),
        (b"one\ntwo  \n\n", '"two".'),
        (b"\xff" * 9000, LONG_LINE),
    ],
)
def test_the_last_line_of_a_log(tmp_path: Path, content: bytes | None, line: str) -> None:
    path = tmp_path / "worker.log"
    if content is not None:
        path.write_bytes(content)
    assert last_line(path) == line
