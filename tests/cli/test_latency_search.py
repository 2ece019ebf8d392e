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
from pruning_core.methods import runtimes
from pruning_core.planning import latency_search
from pruning_core.planning.latency_search import DENSE, LATENCY_STRATEGIES
from pruning_core.results.latency_trials import LatencyTrial, fastest
from tests.cli.test_search import BASE
from tests.helpers.refusals import training

pytestmark = pytest.mark.usefixtures("inline")


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """One target of two strategies, and the dense model. ExecuTorch is left out: it is slow."""
    installed = runtimes._is_installed
    monkeypatch.setattr(
        runtimes, "_is_installed", lambda name: name != "executorch" and installed(name)
    )
    for name, strategy in list(LATENCY_STRATEGIES.items()):
        one = replace(strategy, targets=strategy.targets[:1])
        monkeypatch.setitem(latency_search.LATENCY_STRATEGIES, name, one)
        if name not in (DENSE, "weights_uniform", "channels_local"):
            monkeypatch.delitem(latency_search.LATENCY_STRATEGIES, name)


def trial(strategy: str, validation: float, speedup: float, seed: int = 0) -> LatencyTrial:
    return LatencyTrial(
        strategy,
        0.5,
        1.0,
        seed,
        "onnx",
        validation,
        test=0.5,
        ms=1.0,
        speedup=speedup,
        speedup_low=0.9,
        speedup_high=1.1,
        conclusion="faster" if speedup > 1 else "noisy",
        fastest_runtime="eager",
    )


def test_the_fastest_of_the_accurate_enough_models_is_chosen() -> None:
    trials = [
        trial("blocks", 0.80, 3.0),
        trial("weights", 0.90, 2.0),
        trial("dense", 0.91, 1.0),
    ]
    assert fastest(trials, 0.90) == trials[1]
    assert fastest(trials, 0.70) == trials[0]
    assert fastest(trials, 0.905) is None, "none is surely faster"


def test_the_table_has_means_over_seeds_and_the_fastest_first() -> None:
    trials = [
        trial("blocks", 0.5, 1.0),
        trial("weights", 0.6, 1.5),
        trial("weights", 0.8, 2.5, 1),
    ]
    first, second = trial_table(trials, "validation").splitlines()[2:]
    assert first.startswith("| weights | 50 % | ONNX Runtime | 70.0 % ± 14.1 | 1 | 2x ± 0.71 |")
    assert second.startswith("| blocks | 50 % | ONNX Runtime | 50.0 % | 1 | 1x (95 % CI 0.9 to ")


def search(cache: Cache, out: Path, *options: str) -> pd.DataFrame:
    """The table of a search."""
    given = ("--objective", "latency", "--budgets", "1", "--fresh", "1,2", *options)
    command = ["search", "--cache-dir", str(cache.root), *BASE, *given, "--out", str(out)]
    assert main(command) == 0
    return pd.read_csv(out / "search.csv", keep_default_na=False)


def test_it_times_chooses_and_reports(
    cache: Cache,
    tmp_path: Path,
    few: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """On so small a model no speed-up is sure, so the first search takes the largest one."""
    with monkeypatch.context() as patch:
        patch.setattr("pruning_core.cli.latency_search.fastest", lambda trials, _: largest(trials))
        rows = search(cache, tmp_path)
    tried, fresh = rows[rows["seed"] == 0], rows[rows["seed"] > 0]
    by_strategy = {name: set(rows["runtime"]) for name, rows in tried.groupby("strategy")}
    dense_runtimes = {"eager", "onnx", "onnx_int8"}
    assert dense_runtimes <= by_strategy[DENSE] & by_strategy["channels_local"]
    # Zeros are timed where they are skipped, and only there.
    sparse = {"mnn_sparse"} if find_spec("MNN") else set()
    assert by_strategy.get("weights_uniform", set()) == sparse
    assert "mnn_sparse" not in by_strategy[DENSE]
    # The fastest dense model is what all others are compared with.
    reference = tried[(tried["strategy"] == DENSE) & (tried["speedup"] == 1)]
    assert set(reference["runtime"]) <= set(tried["fastest_runtime"])
    best = tried[tried["strategy"] != DENSE].sort_values("speedup").iloc[-1]
    printed = capsys.readouterr().out
    assert f"Chosen: {best['strategy']} " in printed
    assert "Accuracy minus that of the dense model with the same seed: " in printed
    assert set(fresh["seed"]) == {1, 2}
    assert set(fresh["strategy"]) == {best["strategy"], DENSE}
    before = training(cache)
    rows = search(cache, tmp_path, "--max-drop", "0")
    assert before.items() <= training(cache).items(), "nothing was trained again"
    tried = rows[rows["seed"] == 0]
    dense = tried[(tried["strategy"] == DENSE) & (tried["runtime"] == "eager")]
    suitable = tried[tried["validation"] >= dense["validation"].iloc[0] - 1e-9]
    suitable = suitable[suitable["conclusion"] == "faster"].sort_values("speedup")
    sentence = "No model that loses at most 0 points"
    if len(suitable):
        sentence = f"Chosen: {suitable['strategy'].iloc[-1]}"
    assert sentence in capsys.readouterr().out


def largest(trials: list[LatencyTrial]) -> LatencyTrial:
    pruned = [trial for trial in trials if trial.strategy != DENSE]
    return max(pruned, key=lambda trial: trial.speedup)


def test_a_strategy_without_a_runtime_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        latency_search, "missing_packages", lambda names: ["MNN"] if "mnn_sparse" in names else []
    )
    assert "weights_uniform" not in latency_search.usable_strategies()
    assert {DENSE, "channels_local"} <= set(latency_search.usable_strategies())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--sparsities", "0.5"], "--sparsities: it does not apply to the objective latency"),
        (["--finalists", "2"], "--finalists: it does not apply to the objective latency"),
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
