"""The queue of stages: every stage runs once, and nothing is lost."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import replace

import pytest

from pruning_core.planning.inspections import inspect_data, inspect_model
from pruning_core.planning.plan import plan
from pruning_core.planning.presets import QUICKSTART
from pruning_core.planning.stage import Stage
from pruning_core.storage import stage_queue
from pruning_core.storage.job_progress import job_progress
from pruning_core.storage.jobs import Queue
from tests.helpers.inspections import Facts
from tests.helpers.queues import SMALL, claim, finish_until, submit


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


def test_a_stage_waits_for_all_stages_that_it_reads(queue: Queue) -> None:
    """The allocation by a budget reads the sensitivity analysis of every layer."""
    spec = replace(SMALL, pruning=replace(SMALL.pruning, allocation="budget"))
    job, planned = submit(queue, spec)
    sensitivity = {stage.key for stage in planned.stages if stage.kind == "sensitivity"}
    reading = {stage.key for stage in planned.stages if sensitivity <= set(stage.inputs)}
    assert sensitivity
    assert reading
    done: set[str] = set()
    while row := queue.claim("t", 2):
        assert row.key not in reading or sensitivity <= done
        done.add(row.key)
        if row.key in sensitivity and sensitivity <= done:
            queue.fail(row.key, "t", "no memory")
        else:
            queue.finish(row.key, "t")
    assert not reading & done
    assert reading <= job_progress(queue, job).skipped


def test_threads_are_respected_and_no_small_stage_overtakes_a_large_one(queue: Queue) -> None:
    wide = Stage("baseline", "", {"wide": True}, threads=2)
    queue.add([wide])
    queue.add([Stage("pruned", "", {"narrow": True}, threads=1)])
    assert queue.claim("t", 1) is None
    assert claim(queue) == wide.key
    row = queue.claim("t", 1)
    assert row is not None
    assert row.threads == 1


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


def test_a_stage_that_saves_epochs_may_be_interrupted_any_number_of_times(queue: Queue) -> None:
    submit(queue)
    for _ in range(3 * stage_queue.MAX_ATTEMPTS):
        key = claim(queue)
        queue.beat(key, "t", os.getpid(), {"published": 1})
        queue.release(key, "t", "Its process ended by the signal SIGKILL.")
    row = queue.stage(key)
    assert row is not None
    assert row.status == "queued"


def test_a_stage_lost_from_the_store_is_queued_again(queue: Queue) -> None:
    submit(queue)
    key = claim(queue)
    queue.finish(key, "t")
    queue.lost(key)
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
