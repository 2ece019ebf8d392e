"""`search --objective latency`: all candidates timed together, the choice within the drop."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pytest

from pruning_core.cli.latency_search import trial_table
from pruning_core.cli.main import main
from pruning_core.common.paths import Cache
from pruning_core.planning import latency_search
from pruning_core.planning.latency_search import DENSE, LATENCY_STRATEGIES
from pruning_core.results.latency_trials import LatencyTrial, fastest
from tests.cli.test_search import BASE
from tests.helpers.refusals import training

pytestmark = pytest.mark.usefixtures("inline")


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """One amount of two strategies, and the dense model."""
    for name, amounts in {"weights": (0.9,), "channels_local": (0.5,)}.items():
        strategy = replace(LATENCY_STRATEGIES[name], amounts=amounts)
        monkeypatch.setitem(latency_search.LATENCY_STRATEGIES, name, strategy)
    for name in ("blocks", "channels_global"):
        monkeypatch.delitem(latency_search.LATENCY_STRATEGIES, name)


def trial(strategy: str, validation: float, speedup: float, seed: int = 0) -> LatencyTrial:
    return LatencyTrial(
        strategy, 0.5, 1.0, seed, "onnx", validation, 0.5, 1.0, speedup, 0.9, 1.1, "eager"
    )


def test_the_fastest_of_the_accurate_enough_models_is_chosen() -> None:
    trials = [trial("blocks", 0.80, 3.0), trial("weights", 0.90, 2.0), trial("dense", 0.91, 1.0)]
    assert fastest(trials, 0.90) == trials[1]
    assert fastest(trials, 0.70) == trials[0]
    assert fastest(trials, 0.95) is None


def test_the_table_has_means_over_seeds_and_the_fastest_first() -> None:
    trials = [trial("blocks", 0.5, 1.0), trial("weights", 0.6, 1.5), trial("weights", 0.8, 2.5, 1)]
    rows = trial_table(trials, "validation").splitlines()[2:]
    assert rows[0].startswith("| weights | 50 % | ONNX Runtime | 70.0 % ± 14.1 | 1 | 2 (")
    assert rows[1].startswith("| blocks | 50 % | ONNX Runtime | 50.0 % | 1 | 1 (")


def test_it_times_chooses_and_reports(
    cache: Cache, tmp_path: Path, few: None, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--objective", "latency", "--budgets", "1", "--fresh", "1,2", "--max-drop", "100")
    command = ["search", "--cache-dir", str(cache.root), *BASE, *options, "--out", str(tmp_path)]
    assert main(command) == 0
    rows = pd.read_csv(tmp_path / "search.csv")
    tried, fresh = rows[rows["seed"] == 0], rows[rows["seed"] > 0]
    by_strategy = {name: set(rows["runtime"]) for name, rows in tried.groupby("strategy")}
    dense_runtimes = {"eager", "onnx", "onnx_int8"}
    assert dense_runtimes <= by_strategy[DENSE] & by_strategy["channels_local"]
    # Zeros are timed where they are skipped, and only there.
    sparse = {"mnn_sparse"} if find_spec("MNN") else set()
    assert by_strategy.get("weights", set()) == sparse
    assert "mnn_sparse" not in by_strategy[DENSE]
    # The fastest dense model is what all others are compared with.
    reference = tried[(tried["strategy"] == DENSE) & (tried["speedup"] == 1)]
    assert set(reference["runtime"]) <= set(tried["fastest_runtime"])
    best = tried.loc[tried["speedup"].idxmax()]
    printed = capsys.readouterr()
    assert f"Chosen: {best['strategy']}" in printed.out
    assert set(fresh["seed"]) == {1, 2}
    assert {best["strategy"], DENSE} == set(fresh["strategy"])
    assert "as fast as the dense model in" in printed.out
    before = training(cache)
    assert main([*command, "--max-drop", "0", "--hours", "0.01"]) == 0
    assert before.items() <= training(cache).items(), "nothing was trained again"
    rows = pd.read_csv(tmp_path / "search.csv")
    tried = rows[rows["seed"] == 0]
    lowest = tried.loc[tried["strategy"] == DENSE, "validation"].iloc[0]
    accurate = tried[tried["validation"] >= lowest - 1e-9]
    chosen = accurate.loc[accurate["speedup"].idxmax()]
    assert f"Chosen: {chosen['strategy']}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--sparsities", "0.5"], "--sparsities: the objective latency tries the amounts"),
        (["--max-drop", "-1"], "--max-drop: give 0 to 100 percentage points"),
        (["--max-drop", "nan"], "--max-drop: give 0 to 100 percentage points"),
    ],
)
def test_wrong_options_are_refused(
    cache: Cache,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    message: str,
) -> None:
    command = ["search", "--objective", "latency", "--cache-dir", str(cache.root), *options]
    assert main([*command, "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith(message)
