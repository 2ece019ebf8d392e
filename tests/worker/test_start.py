"""A worker that ends each time it is started is given up, by the pages as by the command line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pruning_core.common.paths import Cache
from pruning_core.storage.worker_record import WorkerRecord
from pruning_core.worker import start
from pruning_core.worker.start import (
    MAX_STARTS,
    WorkerError,
    WorkerStarter,
    ensure_worker,
    last_line,
)

DYING = "raise SystemExit('ModuleNotFoundError: no module named torch')"


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """Real processes that end at once, in the place of workers."""
    made: list[subprocess.Popen[bytes]] = []

    def dying(cache: Cache) -> subprocess.Popen[bytes]:
        with cache.worker_log.open("ab") as log:
            made.append(subprocess.Popen([sys.executable, "-c", DYING], stderr=log))
        made[-1].wait()
        return made[-1]

    monkeypatch.setattr(start, "start_worker", dying)
    return made


def test_pages_start_a_dying_worker_a_few_times_only(
    cache: Cache, started: list[subprocess.Popen[bytes]]
) -> None:
    said = [ensure_worker(cache) for _ in range(4 * MAX_STARTS)]
    assert len(started) == MAX_STARTS
    assert set(said[:MAX_STARTS]) == {""}
    (sentence,) = set(said[MAX_STARTS:])
    assert "no module named torch" in sentence
    assert str(cache.worker_log) in sentence


def test_after_a_while_it_is_tried_again(
    cache: Cache, started: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever mends the cause need not start Streamlit anew."""
    for _ in range(MAX_STARTS + 1):
        ensure_worker(cache)
    later = start.time.monotonic() + start.MEMORY_SECONDS + 1
    monkeypatch.setattr(start.time, "monotonic", lambda: later)
    assert ensure_worker(cache) == ""
    assert len(started) == MAX_STARTS + 1


def test_a_worker_of_somebody_else_s_is_enough(
    cache: Cache, started: list[subprocess.Popen[bytes]]
) -> None:
    for _ in range(MAX_STARTS):
        ensure_worker(cache)
    assert WorkerRecord(cache.queue).register("other", "code") is None
    assert ensure_worker(cache) == ""


def test_a_worker_that_is_starting_is_not_started_twice(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several sessions draw their pages before it has said that it is alive."""
    waiting = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    starts = [waiting]
    monkeypatch.setattr(start, "start_worker", lambda cache: starts.pop())
    assert [ensure_worker(cache) for _ in range(3)] == ["", "", ""]
    waiting.communicate(b"\n")


def test_a_cache_that_cannot_be_written_starts_none(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a page, a fragment asks for the worker every two seconds."""
    assert WorkerRecord(cache.queue).current() is None
    cache.building.rmdir()
    cache.building.write_text("in the way")
    assert "cannot be written" in ensure_worker(cache)
    with pytest.raises(WorkerError, match="cannot be written"):
        WorkerStarter(cache).look()


@pytest.mark.parametrize(
    ("content", "found"),
    [(None, "nothing."), (b"", "nothing."), (b"one\ntwo  \n\n", '"two".'), (b"\xff" * 9000, "...")],
)
def test_the_last_line_of_a_log(tmp_path: Path, content: bytes | None, found: str) -> None:
    path = tmp_path / "worker.log"
    if content is not None:
        path.write_bytes(content)
    said = last_line(path)
    assert len(said) < 300
    assert said == found or found == "..."
