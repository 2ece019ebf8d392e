"""A stage process as the supervisor sees it."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from dataclasses import dataclass

from pruning_core.common.machine import gpu_name, gpus
from pruning_core.common.paths import PROJECT, Cache
from pruning_core.common.processes import ENVIRONMENT
from pruning_core.planning.stage_kinds import STAGE_KINDS
from pruning_core.storage.stage_queue import Row

log = logging.getLogger(__name__)


@dataclass
class StageProcess:
    """A stage process and the stage it runs, if any."""

    process: subprocess.Popen[str]
    row: Row | None = None
    gpu: int = 0

    def give(self, row: Row) -> None:
        """Hand over a claimed stage."""
        self.row = row
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps({"key": row.key, "token": row.token}) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            log.warning("Process %d ended before it had work.", self.process.pid)

    def end(self) -> None:
        """Stop the process, whatever it is doing."""
        self.process.kill()
        self.process.wait()


def uses_gpu(row: Row) -> bool:
    """Whether a stage trains on a GPU; an inspection only tries one."""
    return not STAGE_KINDS[row.kind].inspection and row.settings.get("device", "cpu") != "cpu"


def start_stage_process(cache: Cache, gpu: int = 0) -> StageProcess:
    """A new stage process, which knows whose it is and sees one of the GPUs."""
    module = "pruning_core.worker.stage_process"
    command = [sys.executable, "-m", module, str(cache.root), str(os.getpid())]
    environment = {**ENVIRONMENT, **os.environ}
    if gpus() > 1:
        environment["CUDA_VISIBLE_DEVICES"] = gpu_name(gpu)
    process = subprocess.Popen(
        command, cwd=PROJECT, env=environment, stdin=subprocess.PIPE, text=True
    )
    return StageProcess(process, gpu=gpu)


def describe_exit(code: int) -> str:
    """An exit code in words."""
    if code >= 0:
        return f"with exit code {code}"
    name = signal.Signals(-code).name
    hint = "; the machine may be out of memory" if name == "SIGKILL" else ""
    return f"by the signal {name}{hint}"
