"""Free memory as the system reports it, and GPUs as the environment allows them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pruning_core.common import machine
from pruning_core.common.machine import (
    free_bytes,
    gpu_name,
    gpus,
    peak_bytes,
    processor_name,
    room_for_another,
)


def test_free_memory_is_the_lowest_limit(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:  9000 kB\nMemAvailable:    4096 kB\n")
    assert free_bytes(meminfo, tmp_path) == 4096 * 1024
    (tmp_path / "memory.max").write_text("3000\n")
    (tmp_path / "memory.current").write_text("1000\n")
    assert free_bytes(meminfo, tmp_path) == 2000
    (tmp_path / "memory.max").write_text("max\n")
    assert free_bytes(meminfo, tmp_path) == 4096 * 1024
    assert free_bytes(tmp_path / "nothing", tmp_path / "nothing") is None


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
