"""`benchmark` as a person calls it, and its last result on Home."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from pruning_core.cli import benchmark
from pruning_core.cli.main import main
from pruning_core.common.paths import Cache
from pruning_core.reports.charts.benchmark import NOT_SPEEDUPS, benchmark_chart
from pruning_core.results.benchmark import (
    FIGURES,
    GPU_FIGURES,
    BenchmarkResult,
    MedianRange,
    last_result,
)
from tests.helpers.project import ROOT

RESULT = BenchmarkResult(
    {name: MedianRange(2.0 + i, 1.5 + i, 3.0 + i) for i, name in enumerate(FIGURES)},
    {
        "size": "quick",
        "cores": 2,
        "machine": "x86_64",
        "instruction_sets": ["AVX2", "AMX-BF16"],
        "torch": "2",
        "torch_config": "PyTorch built with:\n  - GCC 13.3",
        "seconds_since_1970": 0,
    },
)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """No machine is measured; the requested sizes."""
    sizes: list[str] = []

    def measure(size: str, device: str) -> BenchmarkResult:
        sizes.append(f"{size} {device}")
        return RESULT

    monkeypatch.setattr(benchmark, "measure", measure)
    return sizes


def test_the_result_is_printed_written_and_kept(
    measured: list[str], cache: Cache, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "new" / "figures.json"
    options = ["--cache-dir", str(cache.root)]
    assert main(["benchmark", "--quick", "--json", str(path), *options]) == 0
    assert measured == ["quick cpu"]
    assert last_result(cache.benchmark) == RESULT
    written = json.loads(path.read_text())
    assert set(FIGURES) <= set(written)
    assert all(set(written[name]) == {"median", "low", "high"} for name in FIGURES)
    printed = " ".join(capsys.readouterr().out.split())
    assert str(path) in printed.replace(" ", "")
    assert "Instruction sets: AVX2 and AMX-BF16." in printed
    assert "PyTorch built with: - GCC 13.3" in printed


def test_without_quick_it_is_the_full_one(measured: list[str], cache: Cache) -> None:
    assert main(["benchmark", "--cache-dir", str(cache.root)]) == 0
    assert measured == ["full cpu"]


def test_the_figures_of_a_gpu_are_kept_apart(
    cache: Cache, monkeypatch: pytest.MonkeyPatch, no_worker: None
) -> None:
    figures = {name: MedianRange(20_000.0, 1.5, 3e4) for name in GPU_FIGURES}
    checks = ["The same training twice gave the same bits."]
    result = BenchmarkResult(figures, {"machine": "A GPU", "checks": checks})
    monkeypatch.setattr(benchmark, "measure", lambda size, device: result)
    assert main(["benchmark", "--device", "cuda", "--cache-dir", str(cache.root)]) == 0
    assert last_result(cache.benchmark) is None
    assert last_result(cache.gpu_benchmark) == result
    home = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60).run()
    assert len(home.get("plotly_chart")) == 1
    (text,) = [caption.value for caption in home.caption if "A GPU" in caption.value]
    assert "images per second 20,000." in text
    assert text.replace("\\", "").endswith(checks[0])


def test_a_file_that_cannot_be_written_is_refused_before_the_measuring(
    measured: list[str], cache: Cache, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    options = ["--cache-dir", str(cache.root), "--json", str(tmp_path / "file" / "figures.json")]
    assert main(["benchmark", *options]) == 2
    assert "--json" in capsys.readouterr().err
    assert measured == []


def test_a_benchmark_that_ends_early_is_a_failure(
    cache: Cache, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(benchmark, "measure", lambda size, device: None)
    assert main(["benchmark", "--cache-dir", str(cache.root)]) == 1
    assert capsys.readouterr().err == ("The benchmark ended early; its last messages are above.\n")
    assert last_result(cache.benchmark) is None


def test_it_runs_in_the_environment_of_a_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else what is measured is not what is used."""
    environment: dict[str, str] = {}

    class Done:
        returncode, stdout = 0, "a line before\n" + json.dumps(json.loads(RESULT.to_json()))

    def run(command: list[str], **options: Any) -> Done:
        environment.update(options["env"])
        return Done()

    for name in benchmark.ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(benchmark.subprocess, "run", run)
    assert benchmark.measure("quick", "cuda") == RESULT
    assert benchmark.ENVIRONMENT.items() <= environment.items()


def test_the_chart_holds_every_ratio_with_its_spread() -> None:
    (dots,) = benchmark_chart(RESULT).data
    names = [name for name in FIGURES if name not in NOT_SPEEDUPS]
    assert list(dots.x) == [RESULT.figures[name].median for name in names]
    assert list(dots.error_x.array) == [1.0] * len(names)
    assert list(dots.error_x.arrayminus) == [0.5] * len(names)


def test_home_draws_the_last_result(cache: Cache, no_worker: None) -> None:
    def home() -> AppTest:
        return AppTest.from_file(str(ROOT / "app.py"), default_timeout=60).run()

    before = home()
    assert not before.get("plotly_chart")
    assert any("--quick" in text.value for text in before.caption)
    cache.benchmark.write_text(RESULT.to_json())
    after = home()
    assert len(after.get("plotly_chart")) == 1
    assert any("quick size" in text.value for text in after.caption)
