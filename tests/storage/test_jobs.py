"""The queue of jobs: they want the stages of their newest plan, also when they run again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pruning_core.common.paths import PROJECT
from pruning_core.planning.plan import plan
from pruning_core.planning.presets import QUICKSTART
from pruning_core.planning.stage import Plan, Stage
from pruning_core.settings.spec import describe
from pruning_core.storage.job_edits import Edit
from pruning_core.storage.job_progress import job_progress
from pruning_core.storage.jobs import Queue
from tests.helpers.inspections import DATA, Facts
from tests.helpers.queues import SMALL, claim, finish_until, submit

LARGE = replace(QUICKSTART, one_shot=replace(QUICKSTART.one_shot, amounts=(0.0, 0.7)))


def test_the_same_spec_twice_is_one_job(queue: Queue) -> None:
    first, job_plan = submit(queue)
    second, _ = submit(queue)
    assert first == second
    assert len(queue.jobs()) == 1
    assert len(queue.stages_of(first)) == len(job_plan.stages)


def test_running_again_after_a_cancel_queues_again(queue: Queue) -> None:
    job, _ = submit(queue)
    queue.cancel(job)
    assert job_progress(queue, job).state == "cancelled"
    submit(queue)
    assert {row.status for row in queue.stages_of(job)} == {"queued"}


def test_a_failed_stage_leaves_its_siblings_and_can_be_retried(queue: Queue) -> None:
    job, job_plan = submit(queue)
    key = finish_until(queue, "pruned")
    queue.fail(key, "t", "Traceback: boom")
    while row := queue.claim("t", 2):
        queue.finish(row.key, "t")
    progress = job_progress(queue, job)
    assert progress.state == "failed"
    assert sum(row.status == "done" for row in progress.rows) >= 4
    assert not queue.busy()
    queue.retry(job)
    queue.expand(job, job_plan, [row.key for row in progress.rows if row.status == "done"])
    row = queue.stage(key)
    assert row is not None
    assert (row.status, row.error) == ("queued", "")


@pytest.mark.parametrize("kind", ["inspect_dataset", "dataset"])
def test_a_failure_of_images_that_have_changed_does_not_concern_the_job(
    queue: Queue, kind: str
) -> None:
    """The plan of the mended images has another inspection, and the old failure is dropped."""
    job, job_plan = submit(queue)
    old = next(stage for stage in job_plan.stages if stage.kind == kind)
    while (row := queue.claim("t", 2)) and row.key != old.key:
        queue.finish(row.key, "t")
    queue.fail(old.key, "t", "000.png cannot be read.", "data.path")
    queue.submit(SMALL, "run")
    mended = Stage("inspect_dataset", "", {"name": "images", "fingerprint": "new"})
    queue.expand(job, Plan((mended,)), ())
    rows = {row.key: row for row in queue.stages_of(job)}
    assert rows[mended.key].status == "queued"
    assert old.key not in rows
    row = queue.stage(old.key)
    assert row is not None
    assert row.status in ("failed", "cancelled")


def test_another_job_tries_a_failed_stage_again(queue: Queue) -> None:
    submit(queue, SMALL)
    key = finish_until(queue, "baseline")
    queue.fail(key, "t", "boom")
    submit(queue, LARGE)
    row = queue.stage(key)
    assert row is not None
    assert row.status == "queued"


def test_a_deleted_job_that_is_submitted_again_is_a_new_one(queue: Queue) -> None:
    job, _ = submit(queue)
    first = queue.jobs()[0]
    queue.delete(job)
    assert submit(queue)[0] == job
    (again,) = queue.jobs()
    assert again.created > first.created
    assert queue.deleted() == []


@pytest.mark.parametrize("typed", ["edit", "submit"])
def test_only_a_typed_name_replaces_a_typed_name(queue: Queue, typed: str) -> None:
    """Neither the default name nor that of a preset or a settings file does."""
    unnamed = replace(SMALL, label="")
    job = queue.submit(unnamed, describe(unnamed))
    if typed == "edit":
        queue.edit([job], Edit(name="My name"))
    else:
        queue.submit(unnamed, "My name")
    queue.submit(unnamed, describe(unnamed))
    queue.submit(SMALL, SMALL.label)
    assert queue.jobs()[0].label == "My name"
    queue.submit(unnamed, "Another name")
    assert queue.jobs()[0].label == "Another name"
    queue.edit([job], Edit(name="  "))
    assert queue.jobs()[0].label == describe(unnamed)
    queue.submit(SMALL, SMALL.label)
    assert queue.jobs()[0].label == SMALL.label


def test_a_late_plan_does_not_restart_a_cancelled_job(queue: Queue) -> None:
    job, job_plan = submit(queue)
    queue.cancel(job)
    queue.expand(job, job_plan, done=())
    assert job_progress(queue, job).state == "cancelled"
    assert not queue.busy()
    queue.delete(job)
    queue.expand(job, job_plan, done=())
    queue.purge()
    assert queue.wanted_keys() == set()
    assert not queue.busy()


def test_a_job_wants_what_its_newest_plan_holds(queue: Queue) -> None:
    """The images at a path have changed, so the same spec has other stages."""
    job, _ = submit(queue)
    other = plan(SMALL, Facts(SMALL, {**DATA, "digest": "e" * 64}))
    queue.submit(SMALL, "run")
    queue.expand(job, other, done=())
    assert {row.key for row in queue.stages_of(job)} == {stage.key for stage in other.stages}


ELSEWHERE = "/another/checkout"


def submitted_from(queue: Queue, checkout: str, code: str) -> None:
    """All that was submitted so far came from a checkout with this source code."""
    with queue._write() as db:
        db.execute("UPDATE submitters SET checkout = ?, code = ?", (checkout, code))


@pytest.mark.parametrize(
    ("checkout", "code"), [(ELSEWHERE, "mine"), (str(PROJECT), "theirs"), (str(PROJECT), "mine")]
)
def test_a_worker_runs_what_its_checkout_or_its_code_has_submitted(
    queue: Queue, checkout: str, code: str
) -> None:
    job, _ = submit(queue)
    submitted_from(queue, checkout, code)
    assert queue.refuse_others("mine") == []
    assert queue.planning() == []
    assert {row.status for row in queue.stages_of(job)} == {"queued"}


def test_what_another_checkout_has_submitted_is_refused_in_a_sentence(queue: Queue) -> None:
    """A detached job waits for a worker, and the next one may be of another checkout."""
    planned, _ = submit(queue)
    claim(queue)
    waiting = queue.submit(LARGE, "waits for its plan")
    export = Stage("export", "", {"format": "onnx"})
    queue.add([export])
    submitted_from(queue, ELSEWHERE, "theirs")
    here = queue.submit(replace(SMALL, seeds=(7,)), "of this checkout")
    assert set(queue.refuse_others("mine")) == {planned, waiting, export.key}
    assert queue.refuse_others("mine") == []
    for error in (*(job.error for job in queue.jobs() if job.id != here), _error(queue, export)):
        assert f"submitted from {ELSEWHERE}" in error
        assert f"other source code in {PROJECT}" in error
    assert {row.status for row in queue.stages_of(planned)} == {"cancelled"}
    assert [job.id for job in queue.planning()] == [here]
    queue.retry(planned)
    queue.submit(LARGE, "again")
    assert queue.refuse_others("mine") == [], "who retries here wants it from here"
    assert len(queue.planning()) == 3


def test_a_finished_job_of_another_checkout_stays(queue: Queue) -> None:
    job, _ = submit(queue)
    while row := queue.claim("t", 2):
        queue.finish(row.key, "t")
    submitted_from(queue, ELSEWHERE, "theirs")
    assert queue.refuse_others("mine") == []
    assert queue.jobs()[0].id == job
    assert queue.jobs()[0].status == "active"


def _error(queue: Queue, stage: Stage) -> str:
    row = queue.stage(stage.key)
    assert row is not None
    assert row.status == "failed"
    return row.error
