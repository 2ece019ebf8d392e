"""Real worker processes: killed, cancelled, two at once, and with damaged results."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pruning_core.common.errors import SpecError
from pruning_core.common.paths import Cache
from pruning_core.storage.job_progress import job_progress
from pruning_core.storage.jobs import Queue
from pruning_core.storage.stage_queue import Row
from pruning_core.storage.store import Store
from pruning_core.storage.worker_record import WorkerRecord
from pruning_core.worker.processes import describe_exit
from tests.helpers.workers import (
    LONG,
    ROOT,
    TINY,
    bits,
    copy_stages,
    end_of,
    planned,
    reference_bits,
    run,
    serve,
    until,
    worker,
)


def training(queue: Queue, job: str, kind: str, epochs: float) -> Row | None:
    """The job's running stage of a kind once it is past so many epochs."""
    for row in queue.stages_of(job):
        if row.kind == kind and row.status == "running" and row.pid:
            done = row.progress.get("fraction", 0.0) * row.settings["epochs"]
            if done > epochs:
                return row
    return None


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    return reference_bits(tmp_path_factory.mktemp("undisturbed"), LONG)


def test_a_killed_stage_continues_and_ends_with_the_same_bits(
    cache: Cache, queue: Queue, undisturbed: dict[str, object]
) -> None:
    copy_stages(LONG, cache, without=("pruned",))
    job = queue.submit(LONG, "killed")
    with worker(cache):
        row = until(lambda: training(queue, job, "pruned", 2.2), "the third epoch")
        os.kill(row.pid or 0, signal.SIGKILL)
        assert end_of(queue, job).state == "done"
    assert "after epoch" in cache.log(row.key).read_text()
    assert bits(cache, LONG) == undisturbed


def test_the_stage_of_a_killed_worker_continues_under_the_next_one(
    cache: Cache, queue: Queue, undisturbed: dict[str, object]
) -> None:
    copy_stages(LONG, cache, without=("pruned",))
    job = queue.submit(LONG, "orphaned")
    with worker(cache, "--cores", "1") as first:
        row = until(lambda: training(queue, job, "pruned", 2.2), "the third epoch")
        first.kill()
        first.wait()
    with worker(cache, "--cores", "1"):
        assert end_of(queue, job).state == "done"
    assert "after epoch" in cache.log(row.key).read_text()
    assert bits(cache, LONG) == undisturbed


def test_every_stage_runs_once_under_two_workers(
    cache: Cache, queue: Queue, tmp_path: Path
) -> None:
    """Stages that run at once have the same bits as stages that run one after another."""
    job = queue.submit(TINY, "twice")
    assert queue.submit(TINY, "twice") == job
    with worker(cache, "--cores", "2"), worker(cache, "--cores", "2"):
        progress = end_of(queue, job)
    assert progress.state == "done"
    assert {row.attempts for row in progress.rows} == {1}
    assert bits(cache, TINY) == reference_bits(tmp_path / "one_by_one", TINY)


def test_cancel_ends_the_process_in_mid_stage(
    cache: Cache, queue: Queue, undisturbed: dict[str, object]
) -> None:
    copy_stages(LONG, cache, without=("pruned",))
    job = queue.submit(LONG, "cancelled")
    with worker(cache, "--cores", "1"):
        row = until(lambda: training(queue, job, "pruned", 0.1), "the training")
        queue.cancel(job)
        pid = row.pid or 0
        until(lambda: not os.path.exists(f"/proc/{pid}") or None, "the end of the process")
        progress = job_progress(queue, job)
    assert progress.state == "cancelled"
    states = {row.kind: row.status for row in progress.rows}
    assert states["baseline"] == "done"
    assert states["pruned"] == "cancelled"


def test_a_damaged_baseline_is_trained_again(cache: Cache, undisturbed: dict[str, object]) -> None:
    """A stage with a damaged parent has the parent computed again, with the same bits.

    The baseline trains with two replicas on one core, so it runs alone.
    """
    copy_stages(LONG, cache, without=())
    base = next(p.key for p in planned(cache, LONG).models if p.strategy == "baseline")
    path = cache.stage(base) / "model.sparse"
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    once = replace(LONG, one_shot=replace(LONG.one_shot, epochs=1))
    assert run(cache, once, "--cores", "1").state == "done"
    assert list(cache.damaged.iterdir())
    assert Store(cache).verify(base)
    assert path.read_bytes() == content


def test_a_wrong_model_is_refused_with_a_sentence(cache: Cache, queue: Queue) -> None:
    """The stages run in this process: no other one is needed to refuse a job."""
    wrong = replace(TINY, model=replace(TINY.model, name="mobilenet_v9", width=1.0))
    job = queue.submit(wrong, "wrong")
    serve(cache)
    progress = job_progress(queue, job)
    assert progress.state == "refused"
    assert progress.job.field == "model.name"
    assert "mobilenet_v2" in SpecError.from_json(progress.job.field, progress.job.error).message


def test_an_idle_worker_exits(cache: Cache) -> None:
    command = [sys.executable, "-m", "pruning_core", "worker", "--cache-dir", str(cache.root)]
    subprocess.run([*command, "--idle-seconds", "0.2"], cwd=ROOT, check=True, timeout=60)
    assert WorkerRecord(cache.queue).current() is None


@pytest.mark.parametrize(("code", "words"), [(1, "exit code 1"), (-9, "SIGKILL"), (-11, "SIGSEGV")])
def test_an_exit_code_in_words(code: int, words: str) -> None:
    assert words in describe_exit(code)


def test_new_code_on_disk_replaces_the_worker(cache: Cache, tmp_path: Path) -> None:
    source = tmp_path / "source"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "pruning_core", source / "pruning_core", ignore=ignored)
    record = WorkerRecord(cache.queue)
    command = [sys.executable, "-m", "pruning_core", "worker", "--cache-dir", str(cache.root)]
    process = subprocess.Popen(command, cwd=source)
    try:
        before = until(record.current, "the worker")["code"]
        with (source / "pruning_core" / "common" / "formatting.py").open("a") as file:
            file.write("# changed\n")

        def replaced() -> bool | None:
            now = record.current()
            return (now is not None and now["code"] != before) or None

        assert until(replaced, "the new worker")
    finally:
        process.terminate()
        process.wait()
