"""What this machine has room for: cores, free memory, GPUs."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

LEAST_BYTES = 2**30
MEMINFO, CGROUP = Path("/proc/meminfo"), Path("/sys/fs/cgroup")


def usable_cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def gpus() -> int:
    """How many stages may use a GPU at once: one each, of those the environment allows."""
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    there = len([path for path in Path("/dev").glob("nvidia*") if path.name[6:].isdigit()])
    named = len([name for name in (allowed or "").split(",") if name.strip()])
    return max(1, there if allowed is None else named)


def gpu_name(number: int) -> str:
    """What `CUDA_VISIBLE_DEVICES` calls a GPU by its place among those that are allowed."""
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    return str(number) if not allowed else allowed.split(",")[number].strip()


def free_bytes(meminfo: Path = MEMINFO, cgroup: Path = CGROUP) -> int | None:
    """Memory that a new process could take; None where the system does not say."""
    found = [_available(meminfo), _left_in(cgroup)]
    known = [value for value in found if value is not None]
    return min(known) if known else None


def peak_bytes(pid: int) -> int:
    """The most memory that a process has held so far; 0 where the system does not say."""
    return _kilobytes(Path(f"/proc/{pid}/status"), "VmHWM") or 0


def room_for_another(busy: list[int], free: int | None, idle: Sequence[int] = ()) -> bool:
    """Whether a further stage fits beside these processes: one as large as the largest of them.

    An idle process keeps what it has held, and has to grow by the rest only.
    """
    if not busy or free is None:
        return True
    held = max(map(peak_bytes, idle), default=0)
    return free + held >= max(LEAST_BYTES, *map(peak_bytes, busy))


def _available(meminfo: Path) -> int | None:
    return _kilobytes(meminfo, "MemAvailable")


def _kilobytes(path: Path, name: str) -> int | None:
    try:
        found = re.search(rf"^{name}:\s+(\d+) kB", path.read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None


def _left_in(cgroup: Path) -> int | None:
    """What a container's limit leaves."""
    try:
        limit = (cgroup / "memory.max").read_text().strip()
        used = int((cgroup / "memory.current").read_text())
    except (OSError, ValueError):
        return None
    return max(int(limit) - used, 0) if limit.isdecimal() else None
