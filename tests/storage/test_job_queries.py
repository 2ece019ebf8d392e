"""The lists of jobs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pruning_core.planning.presets import QUICKSTART
from pruning_core.planning.stage import Plan, Stage
from pruning_core.storage.job_progress import job_progress
from pruning_core.storage.jobs import Queue
from tests.helpers.queues import claim, submit


@pytest.mark.parametrize("start", ["zz", "%", "_"])
def test_an_unknown_job(queue: Queue, start: str) -> None:
    assert queue.job(start) is None


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
