"""This machine: its processor, cores, free memory and GPUs."""

from __future__ import annotations

import math
import os
import platform
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

LEAST_BYTES = 2**30
# With a smaller share of a core, another program used it during a measurement.
LOWEST_CORE_SHARE = 0.9
CORES_VARIABLE = "PRUNING_LAB_CORES"
MEMINFO, CGROUP = Path("/proc/meminfo"), Path("/sys/fs/cgroup")
GROUPS = Path("/proc/self/cgroup")
CPUINFO = Path("/proc/cpuinfo")
# The instruction sets that decide how fast matrix products are, as Linux names them.
FLAGS = ("flags", "Features")  # on x86, on ARM
INSTRUCTION_SETS = {
    "avx2": "AVX2",
    "avx512f": "AVX512",
    "avx_vnni": "AVX-VNNI",
    "avx512_vnni": "AVX512-VNNI",
    "avx512_bf16": "AVX512-BF16",
    "amx_bf16": "AMX-BF16",
    "amx_int8": "AMX-INT8",
    "asimd": "NEON",
    "asimddp": "DotProd",
    "i8mm": "I8MM",
    "bf16": "BF16",
    "sve": "SVE",
}


def usable_cores(cgroup: Path = CGROUP, groups: Path = GROUPS) -> int:
    """How many cores this process may use: a container may be allowed the time of fewer.

    The environment variable `CORES_VARIABLE` allows fewer, too.
    """
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    allowed = [*_quotas(cgroup, groups)]
    if (given := os.environ.get(CORES_VARIABLE, "")).isdecimal():
        allowed.append(int(given))
    return max(1, min([cores, *allowed]))


def processor_name(cpuinfo: Path = CPUINFO) -> str:
    """The name of the processor, or its architecture where the system does not report it."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()


def instruction_sets(cpuinfo: Path = CPUINFO) -> list[str]:
    """The instruction sets of the processor; none where the system does not report them."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    flags = (line.partition(":") for line in lines)
    known = next((value.split() for name, _, value in flags if name.strip() in FLAGS), [])
    return [title for name, title in INSTRUCTION_SETS.items() if name in known]


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


def free_bytes(meminfo: Path = MEMINFO, cgroup: Path = CGROUP, groups: Path = GROUPS) -> int | None:
    """Memory that a new process can use, in bytes; None where the system does not report it."""
    limits = [_available(meminfo), *_group_available(cgroup, groups)]
    known = [value for value in limits if value is not None]
    return min(known) if known else None


def peak_bytes(pid: int) -> int:
    """The peak memory of a process and its children so far, in bytes.

    Memory that they share counts for each. 0 where the system does not report it.
    """
    children = _numbers(Path(f"/proc/{pid}/task/{pid}/children"))
    return sum(_kilobytes(Path(f"/proc/{part}/status"), "VmHWM") or 0 for part in (pid, *children))


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


def _group_folders(cgroup: Path, groups: Path, controller: str) -> Iterator[Path]:
    """The folders with the limits of this process: of its control group, and of those above it.

    A container sees its own group as the root; systemd and SLURM put a process deeper. `controller`
    is "memory" or "cpu"; version 1 of control groups has a tree for each.
    """
    try:
        lines = groups.read_text().splitlines()
    except OSError:
        lines = []
    yield cgroup
    for line in lines:
        _, names, path = line.split(":", 2)
        if names and controller not in names.split(","):
            continue
        root = cgroup / controller if names else cgroup
        folder = root / path.strip("/")
        yield from (part for part in (folder, *folder.parents) if part.is_relative_to(root))


def _numbers(path: Path) -> list[int]:
    """The whole numbers in a file of a control group; none where there is no limit or no file."""
    try:
        words = path.read_text().split()
    except OSError:
        return []
    return [int(word) for word in words] if all(word.isdecimal() for word in words) else []


def _group_available(cgroup: Path, groups: Path) -> Iterator[int]:
    """The memory within each limit of the control groups of this process, in bytes.

    Files that the system keeps in memory count as used there, and are given back when needed.
    """
    for folder in _group_folders(cgroup, groups, "memory"):
        for limit, used, cached in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            numbers = [*_numbers(folder / limit), *_numbers(folder / used)]
            if len(numbers) == 2:
                yield max(numbers[0] - numbers[1] + _statistic(folder, cached), 0)


def _statistic(folder: Path, name: str) -> int:
    try:
        text = (folder / "memory.stat").read_text()
    except OSError:
        return 0
    match = re.search(rf"^{name} (\d+)$", text, re.MULTILINE)
    return int(match[1]) if match else 0


def _quotas(cgroup: Path, groups: Path) -> Iterator[int]:
    """The number of cores, rounded up, whose time the control groups of this process allow."""
    for folder in _group_folders(cgroup, groups, "cpu"):
        for numbers in (
            _numbers(folder / "cpu.max"),
            [
                *_numbers(folder / "cpu.cfs_quota_us"),
                *_numbers(folder / "cpu.cfs_period_us"),
            ],
        ):
            if len(numbers) == 2 and min(numbers) > 0:
                yield math.ceil(numbers[0] / numbers[1])
