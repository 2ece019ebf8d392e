"""`search`: strategies are tried on validation images, and the best is reported on new seeds."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from pruning_core.cli.accuracy_search import table
from pruning_core.cli.main import main
from pruning_core.common.paths import Cache
from pruning_core.planning import search
from pruning_core.planning.search import SEARCH_STRATEGIES, Trial, finalists
from tests.helpers.refusals import training

BASE = (
    *("--train-size", "120", "--test-size", "60", "--width", "0.1", "--batch-size", "32"),
    *("--baseline-replicas", "1", "--baseline-epochs", "1"),
)
pytestmark = pytest.mark.usefixtures("inline")


def test_the_table_has_means_and_deviations() -> None:
    trials = [Trial("dense", 5.0, 0.9, seed, 0.0, 0.0, 0.5 + seed / 10) for seed in (1, 2, 3)]
    assert "| dense | 70.0 % ± 10.0 |" in table(trials, "test")
    assert "| strategy | 5 epochs, 0.9 |" in table(trials, "test")


def test_it_tries_chooses_and_reports(
    cache: Cache,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    few = {name: SEARCH_STRATEGIES[name] for name in ("gradual_global", "gradual_erk", "dense")}
    monkeypatch.setattr(search, "SEARCH_STRATEGIES", few)
    grid = ["--budgets", "1,2", "--sparsities", "50%,0.6", "--fresh", "1,2", "--finalists", "1"]
    command = ["search", "--cache-dir", str(cache.root), *BASE, *grid, "--out", str(tmp_path)]
    assert main(command) == 0
    rows = pd.read_csv(tmp_path / "search.csv")
    tried, fresh = rows[rows["seed"] == 0], rows[rows["seed"] > 0]
    hardest = tried[(tried["sparsity"] == 0.6) & (tried["epochs"] == 1)]
    assert sorted(hardest["strategy"]) == ["gradual_erk", "gradual_global"]
    trials = [Trial(*row) for row in tried.itertuples(index=False)]
    best = finalists(trials[:2], 1)
    assert tried[tried["sparsity"] == 0.5]["strategy"].tolist() == best * 2
    assert set(fresh["strategy"]) == {*best, "dense"}
    printed = capsys.readouterr().out
    assert all(f"for {epochs}: {best[0]}, " in printed for epochs in ("1 epoch", "2 epochs"))
    # Each accuracy is measured on its own images: 12 for validation, 60 for the test.
    for column, images in (("validation", 12), ("test", 60)):
        correct = images * rows[column]
        assert correct.to_numpy() == pytest.approx(correct.round().to_numpy())
        assert rows[column].nunique() > 1
    before = training(cache)
    assert main(command) == 0
    assert training(cache) == before
    assert "About 0 s of computing remain on this machine." in capsys.readouterr().err
    assert main([*command, "--fresh", "1,2,3", "--hours", "0.0001"]) == 2
    assert "--hours: the search would take about" in capsys.readouterr().err
    assert training(cache) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--criterion", "taylor"], "--criterion: every strategy of the search sets this"),
        (["--epochs", "3"], "--epochs: every strategy of the search sets this"),
        (["--no-iterative"], "--no-iterative: every strategy of the search sets this"),
        (["--structured-ratios", "0.5"], "--structured-ratios: every strategy of the search sets"),
        (["--seed", "0,1"], "--seed: give one seed"),
        (["--fresh", "0,1"], "--fresh: 0 is the seed on which the strategies are chosen"),
        (["--budgets", "0,5"], "--budgets: give 0.5 epochs or more"),
        (["--max-drop", "1"], "--max-drop: it does not apply to the objective accuracy"),
        (["--fresh", ",".join(map(str, range(1, 4001)))], "--fresh: 4,000 values are too many"),
    ],
)
def test_options_that_a_strategy_would_replace_are_refused(
    cache: Cache,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    message: str,
) -> None:
    command = ["search", "--cache-dir", str(cache.root), "--out", str(tmp_path), *options]
    assert main(command) == 2
    assert capsys.readouterr().err.startswith(message)


@pytest.mark.parametrize("option", ["--budgets", "--sparsities", "--fresh"])
@pytest.mark.parametrize(("text", "reason"), [("", "give at least one value"), ("x", "'x' is not")])
def test_a_wrong_list_is_refused(
    option: str, text: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["search", option, text])
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith(f"{option}: {reason}")


def test_a_sparsity_that_no_strategy_reaches_is_reported(
    cache: Cache,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    few = {name: SEARCH_STRATEGIES[name] for name in ("gradual_erk", "dense")}
    monkeypatch.setattr(search, "SEARCH_STRATEGIES", few)
    grid = ["--budgets", "0.5", "--sparsities", "1.5", "--fresh", "1", "--out", str(tmp_path)]
    assert main(["search", "--cache-dir", str(cache.root), *BASE, *grid]) == 1
    assert "No strategy reached any of --sparsities" in capsys.readouterr().err
