"""The worker: one supervisor, and one process for each stage that runs.

The supervisor plans jobs, claims stages, sends them to its processes, ends the processes of
cancelled stages, queues the stages of dead processes again, and exits when it is idle. When the
source code on disk changes, it restarts itself.
"""

from __future__ import annotations

import logging
import math
import os
import signal
import sqlite3
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Iterable

from pruning_core.common.errors import SpecError
from pruning_core.common.machine import (
    free_bytes,
    gpus,
    held_bytes,
    room_for_another,
    usable_cores,
)
from pruning_core.common.paths import PROJECT, Cache
from pruning_core.common.processes import IDLE_SECONDS, code_digest, worker_command
from pruning_core.planning.inspections import BrokenImages
from pruning_core.planning.plan import plan
from pruning_core.planning.stage_kinds import (
    COMPUTATIONS,
    DATA_INSPECTION,
    INSPECTIONS,
    STAGE_KINDS,
)
from pruning_core.settings.messages import for_command_line
from pruning_core.settings.spec import from_json
from pruning_core.storage.job_record import Job
from pruning_core.storage.jobs import Queue
from pruning_core.storage.stage_queue import Row
from pruning_core.storage.store import Store
from pruning_core.storage.worker_record import WorkerRecord, describe_worker
from pruning_core.worker.cluster import Cluster
from pruning_core.worker.processes import (
    StageProcess,
    describe_exit,
    start_stage_process,
    uses_gpu,
)
from pruning_core.worker.shared_stages import Uploads

BEAT_SECONDS = 2.0
# The pause between two rounds, and the time between two slow rounds: with work, and without.
PAUSE_SECONDS, IDLE_PAUSE_SECONDS = 0.1, 0.5
SLOW_SECONDS, IDLE_SLOW_SECONDS = 0.5, 10.0
# A process without work is kept for the next stage, unless it holds more memory than this.
KEPT_SECONDS, KEPT_BYTES = 30.0, 500 * 2**20
# A job whose images have changed during this many inspections is refused.
MOST_INSPECTIONS = 5
# More than any stage needs: no limit.
ANY_THREADS = 10**6
log = logging.getLogger(__name__)


class Supervisor:
    """Serves one cache until it is idle for `idle_seconds`, or is stopped.

    `cores` limits the CPU threads of the stages that run at once; 0 means all cores.
    """

    def __init__(self, cache: Cache, idle_seconds: float = IDLE_SECONDS, cores: int = 0) -> None:
        self.cache, self.idle_seconds, self.given_cores = cache, idle_seconds, cores
        self.cores = cores or usable_cores()
        self.queue, self.store = Queue(cache.queue), Store(cache)
        self.record = WorkerRecord(cache.queue)
        self.token, self.code = uuid.uuid4().hex, code_digest()
        self.processes: list[StageProcess] = []
        self.gpus, self.memory_free, self.stopping = gpus(), True, False
        self.heartbeat_end = threading.Event()
        self.connection: sqlite3.Connection | None = None
        self.uploads, self.cluster = Uploads(cache), Cluster(cache)

    def run(self) -> bool:
        """Work until the queue is empty. False where another worker serves this cache."""
        if not self._register():
            return False
        signal.signal(signal.SIGTERM, self._stop)
        self.uploads.start()
        while True:
            try:
                self._serve()
            finally:
                self._shut_down()
            # A job submitted just before the shutdown started no worker, because it saw this one.
            if self.stopping or not self.queue.busy() or not self._register():
                self.uploads.stop()
                return True

    def step(self) -> None:
        """One quick round, ten times a second while there is work."""
        ended = [self._check_processes(), self.cluster.check()]
        if any(ended):
            self._plan_jobs()
        self._assign()
        self.cluster.assign()

    def slow_step(self) -> bool:
        """The work of every half second, or less often without work. True if there is work."""
        held = {process.row.token or "" for process in self.processes if process.row}
        held |= self.cluster.tokens
        for key in self.queue.return_stale(held):
            log.warning("The process of stage %s is dead; the stage is queued again.", key[:12])
        for name in self.queue.refuse_others(self.code):
            log.warning("%s was submitted from another checkout and is refused.", name[:12])
        for key in self.queue.drop_requests():
            log.info("No page waits for stage %s any more; it does not start.", key[:12])
        self._plan_jobs()
        self.uploads.check_address()
        self.cluster.check()
        self.cluster.check_gpus()
        if not self.queue.ready():
            self._end_large()
        if code_digest() != self.code:
            self._restart()
        return self.queue.busy()

    def _register(self) -> bool:
        other = self.record.register(self.token, self.code)
        if other is not None:
            log.info(
                "The %s, is already the worker of %s.", describe_worker(other), self.cache.root
            )
            return False
        self.connection = self.queue.keep_open()
        log.info("Worker %d serves %s with %d cores.", os.getpid(), self.cache.root, self.cores)
        self.heartbeat_end = threading.Event()
        arguments = (self.heartbeat_end,)
        threading.Thread(target=self._write_heartbeats, args=arguments, daemon=True).start()
        return True

    def _write_heartbeats(self, end: threading.Event) -> None:
        """Write heartbeats; planning alone may take minutes in a large folder."""
        while not end.wait(BEAT_SECONDS):
            try:
                if not self.record.beat(self.token) and not end.is_set():
                    log.warning("Another worker serves this cache now; this one stops.")
                    self.stopping = True
            except sqlite3.Error as error:
                log.warning("The heartbeat could not be written (%s).", error)

    def _serve(self) -> None:
        active, last_error = time.monotonic(), ""
        slow, busy = -math.inf, True
        while not self.stopping and time.monotonic() - active < self.idle_seconds:
            try:
                if time.monotonic() - slow >= (SLOW_SECONDS if busy else IDLE_SLOW_SECONDS):
                    busy, slow = self.slow_step(), time.monotonic()
                busy = busy or self.queue.busy()
                if busy or any(process.row for process in self.processes):
                    self.step()
                    active = time.monotonic()
                elif self.uploads.busy:
                    active = time.monotonic()
                elif time.monotonic() - active >= KEPT_SECONDS:
                    self._end_processes(self._waiting())
                last_error = ""
            except (sqlite3.Error, OSError) as error:
                if last_error != str(error):
                    log.warning("The queue %s cannot be used (%s).", self.cache.queue, error)
                last_error = str(error)
                time.sleep(SLOW_SECONDS)
            time.sleep(PAUSE_SECONDS if busy else IDLE_PAUSE_SECONDS)

    def _waiting(self) -> list[StageProcess]:
        return [process for process in self.processes if process.row is None]

    def _end_large(self) -> None:
        """End the waiting processes that keep much memory, while no stage could start."""
        self._end_processes(p for p in self._waiting() if held_bytes(p.popen.pid) > KEPT_BYTES)

    def _end_processes(self, ended: Iterable[StageProcess]) -> None:
        for process in list(ended):
            log.info("Process %d ends: there is no stage for it.", process.popen.pid)
            process.end()
            self.processes.remove(process)

    def _plan_jobs(self) -> None:
        for job in self.queue.planning():
            if self._is_inspecting(job):
                continue
            try:
                self._plan(job)
            except SpecError as error:
                log.info("Job %s is refused: %s", job.id, for_command_line(error))
                self.queue.refuse(job.id, error.field, error.to_json())
            except OSError as error:
                message = f"The cache {self.cache.root} cannot be used: {error}."
                self.queue.refuse(job.id, "", message)
            except sqlite3.Error:
                raise
            except Exception:
                # A job that cannot be planned must not stop the other jobs.
                log.exception("Job %s cannot be planned.", job.id)
                self.queue.refuse(job.id, "", traceback.format_exc())

    def _is_inspecting(self, job: Job) -> bool:
        """Whether an inspection that the plan needs waits or runs.

        Planning reads the user's folder, so it must not run ten times a second. Training stages
        of an earlier plan of the same job are not waited for.
        """
        rows = self.queue.stages_of(job.id)
        states = {row.status for row in rows if STAGE_KINDS[row.kind].inspection}
        return bool(states & {"queued", "running"}) and "failed" not in states

    def _plan(self, job: Job) -> None:
        inspected = [row for row in self.queue.stages_of(job.id) if row.kind in INSPECTIONS]
        if failed := [row for row in inspected if row.status == "failed"]:
            self.queue.refuse(job.id, failed[0].field, failed[0].error)
            return
        spec = from_json(job.spec)
        if sum(row.kind == DATA_INSPECTION for row in inspected) > MOST_INSPECTIONS:
            raise SpecError(
                "data.path",
                "The files in {path} changed each time that they were inspected. Wait until all of "
                "them are copied, or give a folder that nothing else writes to.",
                path=spec.data.path,
            )
        try:
            job_plan = plan(spec, self.store)
        except BrokenImages as error:
            # The next plan inspects the images anew: a file system may show no change of them.
            self.store.remove(error.inspection)
            raise
        done = [stage.key for stage in job_plan.stages if self.store.intact(stage.key)]
        self.queue.expand(job.id, job_plan, done)

    def _check_processes(self) -> bool:
        """End and drop processes that are of no more use. True when a stage has ended."""
        before = [process.row for process in self.processes]
        self.processes = [process for process in self.processes if self._keep(process)]
        return any(before) and before != [process.row for process in self.processes]

    def _keep(self, process: StageProcess) -> bool:
        """Whether a process is alive and its stage, if any, is still its own."""
        code = process.popen.poll()
        if code is not None:
            self._release_dead(process, code)
            return False
        if process.row is None:
            return True
        row = self.queue.stage(process.row.key)
        if row and row.status == "running" and row.token == process.row.token:
            return True
        if row and row.status in ("done", "failed"):
            process.row = None
            self.uploads.request()
            return True
        log.info("No job needs stage %s any more; its process is stopped.", process.row.key[:12])
        process.end()
        self.store.discard(process.row.key, process.popen.pid)
        return False

    def _release_dead(self, process: StageProcess, code: int) -> None:
        """Queue the stage of a dead process again."""
        if process.row:
            reason = f"Its process ended {describe_exit(code)}."
            log.warning("Stage %s: %s", process.row.key[:12], reason)
            self.store.discard(process.row.key, process.popen.pid)
            self.queue.release(process.row.key, process.row.token or "", reason)

    def _assign(self) -> None:
        while self._has_memory() and (row := self._claim()):
            log.info("Stage %s (%s) is claimed.", row.key[:12], row.kind)
            self._process_for(row).give(row)

    def _has_memory(self) -> bool:
        """Whether one more stage may start beside the running ones; logged once if not."""
        busy = [process.popen.pid for process in self.processes if process.row]
        idle = [process.popen.pid for process in self.processes if not process.row]
        free = free_bytes()
        has_memory = room_for_another(busy, free, idle)
        if not has_memory and self.memory_free:
            log.warning(
                "No further stage starts (%d running): only %.1f GB of memory are free, and the "
                "largest stage so far used more.",
                len(busy),
                (free or 0) / 1e9,
            )
        self.memory_free = has_memory
        return has_memory

    def _claim(self) -> Row | None:
        """The next stage for the free cores and GPUs; one inspection may run in addition.

        Nothing runs beside a stage that measures time.
        """
        rows = [process.row for process in self.processes if process.row]
        token = uuid.uuid4().hex
        if any(STAGE_KINDS[row.kind].timed for row in rows):
            return None
        if not any(STAGE_KINDS[row.kind].inspection for row in rows):
            row = self.queue.claim(token, self.cores, self._local(INSPECTIONS))
            if row:
                return row
        used = sum(row.threads for row in rows if not STAGE_KINDS[row.kind].inspection)
        # A stage that needs more threads than the machine has cores runs alone.
        free = self.cores - used if used else ANY_THREADS
        if free <= 0:
            return None
        kinds = self._local(COMPUTATIONS)
        return self.queue.claim(token, free, kinds, gpu=bool(self._free_gpus()))

    def _local(self, kinds: Iterable[str]) -> list[str]:
        """The kinds of stages that run on this machine."""
        return [kind for kind in kinds if kind not in self.cluster.kinds]

    def _process_for(self, row: Row) -> StageProcess:
        """A process that waits for a stage, on a free GPU where the stage needs one."""
        allowed = self._free_gpus() if uses_gpu(row) else range(self.gpus)
        for process in self.processes:
            if process.row is None and process.gpu in allowed:
                return process
        first = not self.processes
        process = start_stage_process(self.cache, self.cores, next(iter(allowed)))
        self.processes.append(process)
        if first:
            self._start_second()
        return process

    def _start_second(self) -> None:
        """Start a process that loads the engine, in some seconds, while the first inspects."""
        if self.cores > 1 and self.gpus == 1:
            self.processes.append(start_stage_process(self.cache, self.cores))

    def _free_gpus(self) -> list[int]:
        """The numbers of the GPUs on which no stage trains."""
        busy = {process.gpu for process in self.processes if process.row and uses_gpu(process.row)}
        return [number for number in range(self.gpus) if number not in busy]

    def _shut_down(self) -> None:
        """End all processes, queue their stages again, and unregister."""
        self.heartbeat_end.set()
        self.cluster.stop()
        for process in self.processes:
            process.end()
            if process.row:
                self.store.discard(process.row.key, process.popen.pid)
                self.queue.release(process.row.key, process.row.token or "")
        self.processes = []
        self.record.unregister(self.token)
        if self.connection:
            self.connection.close()
            self.connection = None
        log.info("Worker %d exits.", os.getpid())

    def _restart(self) -> None:
        """Replace this process by one that runs the new source code."""
        log.info("The source code on disk has changed: the worker restarts.")
        self.stopping = True
        self._shut_down()
        os.chdir(PROJECT)
        os.execv(sys.executable, worker_command(self.cache, self.idle_seconds, self.given_cores))

    def _stop(self, *_: object) -> None:
        self.stopping = True
