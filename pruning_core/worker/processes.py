"""A stage process, as the supervisor starts and ends it."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from dataclasses import dataclass

from pruning_core.common.machine import CORES_VARIABLE, gpu_name, gpus
from pruning_core.common.paths import PROJECT, Cache
from pruning_core.common.processes import ENVIRONMENT
from pruning_core.planning.stage_kinds import STAGE_KINDS
from pruning_core.storage.stage_queue import Row

log = logging.getLogger(__name__)


@dataclass
class StageProcess:
    """A stage process, the stage that it runs, if any, and the number of its GPU."""

    popen: subprocess.Popen[str]
    row: Row | None = None
    gpu: int = 0

    def give(self, row: Row) -> None:
        """Send a claimed stage to the process."""
        self.row = row
        assert self.popen.stdin is not None
        try:
            self.popen.stdin.write(json.dumps({"key": row.key, "token": row.token}) + "\n")
            self.popen.stdin.flush()
        except BrokenPipeError:
            log.warning("Process %d ended before it received a stage.", self.popen.pid)

    def end(self) -> None:
        """Kill the process, whatever it is doing."""
        self.popen.kill()
        self.popen.wait()


def uses_gpu(row: Row) -> bool:
    """Whether a stage trains on a GPU; an inspection uses it for a moment only."""
    return not STAGE_KINDS[row.kind].inspection and row.settings.get("device", "cpu") != "cpu"


def start_stage_process(cache: Cache, cores: int, gpu: int = 0) -> StageProcess:
    """Start a process that runs the stages it is given, on so many cores and one of the GPUs.

    It receives the process id of the supervisor, so that it ends when the supervisor dies.
    """
    module = "pruning_core.worker.stage_process"
    command = [sys.executable, "-m", module, str(cache.root), str(os.getpid())]
    environment = {**ENVIRONMENT, **os.environ, CORES_VARIABLE: str(cores)}
    if gpus() > 1:
        environment["CUDA_VISIBLE_DEVICES"] = gpu_name(gpu)
    popen = subprocess.Popen(
        command, cwd=PROJECT, env=environment, stdin=subprocess.PIPE, text=True
    )
    return StageProcess(popen, gpu=gpu)


def describe_exit(code: int) -> str:
    """An exit code in words, to follow "The process ended"."""
    if code >= 0:
        return f"with exit code {code}"
    name = signal.Signals(-code).name
    hint = "; the machine may be out of memory" if name == "SIGKILL" else ""
    return f"by the signal {name}{hint}"
