"""Jobs are cancelled, deleted, restored and edited."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from typing import Any

import pytest

from pruning_core.planning.presets import QUICKSTART
from pruning_core.storage import job_edits
from pruning_core.storage.job_edits import UNDO_SECONDS, Edit
from pruning_core.storage.job_progress import job_progress
from pruning_core.storage.job_record import Job
from pruning_core.storage.jobs import Queue
from tests.helpers.queues import SMALL, claim, submit

LARGE = replace(QUICKSTART, one_shot=replace(QUICKSTART.one_shot, amounts=(0.0, 0.7)))


def test_shared_stages_have_one_row_and_survive_a_cancel(queue: Queue) -> None:
    first, job_plan = submit(queue, SMALL)
    second, other = submit(queue, LARGE)
    queue.cancel(first)
    shared = {s.key for s in job_plan.stages} & {s.key for s in other.stages}
    assert len(shared) > 5
    states = {row.key: row.status for row in queue.stages_of(first)}
    assert {states[key] for key in shared} == {"queued"}
    assert {states[key] for key in states.keys() - shared} == {"cancelled"}
    assert {row.status for row in queue.stages_of(second)} == {"queued"}


def test_a_cancelled_stage_is_no_longer_its_process_s(queue: Queue) -> None:
    job, _ = submit(queue)
    key = claim(queue)
    assert queue.beat(key, "t", os.getpid(), {})
    queue.cancel(job)
    assert not queue.beat(key, "t", os.getpid(), {})
    queue.finish(key, "t")
    row = queue.stage(key)
    assert row is not None
    assert row.status == "cancelled"


def test_a_finished_job_cannot_be_cancelled(queue: Queue) -> None:
    job, _ = submit(queue)
    while row := queue.claim("t", 2):
        queue.finish(row.key, "t")
    queue.cancel(job)
    assert job_progress(queue, job).state == "done"


def test_a_deleted_job_leaves_all_lists_and_comes_back_as_it_was(queue: Queue) -> None:
    job, job_plan = submit(queue)
    queue.edit([job], Edit(name="Mine", add_tags=("thesis",)))
    queue.delete(job)
    lists = [queue.jobs(), queue.unfinished(5), queue.started(5), queue.finished(5)]
    assert lists == [[], [], [], []]
    assert queue.job(job) is None
    assert [deleted.id for deleted in queue.deleted()] == [job]
    assert not queue.busy()
    queue.undelete(job)
    (restored,) = queue.jobs()
    assert (restored.label, restored.tags, restored.status) == ("Mine", ("thesis",), "cancelled")
    queue.retry(job)
    queue.expand(job, job_plan, done=())
    assert {row.status for row in queue.stages_of(job)} == {"queued"}


def test_a_deleted_job_is_removed_after_a_day(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, _ = submit(queue)
    queue.delete(job)
    assert queue.purge(UNDO_SECONDS) == 0
    assert queue.wanted_keys() == set(), "nothing is computed for it"
    assert queue.wanted_keys(deleted=True), "its results are kept as long as it can be restored"
    later = time.time() + UNDO_SECONDS
    monkeypatch.setattr("pruning_core.storage.job_edits.time.time", lambda: later)
    queue.submit(LARGE, "another")
    assert queue.deleted() == []
    assert queue.wanted_keys(deleted=True) == set()


def test_a_deleted_job_neither_starts_nor_refuses_nor_keeps_another(queue: Queue) -> None:
    """Not by the page of another browser, and not where its finished stages are lost."""
    job, job_plan = submit(queue)
    while row := queue.claim("t", 2):
        queue.finish(row.key, "t")
    queue.delete(job)
    before = queue.deleted()
    assert queue.retry(job) == []
    queue.lost(job_plan.stages[-1].key)
    with queue._write() as db:
        db.execute("UPDATE submitters SET checkout = 'elsewhere', code = 'other'")
    assert queue.refuse_others("this") == []
    (note,) = queue.edit([job], Edit(name="New", add_tags=("tag",)))
    assert note == "The run 'run' was deleted, so it was not changed. Restore it first."
    assert queue.deleted() == before
    assert queue.planning() == []
    key = job_plan.stages[-1].key
    with queue._write() as db:
        db.execute("UPDATE stages SET requested = 1 WHERE key = ?", (key,))
    assert queue.drop_requests() == [key], "no page waits for it, and no job"
    queue.forget(key)
    assert queue.stage(key) is None


def test_a_tag_that_no_run_has_is_told(queue: Queue) -> None:
    ids = [submit(queue)[0], submit(queue, LARGE)[0]]
    queue.edit(ids[:1], Edit(add_tags=("thesis",)))
    assert queue.edit(ids, Edit(remove_tags=("thesis ", "tehsis"))) == [
        "No chosen run has the tag 'tehsis', so none was removed."
    ]
    assert queue.edit(ids[:1], Edit(remove_tags=("thesis",))) == [
        "The run has no tag 'thesis', so none was removed."
    ]


def test_a_change_of_several_jobs_changes_all_or_none(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [submit(queue)[0], submit(queue, LARGE)[0]]
    calls = []

    def interrupted(job: Job, change: Edit) -> dict[str, Any]:
        calls.append(job)
        if len(calls) == len(ids):
            raise KeyboardInterrupt
        return {"starred": True}

    monkeypatch.setattr(job_edits, "_edited", interrupted)
    with pytest.raises(KeyboardInterrupt):
        queue.edit(ids, Edit(starred=True))
    assert [job.starred for job in Queue(queue.path).jobs()] == [False, False]
