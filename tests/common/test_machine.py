"""Free memory as the system reports it, and GPUs as the environment allows them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pruning_core.common import machine
from pruning_core.common.machine import (
    CORES_VARIABLE,
    free_bytes,
    gpu_name,
    gpus,
    instruction_sets,
    peak_bytes,
    processor_name,
    room_for_another,
    usable_cores,
)


def test_free_memory_is_the_lowest_limit(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:  9000 kB\nMemAvailable:    4096 kB\n")
    assert free_bytes(meminfo, tmp_path, tmp_path) == 4096 * 1024
    (tmp_path / "memory.max").write_text("3000\n")
    (tmp_path / "memory.current").write_text("1000\n")
    assert free_bytes(meminfo, tmp_path, tmp_path) == 2000
    (tmp_path / "memory.max").write_text("max\n")
    assert free_bytes(meminfo, tmp_path, tmp_path) == 4096 * 1024
    assert free_bytes(tmp_path / "nothing", tmp_path / "nothing", tmp_path) is None


VERSION_2 = ("memory.max", "memory.current", "")
VERSION_1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_")


@pytest.mark.parametrize(
    ("groups", "folder", "names"),
    [
        ("0::/slurm/job_7/step\n", "slurm/job_7", VERSION_2),
        ("9:cpu,cpuacct:/x\n4:memory:/docker/a\n0::/\n", "memory/docker/a", VERSION_1),
        ("4:memory:/path/of/the/host\n", "memory", VERSION_1),
    ],
)
def test_a_limit_of_any_control_group_counts(
    tmp_path: Path, groups: str, folder: str, names: tuple[str, str, str]
) -> None:
    """Of version 1 and 2, in a container, and of a group above that of the process."""
    listed, limits = tmp_path / "groups", tmp_path / "cgroup" / folder
    listed.write_text(groups)
    limits.mkdir(parents=True)
    (limits / names[0]).write_text("5000\n")
    (limits / names[1]).write_text("4000\n")
    nothing = tmp_path / "nothing"
    assert free_bytes(nothing, tmp_path / "cgroup", listed) == 1000
    (limits / "memory.stat").write_text(f"anon 3\n{names[2]}inactive_file 700\n")
    assert free_bytes(nothing, tmp_path / "cgroup", listed) == 1700
    (limits / names[0]).write_text("max\n")
    assert free_bytes(nothing, tmp_path / "cgroup", listed) is None


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "max 100000"}, 64),
        ({"cpu.max": "150000 100000"}, 2),
        ({"cpu.max": "10000 100000"}, 1),
        ({"job/cpu.max": "300000 100000", "cpu.max": "max 100000"}, 3),
        ({"cpu/job/cpu.cfs_quota_us": "400000", "cpu/job/cpu.cfs_period_us": "100000"}, 4),
        ({"cpu/job/cpu.cfs_quota_us": "-1", "cpu/job/cpu.cfs_period_us": "100000"}, 64),
        ({"cpu.max": "9900000 100000"}, 64),
    ],
)
def test_a_container_may_be_allowed_the_time_of_fewer_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], cores: int
) -> None:
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    groups = tmp_path / "groups"
    groups.write_text("3:cpuacct:/other\n2:cpu:/job\n0::/job\n")
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert usable_cores(tmp_path, groups) == cores


def test_the_environment_allows_fewer_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: range(4), raising=False)
    for given, cores in (("2", 2), ("9", 4), ("", 4), ("x", 4)):
        monkeypatch.setenv(CORES_VARIABLE, given)
        assert usable_cores(tmp_path, tmp_path) == cores


@pytest.mark.skipif(
    not Path(f"/proc/self/task/{os.getpid()}/children").exists(),
    reason="the system does not list the children of a process",
)
def test_the_memory_of_children_counts() -> None:
    before = peak_bytes(os.getpid())
    command = [sys.executable, "-c", "print(flush=True); input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()  # it runs
        assert peak_bytes(os.getpid()) >= before + peak_bytes(child.pid) > before
        child.kill()


def test_one_more_stage_needs_as_much_as_the_largest(monkeypatch: pytest.MonkeyPatch) -> None:
    held = {1: 2**30, 2: 3 * 2**30, 3: 2**30}
    monkeypatch.setattr(machine, "peak_bytes", held.__getitem__)
    assert room_for_another([1, 2], 3 * 2**30)
    assert not room_for_another([1, 2], 3 * 2**30 - 1)
    assert not room_for_another([1], 2**30 - 1)
    assert room_for_another([], 0)
    assert room_for_another([1, 2], 2 * 2**30, [3]), "an idle process has a part of it already"
    assert not room_for_another([1, 2], 2 * 2**30 - 1, [3])
    assert room_for_another([1, 2], None)


def test_a_process_has_a_peak_memory() -> None:
    if not Path("/proc/self/status").exists():
        pytest.skip("this system does not report the peak memory of a process")
    assert peak_bytes(os.getpid()) > 2**20
    assert peak_bytes(2**30) == 0


def test_gpus_are_those_that_are_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    assert gpus() == 2
    assert [gpu_name(i) for i in range(2)] == ["2", "5"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert gpus() == 1
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert gpus() >= 1
    assert gpu_name(1) == "1"


def test_the_processor_name_is_read(tmp_path: Path) -> None:
    path = tmp_path / "cpuinfo"
    path.write_text("processor\t: 0\nmodel name\t: Chip 9000\n")
    assert processor_name(path) == "Chip 9000"
    assert processor_name(tmp_path / "none")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("flags\t\t: fpu avx2 avx512f amx_int8\n\nflags\t: fpu\n", ["AVX2", "AVX512", "AMX-INT8"]),
        ("processor : 0\nFeatures\t: fp asimd i8mm\n", ["NEON", "I8MM"]),
        ("model name : other\n", []),
    ],
)
def test_instruction_sets_are_those_of_the_first_core(
    text: str, expected: list[str], tmp_path: Path
) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    assert instruction_sets(cpuinfo) == []
    cpuinfo.write_text(text)
    assert instruction_sets(cpuinfo) == expected
