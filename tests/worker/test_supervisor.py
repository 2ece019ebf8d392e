"""The decisions of the supervisor, in this process and without training."""

from __future__ import annotations

import io
import logging
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace

import pytest

from pruning_core.common import machine
from pruning_core.common.errors import Share, SpecError
from pruning_core.common.paths import Cache
from pruning_core.planning.inspections import inspect_data, inspect_model
from pruning_core.planning.plan import plan
from pruning_core.planning.stage import Plan
from pruning_core.settings.spec import Spec
from pruning_core.storage import database
from pruning_core.storage.job_progress import job_progress
from pruning_core.storage.jobs import Queue
from pruning_core.storage.store import Store
from pruning_core.worker import supervisor
from pruning_core.worker.processes import StageProcess
from pruning_core.worker.supervisor import Supervisor
from tests.helpers.inspections import Facts
from tests.helpers.workers import TINY


@pytest.fixture
def stuck() -> Iterator[subprocess.Popen[str]]:
    """A process in one long call that blocks Python."""
    script = "import re; re.match('(a+)+$', 64 * 'a' + 'b')"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.kill()


def test_a_job_that_runs_again_is_planned_before_its_training_is_done(
    queue: Queue, worker: Supervisor, inspected: None
) -> None:
    """Else its state would be planning, at 0 %, until its last stage."""
    job = queue.submit(TINY, "run")
    worker._plan_jobs()
    queue.cancel(job)
    queue.submit(TINY, "run")
    worker._plan_jobs()
    assert job_progress(queue, job).state == "queued"


def test_cancel_ends_a_process_that_does_not_respond(
    queue: Queue, worker: Supervisor, inspected: None, stuck: subprocess.Popen[str]
) -> None:
    job = queue.submit(TINY, "run")
    worker._plan_jobs()
    row = queue.claim("t", 8)
    assert row is not None
    worker.processes = [StageProcess(stuck, row)]
    part = worker.cache.building / f"{row.key}.{stuck.pid}.half"
    part.mkdir()
    worker.step()
    assert stuck.poll() is None
    queue.cancel(job)
    worker.step()
    assert stuck.poll() == -9
    assert not part.exists()
    now = queue.stage(row.key)
    assert now is not None
    assert now.status == "cancelled"


def test_the_unfinished_stage_of_another_worker_is_kept(
    queue: Queue, worker: Supervisor, inspected: None, stuck: subprocess.Popen[str]
) -> None:
    """This worker was suspended; another has claimed its stage and builds it again."""
    queue.submit(TINY, "run")
    worker._plan_jobs()
    row = queue.claim("mine", 8)
    assert row is not None
    worker.processes = [StageProcess(stuck, row)]
    queue.release(row.key, "mine")
    assert queue.claim("theirs", 8)
    with worker.store.building(row.key) as theirs:
        worker.step()
        assert stuck.poll() == -9
        assert theirs.is_dir()


@pytest.mark.parametrize("cores", [1, 2])
def test_at_most_one_inspection_runs_beside_the_stages_of_the_cores(
    cache: Cache, queue: Queue, inspected: None, monkeypatch: pytest.MonkeyPatch, cores: int
) -> None:
    """However many inspections the pages have requested."""
    worker = Supervisor(cache, cores=cores)
    many = replace(TINY, one_shot=replace(TINY.one_shot, amounts=(0.1, 0.2, 0.3, 0.4)))
    models = [replace(TINY, model=replace(TINY.model, width=0.1 + n / 100)) for n in range(40)]
    queue.request([inspect_model(spec, 10) for spec in models])
    job = queue.submit(many, "run")
    worker._plan_jobs()
    while row := queue.claim("t", 2, ["dataset", "baseline"]):
        queue.finish(row.key, "t")

    def idle_process(cache: Cache, cores: int, gpu: int = 0) -> StageProcess:
        return StageProcess(SimpleNamespace(pid=0, stdin=io.StringIO()))  # type: ignore[arg-type]

    monkeypatch.setattr(supervisor, "start_stage_process", idle_process)
    monkeypatch.setattr(supervisor, "room_for_another", lambda *_: True)
    beside = []
    for _ in range(len(queue.stages_of(job))):
        worker._assign()
        kinds = [process.row.kind for process in worker.processes if process.row]
        beside.append(kinds.count("pruned"))
        assert kinds.count("inspect_model") == 1
        assert len(worker.processes) <= cores + 1
        for process in worker.processes:
            if process.row:
                queue.finish(process.row.key, process.row.token or "")
                process.row = None
    assert max(beside) == cores
    assert sum(beside) == 4 + 1 + 2  # one-shot, equal budget, iterative


def test_a_job_that_cannot_be_planned_does_not_stop_the_others(
    queue: Queue, worker: Supervisor, inspected: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = queue.submit(Spec(seeds=(7,)), "bad")
    good = queue.submit(TINY, "good")

    def fragile(spec: Spec, store: Store) -> object:
        if spec.seeds == (7,):
            raise KeyError("flip")
        return plan(spec, store)

    monkeypatch.setattr(supervisor, "plan", fragile)
    worker._plan_jobs()
    assert job_progress(queue, bad).state == "refused"
    assert "KeyError: 'flip'" in job_progress(queue, bad).job.error
    assert job_progress(queue, good).state == "queued"


REFUSAL = SpecError("one_shot.amounts", "{value} is too much.", value=Share(0.5))
SENTENCE = "--amounts: 0.5 is too much."


def test_a_refused_job_is_logged_in_a_sentence(
    queue: Queue,
    worker: Supervisor,
    inspected: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The queue holds the values of the error, so that a page can write them in its own way."""

    def refuse(spec: Spec, store: Store) -> Plan:
        raise REFUSAL

    monkeypatch.setattr(supervisor, "plan", refuse)
    job = queue.submit(TINY, "run")
    with caplog.at_level(logging.INFO):
        worker._plan_jobs()
    refused = job_progress(queue, job).job
    assert (refused.status, refused.field) == ("refused", "one_shot.amounts")
    assert SpecError.from_json(refused.field, refused.error).values == REFUSAL.values
    assert caplog.messages == [f"Job {job} is refused: {SENTENCE}"]


def test_a_job_submitted_during_the_shutdown_is_served(
    queue: Queue, worker: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The submitter saw a worker and started none."""
    served: list[bool] = []

    def serve() -> None:
        served.append(worker.queue.busy())
        worker.stopping = len(served) == 2

    def submitted_late(token: str) -> None:
        if len(served) == 1:
            queue.submit(TINY, "late")
        type(worker.record).unregister(worker.record, token)

    monkeypatch.setattr(supervisor.signal, "signal", lambda *_: None)
    monkeypatch.setattr(worker, "_serve", serve)
    monkeypatch.setattr(worker.record, "unregister", submitted_late)
    assert worker.run()
    assert served == [False, True]
    assert worker.record.current() is None


def test_the_worker_beats_while_it_plans(
    queue: Queue, worker: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading a folder of a million images takes longer than a heartbeat may be delayed."""
    beaten = threading.Event()
    beat = worker.record.beat

    def observed(token: str) -> bool:
        beaten.set()
        return beat(token)

    monkeypatch.setattr(worker.record, "beat", observed)
    monkeypatch.setattr(supervisor, "BEAT_SECONDS", 0.01)
    monkeypatch.setattr(worker, "_plan_jobs", lambda: beaten.wait(60))
    assert worker._register()
    worker.slow_step()
    worker._shut_down()
    assert beaten.is_set()


def test_a_restart_keeps_the_given_cores(
    worker: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[list[str]] = []
    monkeypatch.setattr(supervisor.os, "execv", lambda _, line: called.append(line))
    monkeypatch.setattr(supervisor.os, "chdir", lambda _: None)
    worker._restart()
    (line,) = called
    assert line[line.index("--cores") + 1] == "1"


def test_a_locked_queue_is_logged_and_waited_for(
    queue: Queue,
    worker: Supervisor,
    inspected: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    job = queue.submit(TINY, "run")
    monkeypatch.setattr(database, "LOCK_SECONDS", 0.01)
    other = sqlite3.connect(queue.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    def freed(_: float) -> None:
        other.close()
        worker.stopping = job_progress(queue, job).state == "queued"

    monkeypatch.setattr(supervisor.time, "sleep", freed)
    monkeypatch.setattr(worker, "_assign", lambda: None)
    worker.idle_seconds = 600.0
    worker._serve()
    assert "cannot be used (database is locked)" in caplog.text
    assert job_progress(queue, job).state == "queued"


@pytest.mark.parametrize("ready", [False, True])
def test_a_waiting_process_with_much_memory_ends_where_no_stage_could_start(
    queue: Queue, worker: Supervisor, monkeypatch: pytest.MonkeyPatch, ready: bool
) -> None:
    """Also beside a stage that runs for hours."""
    held = {1: supervisor.KEPT_BYTES + 1, 2: supervisor.KEPT_BYTES, 3: 2 * supervisor.KEPT_BYTES}
    monkeypatch.setattr(supervisor, "held_bytes", held.__getitem__)
    ended: list[int] = []
    monkeypatch.setattr(StageProcess, "end", lambda self: ended.append(self.popen.pid))
    worker.processes = [stage_process(1), stage_process(2), stage_process(3, "cpu", 0, queue)]
    if ready:
        queue.add([inspect_data(TINY, Facts(TINY))])
    worker.slow_step()
    assert ended == ([] if ready else [1])
    assert [p.popen.pid for p in worker.processes] == ([1, 2, 3] if ready else [2, 3])


class Waiting:
    """A process that does nothing and has an id."""

    def __init__(self, pid: int) -> None:
        self.pid = pid


def stage_process(
    pid: int, device: str = "", gpu: int = 0, queue: Queue | None = None
) -> StageProcess:
    row = None
    if device and queue:
        pruned = next(stage for stage in plan(TINY, Facts(TINY)).stages if stage.kind == "pruned")
        settings = {**pruned.settings, "device": device, "for": pid}
        queue.add([replace(pruned, settings=settings, parent="")])
        row = queue.claim(str(pid), 8)
    return StageProcess(Waiting(pid), row, gpu)  # type: ignore[arg-type]


def test_each_gpu_has_one_stage(
    queue: Queue, worker: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker.gpus = 2
    monkeypatch.setattr(
        supervisor, "start_stage_process", lambda cache, cores, gpu: stage_process(9, gpu=gpu)
    )
    worker.processes = [stage_process(1, "cuda", 0, queue), stage_process(2)]
    on_gpu = stage_process(3, "cuda", 1, queue).row
    assert on_gpu is not None
    assert worker._process_for(on_gpu).gpu == 1
    worker.processes[-1].row = on_gpu
    assert worker._free_gpus() == []
    on_cpu = stage_process(4, "cpu", 0, queue).row
    assert on_cpu is not None
    assert worker._process_for(on_cpu).popen.pid == 2


def test_no_stage_starts_without_free_memory_and_that_is_logged_once(
    queue: Queue,
    worker: Supervisor,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    worker.processes = [stage_process(os.getpid(), "cpu", 0, queue)]
    monkeypatch.setattr(supervisor, "free_bytes", lambda: 10**6)
    assert not worker._has_memory()
    assert not worker._has_memory()
    assert caplog.text.count("No further stage starts (1 running)") == 1
    held = dict.fromkeys((os.getpid(), 2), 2**31)
    monkeypatch.setattr(machine, "peak_bytes", held.__getitem__)
    worker.processes.append(stage_process(2))
    assert worker._has_memory(), "the memory of an idle process counts as free"
    worker.processes = []
    assert worker._has_memory()


def test_the_log_of_the_queue_stays_open_while_the_worker_lives(
    worker: Supervisor, queue: Queue
) -> None:
    """Else each write of a page copies it into the file, which takes ten times as long."""
    log = queue.path.with_name(f"{queue.path.name}-wal")
    assert worker._register()
    queue.submit(TINY, "run")
    assert log.exists()
    worker._shut_down()
    queue.submit(TINY, "run")
    assert not log.exists()
