"""The queue: every stage runs once, and nothing is lost."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import replace
from typing import Any

import pytest

from pruning_core.common.paths import PROJECT
from pruning_core.planning.inspections import inspect_data, inspect_model
from pruning_core.planning.plan import plan
from pruning_core.planning.presets import QUICKSTART
from pruning_core.planning.stage import Plan, Stage
from pruning_core.settings.spec import describe
from pruning_core.storage import jobs, stage_queue
from pruning_core.storage.job_progress import job_progress
from pruning_core.storage.jobs import UNDO_SECONDS, Edit, Job, Queue
from tests.helpers.inspections import DATA, Facts
from tests.helpers.queues import SMALL, claim, finish_until, submit

LARGE = replace(QUICKSTART, one_shot=replace(QUICKSTART.one_shot, amounts=(0.0, 0.7)))


def test_the_same_spec_twice_is_one_job(queue: Queue) -> None:
    first, job_plan = submit(queue)
    second, _ = submit(queue)
    assert first == second
    assert len(queue.jobs()) == 1
    assert len(queue.stages_of(first)) == len(job_plan.stages)


def test_a_stage_is_claimed_once_by_many_threads(queue: Queue) -> None:
    submit(queue)
    claimed: list[str] = []

    def take() -> None:
        while row := queue.claim("t", 2):
            claimed.append(row.key)

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(claimed) == len(set(claimed)) == 3


def test_a_child_waits_for_its_parent(queue: Queue) -> None:
    submit(queue)
    kinds = []
    while row := queue.claim("t", 2):
        kinds.append(row.kind)
    assert "baseline" not in kinds
    assert "pruned" not in kinds


def test_threads_are_respected_and_no_small_stage_overtakes_a_large_one(queue: Queue) -> None:
    wide = Stage("baseline", "", {"wide": True}, threads=2)
    queue.add([wide])
    queue.add([Stage("pruned", "", {"narrow": True}, threads=1)])
    assert queue.claim("t", 1) is None
    assert claim(queue) == wide.key
    row = queue.claim("t", 1)
    assert row is not None
    assert row.threads == 1


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


def test_the_stage_of_a_dead_process_is_queued_again(queue: Queue) -> None:
    submit(queue)
    key = claim(queue)
    dead = 2**22 + 1
    queue.beat(key, "t", dead, {})
    assert queue.return_stale() == [key]
    row = queue.stage(key)
    assert row is not None
    assert row.status == "queued"


def test_the_stage_of_a_silent_process_is_queued_again(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit(queue)
    key = claim(queue)
    queue.beat(key, "t", os.getpid(), {})
    assert queue.return_stale() == []
    later = stage_queue.time.time() + 3600
    monkeypatch.setattr(stage_queue.time, "time", lambda: later)
    assert queue.return_stale() == [key]


def test_a_stage_that_kills_its_process_each_time_fails(queue: Queue) -> None:
    submit(queue)
    for _ in range(stage_queue.MAX_ATTEMPTS):
        key = claim(queue)
        queue.release(key, "t", "Its process ended by the signal SIGKILL.")
    row = queue.stage(key)
    assert row is not None
    assert row.status == "failed"
    assert "SIGKILL" in row.error


def test_a_stage_lost_from_the_store_is_queued_again(queue: Queue) -> None:
    submit(queue)
    key = claim(queue)
    queue.finish(key, "t")
    queue.lost(key)
    row = queue.stage(key)
    assert row is not None
    assert row.status == "queued"


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
    monkeypatch.setattr("pruning_core.storage.jobs.time.time", lambda: later)
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


def test_runs_that_run_come_first_and_those_that_failed_are_no_longer_unfinished(
    queue: Queue,
) -> None:
    """Failed runs have stages that stay queued for ever: they would displace those that run."""
    running, _ = submit(queue)
    key = claim(queue)
    shared = {row.key for row in queue.stages_of(running)}
    waiting, failed = (
        queue.submit(replace(QUICKSTART, seeds=(seed,)), f"seed {seed}") for seed in (7, 8)
    )
    stages = [Stage("pruned", "", {"failed": i}) for i in range(2)]
    queue.expand(failed, Plan((stages[0], replace(stages[1], parent=stages[0].key)), (), True), ())
    with queue._write() as db:
        db.execute("UPDATE stages SET status = 'failed' WHERE key = ?", (stages[0].key,))
    assert key in shared
    assert job_progress(queue, failed).state == "failed"
    assert [job.id for job in queue.unfinished(5)] == [running, waiting]
    assert queue.unfinished_counts() == (1, 1)


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

    monkeypatch.setattr(jobs, "_edited", interrupted)
    with pytest.raises(KeyboardInterrupt):
        queue.edit(ids, Edit(starred=True))
    assert [job.starred for job in Queue(queue.path).jobs()] == [False, False]


@pytest.mark.parametrize("start", ["zz", "%", "_"])
def test_an_unknown_job(queue: Queue, start: str) -> None:
    assert queue.job(start) is None


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


def test_a_finished_job_cannot_be_cancelled(queue: Queue) -> None:
    job, _ = submit(queue)
    while row := queue.claim("t", 2):
        queue.finish(row.key, "t")
    queue.cancel(job)
    assert job_progress(queue, job).state == "done"


def test_a_stage_that_saves_epochs_may_be_interrupted_any_number_of_times(queue: Queue) -> None:
    submit(queue)
    for _ in range(3 * stage_queue.MAX_ATTEMPTS):
        key = claim(queue)
        queue.beat(key, "t", os.getpid(), {"published": 1})
        queue.release(key, "t", "Its process ended by the signal SIGKILL.")
    row = queue.stage(key)
    assert row is not None
    assert row.status == "queued"


def claims(queue: Queue, kind: str, gpu: bool = True) -> list[str]:
    """The ready stages in the order of their claims, after the first stage of a kind is done."""
    finish_until(queue, kind)
    queue.finish(queue.stages_of(queue.jobs()[0].id)[3].key, "t")
    keys = []
    while row := queue.claim("t", 2, gpu=gpu):
        keys.append(row.key)
    return keys


def test_the_longest_chain_goes_first(queue: Queue) -> None:
    """One-shot with the equal budget, and the first iterative step, precede short one-shot runs."""
    _, job_plan = submit(queue)
    order = claims(queue, "baseline")
    strategies = {model.key: model.strategy for model in job_plan.models}
    assert {strategies[key] for key in order[:2]} == {"iterative", "one_shot_equal_budget"}
    assert [strategies[key] for key in order[2:]] == ["one_shot"] * 2
    urgencies = {stage.key: stage.urgency for stage in job_plan.stages}
    assert [urgencies[key] for key in order] == [10, 10, 2, 2]


def test_the_older_job_goes_before_longer_ones(queue: Queue) -> None:
    short = replace(SMALL, iterative=replace(SMALL.iterative, enabled=False))
    _, job_plan = submit(queue, short)
    long = replace(SMALL, data=replace(SMALL.data, split_seed=1), baseline_epochs=99)
    submit(queue, long)
    first = queue.claim("t", 2)
    assert first is not None
    assert first.key in {stage.key for stage in job_plan.stages}


def test_without_a_free_gpu_only_cpu_stages_are_claimed(queue: Queue) -> None:
    job_plan = plan(SMALL, Facts(SMALL))
    stages = [
        replace(stage, settings={**stage.settings, "device": device}, parent="")
        for stage in job_plan.stages
        if stage.kind == "pruned"
        for device in ("cuda", "cpu")
    ]
    queue.add(stages)
    devices = []
    while row := queue.claim("t", 2, gpu=False):
        devices.append(row.settings["device"])
    assert devices == ["cpu"] * (len(stages) // 2)
    assert queue.claim("t", 2) is not None


def inspection(width: float) -> Stage:
    """The inspection of a model with this width multiplier."""
    return inspect_model(replace(QUICKSTART, model=replace(QUICKSTART.model, width=width)), 10)


def test_a_stage_that_was_added_does_not_end_with_a_request(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, after = inspection(0.5), inspection(0.75)
    queue.request([before])
    queue.add([before, after])
    queue.request([after])
    now = time.time()
    monkeypatch.setattr(stage_queue.time, "time", lambda: now + stage_queue.REQUEST_SECONDS + 1)
    assert queue.drop_requests() == []


def test_a_request_that_is_not_renewed_ends(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page that waited is closed; a stage that a job wants does not end with the request."""
    left, renewed, wanted = (
        inspection(0.5),
        inspection(0.75),
        inspect_data(QUICKSTART, Facts(QUICKSTART)),
    )
    queue.request([left, renewed, wanted])
    queue.expand(queue.submit(QUICKSTART, "run"), plan(QUICKSTART, Facts(QUICKSTART)), ())
    assert queue.drop_requests() == []
    now = time.time()
    monkeypatch.setattr(stage_queue.time, "time", lambda: now + stage_queue.REQUEST_SECONDS + 1)
    queue.request([renewed])
    assert queue.drop_requests() == [left.key]
    states = [row.status for s in (left, renewed, wanted) if (row := queue.stage(s.key))]
    assert states == ["cancelled", "queued", "queued"]
    queue.request([left])
    assert queue.drop_requests() == []
    assert queue.claim("t", 2, ["inspect_model"])


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
