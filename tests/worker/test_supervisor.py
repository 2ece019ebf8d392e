"""The supervisor's decisions, in this process and without any training."""

from __future__ import annotations

import logging
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pruning_core.common import machine
from pruning_core.common.paths import Cache
from pruning_core.engine import stages
from pruning_core.planning.plan import plan
from pruning_core.settings.spec import Spec
from pruning_core.storage import database
from pruning_core.storage.job_progress import job_progress
from pruning_core.storage.jobs import Queue
from pruning_core.storage.store import Store
from pruning_core.worker import supervisor
from pruning_core.worker.execute import execute
from pruning_core.worker.processes import StageProcess, start_stage_process
from pruning_core.worker.supervisor import Supervisor
from tests.helpers.inspections import DATA, MODEL, Facts
from tests.helpers.workers import TINY


@pytest.fixture
def boss(cache: Cache) -> Supervisor:
    return Supervisor(cache, idle_seconds=0.0, cores=1)


@pytest.fixture
def inspected(cache: Cache) -> None:
    """A store in which the inspections of `TINY` stand."""
    for stage in plan(TINY, Facts(TINY)).stages:
        if stage.kind.startswith("inspect"):
            found = DATA if stage.kind == "inspect_dataset" else MODEL
            put(cache, stage.key, stage.kind, found)


def put(cache: Cache, key: str, kind: str, found: object) -> None:
    store = Store(cache)
    with store.building(key) as folder:
        store.publish(key, folder, kind=kind, parent="", settings={}, result=found)


@pytest.fixture
def stuck() -> Iterator[subprocess.Popen[str]]:
    """A process in one long call, in which Python itself stands still."""
    script = "import re; re.match('(a+)+$', 64 * 'a' + 'b')"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, text=True) as made:
        yield made
        made.kill()


def test_a_job_that_runs_again_is_planned_before_its_levels_are_done(
    queue: Queue, boss: Supervisor, inspected: None
) -> None:
    """Else it would be called a plan, at 0 %, until its last stage."""
    job = queue.submit(TINY, "run")
    boss._plan_jobs()
    queue.cancel(job)
    queue.submit(TINY, "run")
    boss._plan_jobs()
    assert job_progress(queue, job).state == "queued"


def test_cancel_ends_a_process_that_cannot_listen(
    queue: Queue, boss: Supervisor, inspected: None, stuck: subprocess.Popen[str]
) -> None:
    job = queue.submit(TINY, "run")
    boss._plan_jobs()
    row = queue.claim("t", 8)
    assert row is not None
    boss.hands = [StageProcess(stuck, row)]
    part = boss.cache.building / f"{row.key}.{stuck.pid}.half"
    part.mkdir()
    boss.step()
    assert stuck.poll() is None
    queue.cancel(job)
    boss.step()
    assert stuck.poll() == -9
    assert not part.exists()
    now = queue.stage(row.key)
    assert now is not None
    assert now.status == "cancelled"


def test_another_worker_s_half_built_stage_is_left_alone(
    queue: Queue, boss: Supervisor, inspected: None, stuck: subprocess.Popen[str]
) -> None:
    """This worker slept for long; another has taken its stage and builds it again."""
    queue.submit(TINY, "run")
    boss._plan_jobs()
    row = queue.claim("mine", 8)
    assert row is not None
    boss.hands = [StageProcess(stuck, row)]
    queue.release(row.key, "mine")
    assert queue.claim("theirs", 8)
    with boss.store.building(row.key) as theirs:
        boss.step()
        assert stuck.poll() == -9
        assert theirs.is_dir()


def test_a_job_that_cannot_be_planned_does_not_stop_the_others(
    queue: Queue, boss: Supervisor, inspected: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = queue.submit(Spec(seeds=(7,)), "bad")
    good = queue.submit(TINY, "good")

    def fragile(spec: Spec, store: Store) -> object:
        if spec.seeds == (7,):
            raise KeyError("flip")
        return plan(spec, store)

    monkeypatch.setattr(supervisor, "plan", fragile)
    boss._plan_jobs()
    assert job_progress(queue, bad).state == "refused"
    assert "KeyError: 'flip'" in job_progress(queue, bad).job.error
    assert job_progress(queue, good).state == "queued"


def test_a_job_that_comes_while_the_worker_leaves_is_not_left_alone(
    queue: Queue, boss: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever submitted it saw a worker and started none."""
    served: list[bool] = []

    def serve() -> None:
        served.append(boss.queue.busy())
        boss.stopping = len(served) == 2

    def submitted_late(token: str) -> None:
        if len(served) == 1:
            queue.submit(TINY, "late")
        type(boss.crew).dismiss(boss.crew, token)

    monkeypatch.setattr(supervisor.signal, "signal", lambda *_: None)
    monkeypatch.setattr(boss, "_serve", serve)
    monkeypatch.setattr(boss.crew, "dismiss", submitted_late)
    assert boss.run()
    assert served == [False, True]
    assert boss.crew.worker() is None


def test_the_worker_beats_while_it_plans(
    queue: Queue, boss: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder of a million images is looked through for longer than a heart may pause."""
    beaten = threading.Event()
    beat = boss.crew.worker_beat

    def told(token: str) -> bool:
        beaten.set()
        return beat(token)

    monkeypatch.setattr(boss.crew, "worker_beat", told)
    monkeypatch.setattr(supervisor, "BEAT_SECONDS", 0.01)
    monkeypatch.setattr(boss, "_plan_jobs", lambda: beaten.wait(60))
    assert boss._enlist()
    boss.slow_step()
    boss._leave()
    assert beaten.is_set()


def test_new_code_keeps_the_cores_it_was_given(
    boss: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[list[str]] = []
    monkeypatch.setattr(supervisor.os, "execv", lambda _, line: called.append(line))
    monkeypatch.setattr(supervisor.os, "chdir", lambda _: None)
    boss._replace()
    (line,) = called
    assert line[line.index("--cores") + 1] == "1"


def test_a_queue_that_is_locked_for_a_while_is_said_and_waited_for(
    queue: Queue,
    boss: Supervisor,
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
        boss.stopping = job_progress(queue, job).state == "queued"

    monkeypatch.setattr(supervisor.time, "sleep", freed)
    monkeypatch.setattr(boss, "_assign", lambda: None)
    boss.idle_seconds = 600.0
    boss._serve()
    assert "cannot be used now (database is locked)" in caplog.text
    assert job_progress(queue, job).state == "queued"


def test_a_stage_that_is_done_while_the_queue_is_locked_is_not_lost(
    cache: Cache, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was published: it did not fail, and is not run again."""
    queue.submit(TINY, "run")
    Supervisor(cache)._plan_jobs()
    row = queue.claim("t", 8)
    assert row is not None
    other = sqlite3.connect(queue.path, isolation_level=None)
    runs = []

    def last(context: object) -> dict[str, object]:
        runs.append(context)
        other.execute("BEGIN IMMEDIATE")
        return dict(DATA)

    monkeypatch.setitem(stages.RUNNERS, row.kind, last)
    monkeypatch.setattr(database, "LOCK_SECONDS", 0.01)
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        execute(cache, queue, row, lost=lambda: None)
    other.close()
    queue.release(row.key, "t", "Its process ended with exit code 1.")
    again = queue.claim("u", 8)
    assert again is not None
    execute(cache, queue, again, lost=lambda: None)
    done = queue.stage(row.key)
    assert done is not None
    assert (done.status, len(runs)) == ("done", 1)


def test_a_damaged_entry_is_logged_and_made_anew(
    cache: Cache, queue: Queue, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    queue.submit(TINY, "run")
    Supervisor(cache)._plan_jobs()
    row = queue.claim("t", 8)
    assert row is not None
    put(cache, row.key, row.kind, {})
    (cache.stage(row.key) / "manifest.json").write_text("{}")
    monkeypatch.setitem(stages.RUNNERS, row.kind, lambda context: dict(DATA))
    with caplog.at_level(logging.WARNING):
        execute(cache, queue, row, lost=lambda: None)
    assert "is set aside" in caplog.text
    assert Store(cache).read(row.key) == DATA
    assert list(cache.damaged.iterdir())


def test_a_stage_whose_supervisor_died_before_it_began_is_given_back(
    cache: Cache, queue: Queue, boss: Supervisor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The order was in the pipe when the supervisor was killed: its parent is another process."""
    queue.submit(TINY, "run")
    boss._plan_jobs()
    row = queue.claim("t", 8)
    assert row is not None
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: dead.pid)
        hand = start_stage_process(cache)
    hand.give(row)
    assert hand.process.stdin is not None
    hand.process.stdin.close()
    assert hand.process.wait() == 3
    assert "The worker has ended" in cache.log(row.key).read_text()
    now = queue.stage(row.key)
    assert now is not None
    assert (now.status, now.attempts) == ("queued", 0)


class Waiting:
    """A process that does nothing and can be asked for its id."""

    def __init__(self, pid: int) -> None:
        self.pid = pid


def hand(pid: int, device: str = "", gpu: int = 0, queue: Queue | None = None) -> StageProcess:
    row = None
    if device and queue:
        level = next(stage for stage in plan(TINY, Facts(TINY)).stages if stage.kind == "pruned")
        settings = {**level.settings, "device": device, "for": pid}
        queue.add([replace(level, settings=settings, parent="")])
        row = queue.claim(str(pid), 8)
    return StageProcess(Waiting(pid), row, gpu)  # type: ignore[arg-type]


def test_each_gpu_has_one_stage(
    queue: Queue, boss: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    boss.gpus = 2
    monkeypatch.setattr(supervisor, "start", lambda cache, gpu: StageProcess(Waiting(9), gpu=gpu))  # type: ignore[arg-type]
    boss.hands = [hand(1, "cuda", 0, queue), hand(2)]
    on_gpu = hand(3, "cuda", 1, queue).row
    assert on_gpu is not None
    assert boss._hand_for(on_gpu).gpu == 1
    boss.hands[-1].row = on_gpu
    assert boss._free_gpus() == []
    on_cpu = hand(4, "cpu", 0, queue).row
    assert on_cpu is not None
    assert boss._hand_for(on_cpu).process.pid == 2


def test_no_stage_starts_where_memory_is_short_and_the_log_says_so_once(
    queue: Queue,
    boss: Supervisor,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    boss.hands = [hand(os.getpid(), "cpu", 0, queue)]
    monkeypatch.setattr(supervisor, "free_bytes", lambda: 10**6)
    assert not boss._has_memory()
    assert not boss._has_memory()
    assert caplog.text.count("run side by side and no more") == 1
    held = dict.fromkeys((os.getpid(), 2), 2**31)
    monkeypatch.setattr(machine, "peak_bytes", held.__getitem__)
    boss.hands.append(hand(2))
    assert boss._has_memory(), "what a waiting process holds is room"
    boss.hands = []
    assert boss._has_memory()
