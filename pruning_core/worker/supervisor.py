"""The worker: one supervisor, and one process for each stage that runs.

The supervisor plans jobs, claims stages, hands them to its processes, ends those whose stage
was cancelled, gives back the stages of those that died, and leaves after idle minutes. When
the code on disk is no longer the code it runs, it replaces itself.
"""

from __future__ import annotations

import hashlib
import logging
import os
import signal
import sqlite3
import sys
import threading
import time
import traceback
import uuid

from pruning_core.common.errors import SpecError
from pruning_core.common.machine import free_bytes, gpus, room_for_another, usable_cores
from pruning_core.common.paths import PROJECT, Cache
from pruning_core.common.processes import IDLE_SECONDS, worker_command
from pruning_core.planning.plan import plan
from pruning_core.planning.stage_kinds import INSPECTIONS, STAGE_KINDS
from pruning_core.settings.spec import from_json
from pruning_core.storage.jobs import Job, Queue
from pruning_core.storage.stage_queue import Row
from pruning_core.storage.store import Store
from pruning_core.storage.worker_record import WorkerRecord
from pruning_core.worker.processes import StageProcess, describe_exit, start_stage_process, uses_gpu

BEAT_SECONDS = 1.0
PAUSE_SECONDS = 0.1
SLOW_SECONDS = 0.5
ANY_THREADS = 10**6
log = logging.getLogger(__name__)


def code_digest() -> str:
    """The SHA-256 of this package's source files as they are on disk now."""
    seen = hashlib.sha256()
    for path in sorted((PROJECT / "pruning_core").rglob("*.py")):
        seen.update(path.read_bytes())
    return seen.hexdigest()


class Supervisor:
    """Serves one cache until it is idle for `idle_seconds`, or told to stop."""

    def __init__(self, cache: Cache, idle_seconds: float = IDLE_SECONDS, cores: int = 0) -> None:
        self.cache, self.idle_seconds, self.asked_cores = cache, idle_seconds, cores
        self.cores = cores or usable_cores()
        self.queue, self.crew, self.store = (
            Queue(cache.queue),
            WorkerRecord(cache.queue),
            Store(cache),
        )
        self.token, self.code = uuid.uuid4().hex, code_digest()
        self.hands: list[StageProcess] = []
        self.gpus, self.roomy, self.stopping = gpus(), True, False
        self.silent = threading.Event()

    def run(self) -> bool:
        """Work until there is no more to do. False when another worker serves this cache."""
        if not self._enlist():
            return False
        signal.signal(signal.SIGTERM, self._stop)
        while True:
            try:
                self._serve()
            finally:
                self._leave()
            # Who submitted a job just before we left saw a worker, and started none.
            if self.stopping or not self.queue.busy() or not self._enlist():
                return True

    def step(self) -> bool:
        """One quick round. True while a stage runs."""
        finished = self._watch()
        if finished:
            self._plan_jobs()
        self._assign()
        return any(hand.row for hand in self.hands)

    def slow_step(self) -> bool:
        """What need not happen ten times a second. True when there is work in the queue."""
        held = {hand.row.token or "" for hand in self.hands if hand.row}
        for key in self.queue.return_stale(held):
            log.warning("Stage %s was left by a dead process and is queued again.", key[:12])
        self._plan_jobs()
        if code_digest() != self.code:
            self._replace()
        return self.queue.busy()

    def _enlist(self) -> bool:
        other = self.crew.enlist(self.token, self.code)
        if other is not None:
            log.info("Process %d is already the worker of %s.", other, self.cache.root)
            return False
        log.info("Worker %d serves %s with %d cores.", os.getpid(), self.cache.root, self.cores)
        self.silent = threading.Event()
        threading.Thread(target=self._beat, args=(self.silent,), daemon=True).start()
        return True

    def _beat(self, silent: threading.Event) -> None:
        """Say once a second that we live: a plan may look through a large folder for long."""
        while not silent.wait(BEAT_SECONDS):
            try:
                if not self.crew.worker_beat(self.token) and not silent.is_set():
                    log.warning("Another worker has taken over.")
                    self.stopping = True
            except sqlite3.Error as error:
                log.warning("No heartbeat could be written (%s).", error)

    def _serve(self) -> None:
        active, told = time.monotonic(), ""
        slow, busy = -SLOW_SECONDS, True
        while not self.stopping and time.monotonic() - active < self.idle_seconds:
            try:
                if time.monotonic() - slow >= SLOW_SECONDS:
                    busy, slow = self.slow_step(), time.monotonic()
                if self.step() or busy:
                    active = time.monotonic()
                told = ""
            except (sqlite3.Error, OSError) as error:
                if told != str(error):
                    log.warning("The queue %s cannot be used now (%s).", self.cache.queue, error)
                told = str(error)
                time.sleep(SLOW_SECONDS)
            time.sleep(PAUSE_SECONDS)

    def _plan_jobs(self) -> None:
        for job in self.queue.planning():
            if self._still_looking(job):
                continue
            try:
                self._plan(job)
            except SpecError as error:
                self.queue.refuse(job.id, error.field, error.to_json())
            except OSError as error:
                self.queue.refuse(job.id, "", f"The cache {self.cache.root} failed: {error}.")
            except sqlite3.Error:
                raise
            except Exception:
                # One job that cannot be planned must not keep the others from running.
                log.exception("Job %s cannot be planned.", job.id)
                self.queue.refuse(job.id, "", traceback.format_exc())

    def _still_looking(self, job: Job) -> bool:
        """Whether an inspection that the plan waits for is still to end.

        Planning looks through the user's folder, which is not done ten times a second. What
        trains for an earlier plan of the same job is not waited for.
        """
        rows = self.queue.stages_of(job.id)
        states = {row.status for row in rows if STAGE_KINDS[row.kind].inspection}
        return bool(states & {"queued", "running"}) and "failed" not in states

    def _plan(self, job: Job) -> None:
        made = plan(from_json(job.spec), self.store)
        done = [stage.key for stage in made.stages if self.store.intact(stage.key)]
        self.queue.expand(job.id, made, done)
        failed = [row for row in self.queue.stages_of(job.id) if row.status == "failed"]
        if failed and not made.complete:
            self.queue.refuse(job.id, failed[0].field, failed[0].error)

    def _watch(self) -> bool:
        """Look after every process. True when a stage came to its end."""
        before = [hand.row for hand in self.hands]
        self.hands = [hand for hand in self.hands if self._still_of_use(hand)]
        return any(before) and before != [hand.row for hand in self.hands]

    def _still_of_use(self, hand: StageProcess) -> bool:
        code = hand.process.poll()
        if code is not None:
            self._bury(hand, code)
            return False
        if hand.row is None:
            return True
        row = self.queue.stage(hand.row.key)
        if row and row.status == "running" and row.token == hand.row.token:
            return True
        if row and row.status in ("done", "failed"):
            hand.row = None
            return True
        log.info("Stage %s is not wanted any more; its process ends.", hand.row.key[:12])
        hand.end()
        self.store.discard(hand.row.key, hand.process.pid)
        return False

    def _bury(self, hand: StageProcess, code: int) -> None:
        if hand.row:
            reason = f"Its process ended {describe_exit(code)}."
            log.warning("Stage %s: %s", hand.row.key[:12], reason)
            self.store.discard(hand.row.key, hand.process.pid)
            self.queue.release(hand.row.key, hand.row.token or "", reason)

    def _assign(self) -> None:
        while self._has_memory() and (row := self._claim()):
            log.info("Stage %s (%s) is claimed.", row.key[:12], row.kind)
            self._hand_for(row).give(row)

    def _has_memory(self) -> bool:
        """Whether one more stage may start beside those that run; said once when it may not."""
        busy = [hand.process.pid for hand in self.hands if hand.row]
        idle = [hand.process.pid for hand in self.hands if not hand.row]
        free = free_bytes()
        found = room_for_another(busy, free, idle)
        if not found and self.roomy:
            log.warning(
                "%d stages run side by side and no more: %.1f GB of memory are free, and a "
                "stage takes as much as the largest so far.",
                len(busy),
                (free or 0) / 1e9,
            )
        self.roomy = found
        return found

    def _claim(self) -> Row | None:
        """The next stage for the cores and GPUs that are free; one inspection may run besides.

        Nothing runs beside a stage that measures time.
        """
        rows = [hand.row for hand in self.hands if hand.row]
        token = uuid.uuid4().hex
        if any(STAGE_KINDS[row.kind].timed for row in rows):
            return None
        if not any(STAGE_KINDS[row.kind].inspection for row in rows):
            row = self.queue.claim(token, self.cores, INSPECTIONS)
            if row:
                return row
        used = sum(row.threads for row in rows if not STAGE_KINDS[row.kind].inspection)
        free = self.cores - used if used else ANY_THREADS
        return self.queue.claim(token, free, gpu=bool(self._free_gpus())) if free > 0 else None

    def _hand_for(self, row: Row) -> StageProcess:
        """A process that waits for work, on a free GPU where the stage needs one."""
        places = self._free_gpus() if uses_gpu(row) else range(self.gpus)
        for hand in self.hands:
            if hand.row is None and hand.gpu in places:
                return hand
        first = not self.hands
        found = start_stage_process(self.cache, next(iter(places)))
        self.hands.append(found)
        if first:
            self._start_spare()
        return found

    def _start_spare(self) -> None:
        """A second process loads the engine, which takes seconds, while the first inspects."""
        if self.cores > 1 and self.gpus == 1:
            self.hands.append(start_stage_process(self.cache))

    def _free_gpus(self) -> list[int]:
        """The GPUs on which no stage trains."""
        busy = {hand.gpu for hand in self.hands if hand.row and uses_gpu(hand.row)}
        return [number for number in range(self.gpus) if number not in busy]

    def _release_all(self) -> None:
        for hand in self.hands:
            hand.end()
            if hand.row:
                self.store.discard(hand.row.key, hand.process.pid)
                self.queue.release(hand.row.key, hand.row.token or "")
        self.hands = []

    def _leave(self) -> None:
        self.silent.set()
        self._release_all()
        self.crew.dismiss(self.token)
        log.info("Worker %d leaves.", os.getpid())

    def _replace(self) -> None:
        log.info("The code on disk has changed: the worker starts anew.")
        self.stopping = True
        self._leave()
        os.chdir(PROJECT)
        os.execv(sys.executable, worker_command(self.cache, self.idle_seconds, self.asked_cores))

    def _stop(self, *_: object) -> None:
        self.stopping = True
