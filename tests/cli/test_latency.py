"""`measure`: a finished point timed beside its baseline; what was found, written and told."""

from __future__ import annotations

import functools
from pathlib import Path

import pandas as pd
import pytest

from pruning_core.cli import latency
from pruning_core.cli.main import main
from pruning_core.common.paths import Cache
from pruning_core.methods.runtimes import SPARSE_KERNELS
from pruning_core.planning.timing import SPARSITIES, Conditions, crossover_stage
from pruning_core.results.sparse_speedup import ALL_LAYERS
from pruning_core.storage.jobs import Queue
from tests.cli.test_export import cache
from tests.helpers.refusals import code_of
from tests.helpers.workers import serve

__all__ = ["cache"]  # a fixture


def measure(cache: Cache, out: Path, monkeypatch: pytest.MonkeyPatch, *options: str) -> int:
    """The command with few rounds, the worker in this process."""
    short = functools.partial(Conditions, rounds=6, seconds=0.2)
    monkeypatch.setattr(latency, "Conditions", short)
    zeros = functools.partial(crossover_stage, rounds=6, seconds=0.05)
    monkeypatch.setattr(latency.crossover, "crossover_stage", zeros)
    monkeypatch.setattr("pruning_core.cli.progress.Starter.look", lambda self: serve(cache))
    job = Queue(cache.queue).jobs()[0].id
    return main(["measure", job, "--cache-dir", str(cache.root), "--out", str(out), *options])


def test_times_are_written_and_a_verdict_is_told(
    cache: Cache,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = ("--runtimes", "eager,onnx", "--beside", "1", "--batches", "1,2")
    assert measure(cache, tmp_path, monkeypatch, *options) == 0
    table = pd.read_csv(tmp_path / "speed.csv")
    assert set(table["runtime"]) == {"eager", "onnx"}
    assert set(table["batch_size"]) == {1, 2}
    assert set(table["role"]) == {"dense", "candidate", "control"}
    assert (table["p90_ms"] >= table["p50_ms"]).all()
    told = capsys.readouterr().out
    assert "Its size as a file is not measured yet; " in told


def test_threads_pixels_and_where_zeros_pay(
    cache: Cache,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = ("--runtimes", "onnx", "--threads", "1,2", "--pixels", "64", "--crossover")
    assert measure(cache, tmp_path, monkeypatch, *options) == 0
    times = pd.read_csv(tmp_path / "speed.csv")
    assert set(times["threads"]) == {1, 2}
    assert set(times["image_size"]) == {64}
    products = pd.read_csv(tmp_path / "crossover.csv")
    assert set(products["sparsity"]) == set(SPARSITIES)
    assert set(products["kernel"]) == set(SPARSE_KERNELS)
    assert ALL_LAYERS in set(products["layer"])
    assert (products["sparse_us"] > 0).all()
    told = capsys.readouterr().out
    assert all(title in told for title in SPARSE_KERNELS.values())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--runtimes", "tensorrt"), "'tensorrt' is no runtime; there are eager"),
        (("--batches", "0"), "batches: 0 is too small"),
        (("--pixels", "5000"), "give 0 to 1024"),
        (("--beside", "9"), "there is no point 9"),
    ],
)
def test_what_is_wrong_is_said(
    cache: Cache,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, ...],
    said: str,
) -> None:
    assert code_of(lambda: measure(cache, tmp_path, monkeypatch, *options)) == 2
    assert said in capsys.readouterr().err
