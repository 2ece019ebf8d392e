"""`latency`: a finished model timed in turn with its baseline; tables, conclusion and errors."""

from __future__ import annotations

import functools
from pathlib import Path

import pandas as pd
import pytest

from pruning_core.cli import latency
from pruning_core.cli.main import main
from pruning_core.common.paths import Cache
from pruning_core.methods.runtimes import SPARSE_KERNELS, installed_kernels
from pruning_core.planning.timing import SPARSITIES, Conditions, sparse_speedup_stage
from pruning_core.results.sparse_speedup import ALL_LAYERS
from pruning_core.storage.jobs import Queue
from tests.helpers.refusals import code_of


@pytest.fixture(autouse=True)
def short(inline: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few rounds, so that a measurement takes a second, and a table that needs no wrapping."""
    monkeypatch.setenv("COLUMNS", "200")
    conditions = functools.partial(Conditions, rounds=6, seconds=0.2)
    monkeypatch.setattr(latency, "Conditions", conditions)
    kernels = functools.partial(sparse_speedup_stage, rounds=6, seconds=0.05)
    monkeypatch.setattr(latency, "sparse_speedup_stage", kernels)


def measure(cache: Cache, out: Path, *options: str) -> int:
    """The exit code of the command on the only job of a cache."""
    job = Queue(cache.queue).jobs()[0].id
    return main(["latency", job, "--cache-dir", str(cache.root), "--out", str(out), *options])


def test_times_are_written_and_a_conclusion_is_printed(
    finished: Cache, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--runtimes", "eager,onnx", "--compare-with", "1", "--batch-sizes", "1,2")
    assert measure(finished, tmp_path, *options) == 0
    table = pd.read_csv(tmp_path / latency.LATENCY_CSV)
    assert set(table["runtime"]) == {"eager", "onnx"}
    assert set(table["batch_size"]) == {1, 2}
    assert set(table["role"]) == {"dense", "candidate", "control"}
    assert set(table["model"]) == {"baseline", "one-shot 50 %", "one-shot 90 %"}
    assert (table["p90_ms"] >= table["p50_ms"]).all()
    printed = capsys.readouterr().out
    assert "Speed-up over the dense model in the same runtime" in printed
    assert "(control)" in printed
    assert "not measured yet" in printed, "the size of the file, in the conclusion"


def test_threads_image_size_and_break_even_sparsity(
    finished: Cache, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--runtimes", "onnx", "--threads", "1,2", "--image-size", "64", "--break-even")
    assert measure(finished, tmp_path, *options) == 0
    times = pd.read_csv(tmp_path / "latency.csv")
    assert set(times["threads"]) == {1, 2}
    assert set(times["image_size"]) == {64}
    products = pd.read_csv(tmp_path / "sparse_speedup.csv")
    assert set(products["sparsity"]) == set(SPARSITIES)
    assert set(products["kernel"]) == set(installed_kernels())
    assert ALL_LAYERS in set(products["layer"])
    assert (products["sparse_us"] > 0).all()
    printed = capsys.readouterr().out
    assert all(SPARSE_KERNELS[name].title in printed for name in installed_kernels())
    assert f"Wrote {tmp_path / 'sparse_speedup.csv'}\n" in printed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--runtimes", "tensorrt"), "--runtimes: 'tensorrt' is not a runtime; choose from eager"),
        (("--batch-sizes", "0"), "--batch-sizes: 0 is too small"),
        (("--batch-sizes", "two"), "--batch-sizes: 'two' is not a whole number; see "),
        (("--threads", "1,1"), "--threads: "),
        (("--image-size", "5000"), "--image-size: give 0 to 1024"),
        (("--compare-with", "9"), "--compare-with: there is no model 9. The models of the job are"),
        (("--index", "9"), "--index: there is no model 9. The models of the job are: 0 baseline; "),
    ],
)
def test_a_wrong_option_is_refused(
    finished: Cache,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, ...],
    message: str,
) -> None:
    assert code_of(lambda: measure(finished, tmp_path, *options)) == 2
    assert capsys.readouterr().err.startswith(message)
