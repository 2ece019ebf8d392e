"""`bench` as a person calls it, and its last result on Home."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from pruning_core.cli import benchmark
from pruning_core.cli.main import main
from pruning_core.common.paths import CACHE_VARIABLE, Cache
from pruning_core.reports.charts.benchmark import NOT_SPEEDUPS, benchmark_chart
from pruning_core.results.benchmark import FIGURES, BenchmarkResult, Figure, last_result
from tests.helpers.project import ROOT

RESULT = BenchmarkResult(
    {name: Figure(2.0 + i, 1.5 + i, 3.0 + i) for i, name in enumerate(FIGURES)},
    {"size": "quick", "cores": 2, "machine": "x86_64", "torch": "2", "seconds_since_1970": 0},
)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """No machine is measured; the sizes that were asked for."""
    asked: list[str] = []

    def run(size: str) -> BenchmarkResult:
        asked.append(size)
        return RESULT

    monkeypatch.setattr(benchmark, "run", run)
    return asked


def test_the_result_is_printed_written_and_kept(
    measured: list[str], cache: Cache, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "new" / "bench.json"
    options = ["--cache-dir", str(cache.root)]
    assert main(["bench", "--quick", "--json", str(path), *options]) == 0
    assert measured == ["quick"]
    assert last_result(cache) == RESULT
    found = json.loads(path.read_text())
    assert set(FIGURES) <= set(found)
    assert all(set(found[name]) == {"median", "low", "high"} for name in FIGURES)
    assert str(path) in capsys.readouterr().out.replace("\n", "")


def test_without_quick_it_is_the_full_one(measured: list[str], cache: Cache) -> None:
    assert main(["bench", "--cache-dir", str(cache.root)]) == 0
    assert measured == ["full"]


def test_a_file_that_cannot_be_written_is_refused_before_the_measuring(
    measured: list[str], cache: Cache, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    options = ["--cache-dir", str(cache.root), "--json", str(tmp_path / "file" / "bench.json")]
    assert main(["bench", *options]) == 2
    assert "--json" in capsys.readouterr().err
    assert measured == []


def test_a_bench_that_ends_early_is_a_failure(
    cache: Cache, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(benchmark, "run", lambda size: None)
    assert main(["bench", "--cache-dir", str(cache.root)]) == 1
    assert "ended early" in capsys.readouterr().err
    assert last_result(cache) is None


def test_it_runs_in_the_environment_of_a_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else what is measured is not what is used."""
    seen = {}

    class Done:
        returncode, stdout = 0, "a line before\n" + json.dumps(json.loads(RESULT.to_json()))

    def called(command: list[str], **more: dict[str, str]) -> Done:
        seen.update(more["env"])
        return Done()

    for name in benchmark.ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(benchmark.subprocess, "run", called)
    assert benchmark.run("quick") == RESULT
    assert benchmark.ENVIRONMENT.items() <= seen.items()


def test_the_chart_holds_every_ratio_with_its_spread() -> None:
    (dots,) = benchmark_chart(RESULT).data
    names = [name for name in FIGURES if name not in NOT_SPEEDUPS]
    assert list(dots.x) == [RESULT.figures[name].median for name in names]
    assert list(dots.error_x.array) == [1.0] * len(names)
    assert list(dots.error_x.arrayminus) == [0.5] * len(names)


def test_home_draws_the_last_result(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(cache.root))
    monkeypatch.setattr("pruning_core.worker.start.ensure_worker", lambda *_: "")

    def home() -> AppTest:
        return AppTest.from_file(str(ROOT / "app.py"), default_timeout=60).run()

    before = home()
    assert not before.get("plotly_chart")
    assert any("bench --quick" in text.value for text in before.caption)
    cache.bench.write_text(RESULT.to_json())
    after = home()
    assert len(after.get("plotly_chart")) == 1
    assert any("quick size" in text.value for text in after.caption)
