"""Worker processes in tests: start one, wait for it, end it by its process id."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from pruning_core.common.paths import Cache
from pruning_core.planning.plan import plan
from pruning_core.planning.stage import Plan
from pruning_core.planning.stage_kinds import INSPECTIONS, STAGE_KINDS
from pruning_core.settings.data import DataSpec, ModelSpec
from pruning_core.settings.spec import Spec
from pruning_core.settings.strategies import IterativeSpec, OneShotSpec
from pruning_core.settings.training import TrainSpec
from pruning_core.storage.database import pid_exists
from pruning_core.storage.job_progress import ACTIVE, JobProgress, job_progress
from pruning_core.storage.jobs import Queue
from pruning_core.storage.stage_queue import Row
from pruning_core.storage.store import Store
from pruning_core.storage.worker_record import WorkerRecord
from pruning_core.worker.execute import execute
from pruning_core.worker.supervisor import ANY_THREADS, Supervisor
from tests.helpers.project import ROOT

LIMIT_SECONDS = 600.0
SHARED_VARIABLE = "PRUNING_LAB_TEST_STAGES"
Value = TypeVar("Value")

TINY = Spec(
    data=DataSpec(train_size=240, test_size=100),
    model=ModelSpec(width=0.35),
    baseline=TrainSpec(lr=0.05, lr_schedule="one_cycle", batch_size=32),
    baseline_epochs=2,
    one_shot=OneShotSpec(amounts=(0.0, 0.5), epochs=1),
    iterative=IterativeSpec(target=0.8, iterations=2, epochs=1),
    finetune=TrainSpec(batch_size=32),
    baseline_replicas=1,  # tests run in parallel, on few cores
)
TINY_OPTIONS = (
    *("--train-size", "240", "--test-size", "100", "--width", "0.35", "--batch-size", "32"),
    *("--baseline-replicas", "1"),
    *("--baseline-epochs", "1", "--epochs", "1", "--amounts", "0,0.5"),
    *("--target", "0.8", "--iterations", "2"),
)
ONE_CUT = replace(
    TINY,
    baseline_epochs=1,
    one_shot=OneShotSpec((0.9,), 0.5),
    iterative=IterativeSpec(enabled=False),
)
LONG = replace(
    TINY,
    one_shot=OneShotSpec(amounts=(0.5,), epochs=16),
    iterative=IterativeSpec(enabled=False),
    baseline_replicas=2,
)


def finished_run(
    folder: Path,
    spec: Spec = ONE_CUT,
    label: str = "A small run",
    shared: Container[str] = STAGE_KINDS,
) -> Cache:
    """A cache in `folder` with one finished job; for `shared` see `serve`."""
    cache = Cache(folder)
    cache.prepare()
    Queue(cache.queue).submit(spec, label)
    serve(cache, shared)
    return cache


def shared_stages() -> Cache:
    """The cache of stages that all tests of a session share, in both processes.

    A stage of the same key has the same bits, so a test takes it from here instead of computing it
    again. What a worker process does in a test is not taken from here.
    """
    return Cache(Path(os.environ[SHARED_VARIABLE]))


def reference_bits(folder: Path, spec: Spec) -> dict[str, object]:
    """The bits of a run whose stages ran one after another in the test's process."""
    return bits(finished_run(folder, spec), spec)


def copy_stages(spec: Spec, target: Cache, without: Container[str]) -> None:
    """Copy the stages of a finished run into another cache, without some kinds of stage.

    A worker of the other cache has only the stages of these kinds to run.
    """
    shared = shared_stages()
    finished = planned(shared, spec)
    assert finished.complete, "the run of this spec is not finished"
    for stage in finished.stages:
        if stage.kind not in without:
            copy_stage(stage.key, shared, target)


def copy_stage(key: str, source: Cache, target: Cache) -> None:
    """Copy a finished stage from one cache to another, unless it is missing or there already."""
    folder = target.stage(key)
    if folder.exists() or not source.stage(key).exists():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = folder.with_name(f"{folder.name}.{uuid.uuid4().hex}")
    shutil.copytree(source.stage(key), unfinished)
    with suppress(OSError):  # the other process was first
        unfinished.rename(folder)
    shutil.rmtree(unfinished, ignore_errors=True)


def until(look: Callable[[], Value | None], what: str) -> Value:
    """The first value of `look` that is not None or false; fails after ten minutes."""
    end = time.monotonic() + LIMIT_SECONDS
    while time.monotonic() < end:
        if value := look():
            return value
        time.sleep(0.05)
    raise AssertionError(f"timed out waiting for {what}")


def stop_worker(cache: Cache) -> None:
    """End the worker of a cache and wait until it is gone."""
    if alive := WorkerRecord(cache.queue).current():
        os.kill(alive["pid"], signal.SIGTERM)
        until(lambda: not pid_exists(alive["pid"]) or None, "the end of the worker")


def command(cache: Cache, name: str, *arguments: str) -> list[str]:
    """A command line of this project."""
    options = ["--cache-dir", str(cache.root), *arguments]
    return [sys.executable, "-m", "pruning_core", name, *options]


def call(cache: Cache, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command line to its end in a process of its own."""
    return subprocess.run(
        command(cache, name, *arguments), cwd=ROOT, capture_output=True, text=True
    )


@contextmanager
def worker(cache: Cache, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """A worker process of its own."""
    command = [sys.executable, "-m", "pruning_core", "worker", "--cache-dir", str(cache.root)]
    process = subprocess.Popen([*command, *options], cwd=ROOT)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def end_of(queue: Queue, job: str) -> JobProgress:
    """Where a job stands once it has ended."""

    def look() -> JobProgress | None:
        now = job_progress(queue, job)
        return now if now.state not in ACTIVE else None

    return until(look, f"the end of job {job}")


def run(cache: Cache, spec: Spec, *options: str) -> JobProgress:
    """Run a spec to its end with a worker of its own, which takes these options."""
    queue = Queue(cache.queue)
    job = queue.submit(spec, "test")
    with worker(cache, *options):
        return end_of(queue, job)


def serve(cache: Cache, shared: Container[str] = INSPECTIONS) -> None:
    """Run all queued stages in this process, without a worker.

    Stages of the `shared` kinds are computed once for all tests of a session.
    """
    supervisor, queue = Supervisor(cache), Queue(cache.queue)
    while True:
        supervisor._plan_jobs()
        row = queue.claim(uuid.uuid4().hex, ANY_THREADS)
        if row is None:
            return
        execute_here(cache, queue, row, shared)


def execute_here(cache: Cache, queue: Queue, row: Row, shared: Container[str]) -> None:
    """Execute a claimed stage in this process; see `serve`."""
    # The fingerprint of the user's files is not their content, and times differ each time.
    content = not {"fingerprint", "request"} & row.settings.keys()
    known = row.kind in shared and content and not STAGE_KINDS[row.kind].timed
    if known:
        copy_stage(row.key, shared_stages(), cache)
    execute(cache, queue, row, lost=lambda: None)
    if known:
        copy_stage(row.key, cache, shared_stages())


def planned(cache: Cache, spec: Spec) -> Plan:
    """The plan of a spec with the inspections in a cache."""
    return plan(spec, Store(cache))


def bits(cache: Cache, spec: Spec) -> dict[str, object]:
    """The results and files of a finished run, without times: equal for equal runs."""
    store, results = Store(cache), dict[str, object]()
    for model in planned(cache, spec).models:
        result = store.read(model.key)
        history = [{k: v for k, v in e.items() if k != "seconds"} for e in result["history"]]
        files = {
            path.name: path.read_bytes()
            for path in sorted(store.folder(model.key).iterdir())
            if path.name != "manifest.json"
        }
        results[model.key] = (result["correct"], result["loss"], history, files)
    return results
