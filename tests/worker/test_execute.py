"""Running one stage: done, failed, refused, or queued again."""

from __future__ import annotations

import errno
import logging
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from pruning_core.common.errors import Share, SpecError
from pruning_core.common.paths import Cache
from pruning_core.planning.inspection_types import InspectDatasetResult
from pruning_core.planning.stage_types import restored
from pruning_core.storage import database
from pruning_core.storage.job_progress import job_progress
from pruning_core.storage.jobs import Queue
from pruning_core.storage.stage_context import StageInterrupted
from pruning_core.storage.stage_queue import MAX_ATTEMPTS
from pruning_core.storage.store import Store
from pruning_core.worker import execute as execute_module
from pruning_core.worker.execute import execute
from pruning_core.worker.processes import start_stage_process
from pruning_core.worker.supervisor import Supervisor
from tests.helpers.inspections import DATA
from tests.helpers.queues import publish
from tests.helpers.workers import TINY

REFUSAL = SpecError("one_shot.amounts", "{value} is too much.", value=Share(0.5))
SENTENCE = "--amounts: 0.5 is too much."
INSPECTED = restored(InspectDatasetResult, DATA)


@pytest.mark.parametrize("inside", [True, False])
def test_a_cache_without_access_fails_a_stage_with_a_sentence(
    cache: Cache, tmp_path: Path, inside: bool
) -> None:
    path = (cache.stages if inside else tmp_path) / "aa"
    try:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))
    except OSError as error:
        text = execute_module.failure_text(error, cache)
    sentence = f"{path} in the cache cannot be used (Permission denied). Make it readable"
    assert text.startswith(sentence if inside else "Traceback")


def test_a_stage_that_refuses_its_settings_is_logged_in_a_sentence(
    cache: Cache,
    queue: Queue,
    worker: Supervisor,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    job = queue.submit(TINY, "run")
    worker._plan_jobs()
    row = queue.claim("t", 8)
    assert row is not None

    def refuse(context: object) -> dict[str, object]:
        raise REFUSAL

    monkeypatch.setattr(execute_module, "runner_of", lambda kind: refuse)
    execute(cache, queue, row, lost=lambda: None)
    failed = queue.stage(row.key)
    assert failed is not None
    assert (failed.status, failed.field) == ("failed", "one_shot.amounts")
    assert SpecError.from_json(failed.field, failed.error).values == REFUSAL.values
    assert f"Stage {row.key[:12]} is refused: {SENTENCE}" in caplog.messages
    worker._plan_jobs()
    refused = job_progress(queue, job).job
    assert (refused.status, refused.error) == ("refused", failed.error)


def test_an_interrupted_stage_is_tried_again_and_fails_after_some_attempts(
    cache: Cache, queue: Queue, worker: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue.submit(TINY, "run")
    worker._plan_jobs()

    def end(context: object) -> dict[str, object]:
        raise StageInterrupted("A process was ended.")

    monkeypatch.setattr(execute_module, "runner_of", lambda kind: end)
    for attempt in range(1, MAX_ATTEMPTS + 1):
        row = queue.claim("t", 8)
        assert row is not None
        execute(cache, queue, row, lost=lambda: None)
        now = queue.stage(row.key)
        assert now is not None
        assert (now.status, now.error) == (
            "failed" if attempt == MAX_ATTEMPTS else "queued",
            "A process was ended.",
        )


def test_a_stage_that_is_done_while_the_queue_is_locked_is_not_lost(
    cache: Cache, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was published, so it has not failed and does not run again."""
    queue.submit(TINY, "run")
    Supervisor(cache)._plan_jobs()
    row = queue.claim("t", 8)
    assert row is not None
    other = sqlite3.connect(queue.path, isolation_level=None)
    runs = []

    def last(context: object) -> InspectDatasetResult:
        runs.append(context)
        other.execute("BEGIN IMMEDIATE")
        return INSPECTED

    monkeypatch.setattr(execute_module, "runner_of", lambda kind: last)
    monkeypatch.setattr(database, "LOCK_SECONDS", 0.01)
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        execute(cache, queue, row, lost=lambda: None)
    other.close()
    queue.release(row.key, "t", "Its process ended with exit code 1.")
    again = queue.claim("u", 8)
    assert again is not None
    execute(cache, queue, again, lost=lambda: None)
    done = queue.stage(row.key)
    assert done is not None
    assert (done.status, len(runs)) == ("done", 1)


def test_a_damaged_stage_is_logged_and_computed_again(
    cache: Cache, queue: Queue, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    queue.submit(TINY, "run")
    Supervisor(cache)._plan_jobs()
    row = queue.claim("t", 8)
    assert row is not None
    publish(cache, row.key, row.kind, {})
    (cache.stage(row.key) / "manifest.json").write_text("{}")
    monkeypatch.setattr(execute_module, "runner_of", lambda kind: lambda context: INSPECTED)
    with caplog.at_level(logging.WARNING):
        execute(cache, queue, row, lost=lambda: None)
    assert "was damaged" in caplog.text
    assert str(cache.damaged) in caplog.text
    assert Store(cache).read(row.key) == DATA
    assert list(cache.damaged.iterdir())


def test_a_stage_whose_supervisor_died_before_its_start_is_queued_again(
    cache: Cache, queue: Queue, worker: Supervisor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The stage was in the pipe when the supervisor was killed: the parent is another process."""
    queue.submit(TINY, "run")
    worker._plan_jobs()
    row = queue.claim("t", 8)
    assert row is not None
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: dead.pid)
        process = start_stage_process(cache, 1)
    process.give(row)
    assert process.popen.stdin is not None
    process.popen.stdin.close()
    assert process.popen.wait() == 3
    assert "The worker has ended" in cache.log(row.key).read_text()
    now = queue.stage(row.key)
    assert now is not None
    assert (now.status, now.attempts) == ("queued", 0)
