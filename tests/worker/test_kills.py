"""Processes killed during each kind of training, and during a call that never ends."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from pruning_core.common.paths import Cache
from pruning_core.settings.pruning import PruningSpec
from pruning_core.settings.recovery import RecoverySpec
from pruning_core.settings.strategies import IterativeSpec, OneShotSpec
from pruning_core.settings.training import TrainSpec
from pruning_core.storage.database import pid_exists
from pruning_core.storage.job_progress import job_progress
from pruning_core.storage.jobs import Queue
from pruning_core.storage.stage_queue import Row
from tests.helpers.workers import (
    ROOT,
    TINY,
    bits,
    copy_stages,
    end_of,
    reference_bits,
    until,
    worker,
)

# One learning-rate schedule and one state of AdamW span both pruning steps, with distillation from
# the baseline. Each step uses the movement scores of the training before it.
CHAIN = replace(
    TINY,
    baseline_epochs=5,
    one_shot=OneShotSpec(amounts=()),
    iterative=IterativeSpec(target=0.8, iterations=2, epochs=5, equal_budget=False),
    finetune=TrainSpec("adamw", lr=0.001, batch_size=32, label_smoothing=0.1, warmup=0.1),
    recovery=RecoverySpec(distillation_weight=0.5),
    pruning=PruningSpec(criterion="movement"),
    lr_schedule_span="pruning",
)
STUCK = """
import sys
if "pruning_core.worker.stage_process" in sys.orig_argv:
    import re
    from pruning_core.worker import execute
    runner_of = execute.runner_of
    def stuck(context):
        (context.folder / "stuck").touch()
        re.match("(a+)+$", 64 * "a" + "b")
    execute.runner_of = lambda kind: stuck if kind == "inspect_dataset" else runner_of(kind)
"""


def training(cache: Cache, job: str, done: set[str]) -> Row | None:
    """A running stage that has saved an epoch and was not killed before."""
    for row in Queue(cache.queue).stages_of(job):
        fresh = row.status == "running" and row.pid and row.key not in done
        if fresh and cache.checkpoint(row.key).is_file():
            return row
    return None


def test_every_training_of_a_run_is_killed_once_and_ends_with_the_same_bits(
    cache: Cache, queue: Queue, tmp_path: Path
) -> None:
    """The baseline and two pruning steps, of which the second continues the first one's AdamW.

    The movement scores that the first two accumulate for the next step are among the bits.
    """
    undisturbed, trainings = reference_bits(tmp_path / "undisturbed", CHAIN), ("baseline", "pruned")
    copy_stages(CHAIN, cache, without=trainings)
    job, done = queue.submit(CHAIN, "killed"), set[str]()
    with worker(cache):
        for _ in range(3):
            row = until(lambda: training(cache, job, done), "an epoch")
            os.kill(row.pid or 0, signal.SIGKILL)
            done.add(row.key)
        assert end_of(queue, job).state == "done"
    for key in done:
        assert "after epoch" in cache.log(key).read_text()
    assert bits(cache, CHAIN) == undisturbed


def test_cancel_ends_a_stage_during_a_call_that_never_ends(
    cache: Cache, queue: Queue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A regular expression blocks Python: neither the stage nor its heartbeat can respond."""
    (tmp_path / "sitecustomize.py").write_text(STUCK)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{ROOT}")
    job = queue.submit(TINY, "stuck")
    with worker(cache, "--cores", "1") as process:
        until(lambda: list(cache.building.glob("*/stuck")), "the call")
        pid = next(row.pid for row in queue.stages_of(job)) or 0
        assert pid_exists(pid)
        queue.cancel(job)
        until(lambda: not pid_exists(pid) or None, "the end of the process")
        assert process.poll() is None
    assert job_progress(queue, job).state == "cancelled"
    assert {row.status for row in queue.stages_of(job)} == {"cancelled"}
    assert not list(cache.building.iterdir())
