"""Two processes change one row: each learns the outcome, and no stage is lost or runs in vain."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest

from pruning_core.storage import stage_queue
from pruning_core.storage.job_edits import Edit
from pruning_core.storage.job_progress import job_progress
from pruning_core.storage.jobs import Queue
from pruning_core.storage.stage_queue import StageQueue
from tests.helpers.queues import SMALL, claim, finish_until, submit

DEAD = 2**22 + 1  # the id of no process


def test_a_claimed_row_has_its_token_even_if_it_is_cancelled_at_once(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process that receives the row must be able to see that it no longer holds it."""
    job, _ = submit(queue)
    read = StageQueue.stage

    def cancelled_first(self: StageQueue, key: str) -> stage_queue.Row | None:
        queue.cancel(job)
        return read(self, key)

    monkeypatch.setattr(StageQueue, "stage", cancelled_first)
    row = queue.claim("t", 2)
    assert row is not None
    assert (row.token, row.status) == ("t", "running")


def test_many_submitters_at_once_are_one_job(queue: Queue) -> None:
    """Two browsers with a double click in each."""
    threads = [threading.Thread(target=submit, args=(queue,)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (job,) = queue.jobs()
    keys = [row.key for row in queue.stages_of(job.id)]
    assert len(keys) == len(set(keys)) == len(submit(queue)[1].stages)


def test_a_living_process_keeps_its_stage_through_a_long_silence(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A locked queue, or a long call in C, delays heartbeats for longer than allowed."""
    submit(queue)
    key = claim(queue)
    queue.beat(key, "t", os.getpid(), {})
    later = stage_queue.time.time() + 3600
    monkeypatch.setattr(stage_queue.time, "time", lambda: later)
    assert queue.return_stale(held={"t"}) == []
    assert queue.return_stale(held={"another"}) == [key]


def test_a_diverged_loss_does_not_prevent_the_release_of_a_stage(queue: Queue) -> None:
    """SQLite rejects NaN in JSON."""
    submit(queue)
    key = claim(queue)
    queue.beat(key, "t", os.getpid(), {"history": [{"loss": float("nan")}], "published": 1})
    queue.release(key, "t", "Its process ended by the signal SIGKILL.")
    row = queue.stage(key)
    assert row is not None
    assert (row.status, row.attempts) == ("queued", 0)
    assert row.progress["history"] == [{"loss": None}]


def test_a_stage_waits_for_a_missing_ancestor(queue: Queue) -> None:
    """The stage must not be tried again and again until the ancestor is computed."""
    submit(queue)
    pruned = finish_until(queue, "pruned")
    data = next(row.key for row in queue.stages_of(queue.jobs()[0].id) if row.kind == "dataset")
    queue.wait_for(pruned, "t", data)
    taken = []
    while row := queue.claim("t", 2):
        taken.append(row.key)
    assert data in taken
    assert pruned not in taken
    queue.finish(data, "t")
    assert claim(queue) == pruned


def test_a_job_that_waits_for_a_failed_stage_has_failed(queue: Queue) -> None:
    job, _ = submit(queue)
    pruned = finish_until(queue, "pruned")
    data = next(row.key for row in queue.stages_of(job) if row.kind == "dataset")
    queue.wait_for(pruned, "t", data)
    while row := queue.claim("t", 2):
        queue.fail(row.key, "t", "gone") if row.key == data else queue.finish(row.key, "t")
    assert job_progress(queue, job).state == "failed"
    assert not queue.busy()


def test_a_stage_that_needs_an_unknown_stage_fails_with_a_sentence(queue: Queue) -> None:
    submit(queue)
    key = claim(queue)
    queue.wait_for(key, "t", "f" * 64)
    row = queue.stage(key)
    assert row is not None
    assert row.status == "failed"
    assert "Press Retry" in row.error


def test_retry_forgets_which_setting_was_at_fault(queue: Queue) -> None:
    job = queue.submit(SMALL, "run")
    queue.refuse(job, "model.name", "there is no such model.")
    queue.retry(job)
    retried = queue.job(job)
    assert retried is not None
    assert (retried.status, retried.error, retried.field) == ("planning", "", "")


def test_a_job_is_cancelled_and_deleted_in_one_step(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a second browser could start it again in between, and no job would want its stages."""
    job, _ = submit(queue)
    monkeypatch.setattr(queue, "cancel", lambda job: pytest.fail("a second transaction"))
    queue.delete(job)
    assert queue.jobs() == []
    assert not queue.busy()


def test_two_browsers_change_the_same_runs_at_the_same_time(queue: Queue) -> None:
    """Each change is kept, also where the other browser deletes and restores the run between."""
    job, _ = submit(queue)
    tags = [f"tag {number}" for number in range(12)]

    def change(part: list[str], browser: Queue) -> None:
        for tag in part:
            while browser.edit([job], Edit(add_tags=(tag,))):  # deleted: restore it first
                browser.undelete(job)
            browser.delete(job)
            browser.undelete(job)

    threads = [
        threading.Thread(target=change, args=(tags[i::2], Queue(queue.path))) for i in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(queue.jobs()[0].tags) == set(tags)


def test_a_run_is_deleted_while_its_worker_is_killed(queue: Queue) -> None:
    """Nothing of it starts again until a person resumes it, and then every stage runs once."""
    job, job_plan = submit(queue)
    finished, running = claim(queue), claim(queue)
    queue.finish(finished, "t")
    queue.beat(running, "t", DEAD, {"published": 1, "history": []})
    browsers = [Queue(queue.path) for _ in range(2)]
    for browser in browsers:
        browser.delete(job)
    assert queue.return_stale() == [], "the deletion has cancelled the stage"
    queue.finish(running, "t")  # the last word of the killed process
    assert not queue.busy()
    for browser in browsers:
        browser.undelete(job)
    assert job_progress(queue, job).state == "cancelled"
    assert not queue.busy(), "a restored run does not start by itself"
    assert [browser.retry(job) for browser in browsers] == [[job], [job]]
    queue.expand(job, job_plan, done=[finished])
    statuses = [row.status for row in queue.stages_of(job)]
    assert sorted(statuses) == ["done", *["queued"] * (len(statuses) - 1)]
    assert len(statuses) == len(job_plan.stages)


def test_paths_that_jobs_and_stages_use(queue: Queue, tmp_path: Path) -> None:
    submit(queue)
    assert queue.named_files() == {"none"}
    hints = {"path": str(tmp_path), "weights": "/w.pt"}
    with queue._write() as db:
        db.execute("UPDATE stages SET hints = ? WHERE kind = 'dataset'", (json.dumps(hints),))
    assert queue.named_files() == {"none", str(tmp_path), "/w.pt"}
