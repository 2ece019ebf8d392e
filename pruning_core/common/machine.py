"""This machine: its processor, cores, free memory and GPUs."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Sequence
from pathlib import Path

LEAST_BYTES = 2**30
MEMINFO, CGROUP = Path("/proc/meminfo"), Path("/sys/fs/cgroup")
CPUINFO = Path("/proc/cpuinfo")


def usable_cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processor_name(cpuinfo: Path = CPUINFO) -> str:
    """The name of the processor, or its architecture where the system does not report it."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()


def gpus() -> int:
    """The number of GPUs that the environment allows, at least 1: each runs one stage at a time."""
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is None:
        devices = Path("/dev").glob("nvidia*")
        return max(1, len([path for path in devices if path.name[6:].isdigit()]))
    return max(1, len([name for name in allowed.split(",") if name.strip()]))


def gpu_name(number: int) -> str:
    """The name in `CUDA_VISIBLE_DEVICES` of an allowed GPU, by its number from 0."""
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    return str(number) if not allowed else allowed.split(",")[number].strip()


def free_bytes(meminfo: Path = MEMINFO, cgroup: Path = CGROUP) -> int | None:
    """Memory that a new process can use, in bytes; None where the system does not report it."""
    limits = [_available(meminfo), _container_available(cgroup)]
    known = [value for value in limits if value is not None]
    return min(known) if known else None


def peak_bytes(pid: int) -> int:
    """The peak memory of a process so far, in bytes; 0 where the system does not report it."""
    return _kilobytes(Path(f"/proc/{pid}/status"), "VmHWM") or 0


def held_bytes(pid: int) -> int:
    """The memory that only this process holds, in bytes; 0 where the system does not report it."""
    return _kilobytes(Path(f"/proc/{pid}/status"), "RssAnon") or 0


def room_for_another(busy: list[int], free: int | None, idle: Sequence[int] = ()) -> bool:
    """Whether memory suffices for one more stage, as large as the largest of the `busy` ones.

    `busy` and `idle` are process ids. An `idle` process holds its memory already, so only the
    rest must be `free`.
    """
    if not busy or free is None:
        return True
    held = max(map(peak_bytes, idle), default=0)
    return free + held >= max(LEAST_BYTES, *map(peak_bytes, busy))


def _available(meminfo: Path) -> int | None:
    return _kilobytes(meminfo, "MemAvailable")


def _kilobytes(path: Path, name: str) -> int | None:
    try:
        match = re.search(rf"^{name}:\s+(\d+) kB", path.read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(match[1]) * 1024 if match else None


def _container_available(cgroup: Path) -> int | None:
    """The memory within the limit of a container, in bytes."""
    try:
        limit = (cgroup / "memory.max").read_text().strip()
        used = int((cgroup / "memory.current").read_text())
    except (OSError, ValueError):
        return None
    return max(int(limit) - used, 0) if limit.isdecimal() else None
