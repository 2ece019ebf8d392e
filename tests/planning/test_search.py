"""Recipes: the same budget and the same sparsity for all, chosen on validation images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from pruning_core.cli.main import main
from pruning_core.cli.search import table
from pruning_core.common.paths import Cache
from pruning_core.methods.layers import Layer
from pruning_core.planning import search
from pruning_core.planning.inspections import known_layers
from pruning_core.planning.plan import plan
from pruning_core.planning.search import (
    SEARCH_STRATEGIES,
    Trial,
    final_key,
    finalists,
    spec_of,
    target_for,
    winner,
    winners,
)
from pruning_core.planning.stage import outline
from pruning_core.settings.pruning_steps import total_epochs
from pruning_core.settings.spec import Spec
from pruning_core.storage.store import Store
from tests.engine.test_stages import run_here
from tests.helpers.inspections import MODEL
from tests.helpers.refusals import training, without_worker
from tests.helpers.workers import TINY, TINY_OPTIONS

BASE = TINY_OPTIONS[: TINY_OPTIONS.index("--epochs")]  # what no recipe sets itself
LAYERS = [Layer(**layer) for layer in MODEL["layers"]]


@pytest.mark.parametrize("epochs", [1.0, 5.0, 7.5, 10.0])
@pytest.mark.parametrize("name", SEARCH_STRATEGIES)
def test_every_recipe_spends_the_budget(name: str, epochs: float) -> None:
    spec = spec_of(SEARCH_STRATEGIES[name], TINY, 0.8, epochs, 3)
    spent = total_epochs(spec.iterative) if spec.iterative.enabled else spec.one_shot.epochs
    assert spent == epochs
    assert spec.seeds == (3,)


@pytest.mark.parametrize(
    "name", [name for name, recipe in SEARCH_STRATEGIES.items() if not recipe.dense]
)
def test_sparsity_is_of_all_weights_whatever_is_spared(name: str) -> None:
    recipe = SEARCH_STRATEGIES[name]
    amount = target_for(recipe, 0.5, LAYERS)
    assert amount is not None
    pruned = recipe_command_sizes(recipe.pruning.layers)
    assert amount * pruned == pytest.approx(0.5 * sum(layer.size for layer in LAYERS))


@pytest.mark.parametrize("name", ["gradual_layer", "early_obd", "dense"])
def test_the_sparsity_of_all_weights_is_reached(name: str, ran: Cache) -> None:
    """In a real run: also by a recipe that spares layers, to the weight of what it rounds."""
    asked = 0.0 if name == "dense" else 0.5
    store = Store(ran)
    found = store.read(final_key(outline(plan(reaching(name, ran), store))))
    layers = found["weights"]
    assert found["weights_zeros"] == pytest.approx(asked * layers, abs=60)


def reaching(name: str, cache: Cache) -> Spec:
    """A recipe to half of all weights in one epoch."""
    layers = known_layers(TINY, Store(cache))
    amount = target_for(SEARCH_STRATEGIES[name], 0.5, layers)
    assert amount is not None
    return spec_of(SEARCH_STRATEGIES[name], replace(TINY, baseline_epochs=1), amount, 1.0, 0)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    cache = Cache(tmp_path_factory.mktemp("reaching"))
    cache.prepare()
    run_here(cache, replace(TINY, baseline_epochs=0, one_shot=replace(TINY.one_shot, epochs=0)))
    for name in ("gradual_layer", "early_obd", "dense"):
        run_here(cache, reaching(name, cache))
    return cache


def recipe_command_sizes(choice: str) -> int:
    """The weights of a layer choice, counted here."""
    spared = choice == "core"
    return sum(x.size for x in LAYERS if not (spared and (x.kind == "depthwise" or x.role)))


def test_a_sparsity_that_a_recipe_cannot_reach_is_left_out() -> None:
    assert target_for(SEARCH_STRATEGIES["gradual_layer"], 0.9999, LAYERS) is None


def trial(recipe: str, validation: float, epochs: float = 5.0, test: float = 0.0) -> Trial:
    return Trial(recipe, epochs, 0.9, 0, validation, 1 - validation, test)


def test_the_winner_is_chosen_on_validation_and_is_no_control() -> None:
    found = [
        trial("gradual_lamp", 0.8, test=0.1),
        trial("gradual_erk", 0.7, test=0.9),
        trial("dense", 0.99),
    ]
    assert winner(found) == "gradual_lamp"


def test_who_could_not_do_all_does_not_win() -> None:
    found = [
        *(trial("gradual_lamp", 0.8, epochs) for epochs in (5.0, 10.0)),
        trial("gradual_layer", 0.95),
    ]
    assert winner(found) == "gradual_lamp"


def test_each_number_of_epochs_has_a_winner_of_its_own() -> None:
    found = [
        trial("gradual_lamp", 0.8, 5.0),
        trial("gradual_erk", 0.7, 5.0),
        trial("gradual_lamp", 0.8, 10.0),
        trial("gradual_erk", 0.9, 10.0),
    ]
    assert winners(found) == {5.0: "gradual_lamp", 10.0: "gradual_erk"}


def test_of_equal_accuracies_the_lower_loss_wins() -> None:
    found = [replace(trial("gradual_lamp", 0.8), validation_loss=0.5), trial("gradual_erk", 0.8)]
    assert winner(found) == finalists(found, 1)[0] == "gradual_erk"


def test_the_finalists_are_the_best_on_validation() -> None:
    found = [trial(name, v) for name, v in (("a", 0.5), ("b", 0.9), ("c", 0.7))]
    assert finalists(found, 2) == ["b", "c"]
    assert finalists(found, 0) == ["b"]


def test_the_table_has_means_and_deviations() -> None:
    found = [Trial("dense", 5.0, 0.9, seed, 0.0, 0.0, 0.5 + seed / 10) for seed in (1, 2, 3)]
    assert "| dense | 70.0 % ± 10.0 |" in table(found, "test")
    assert "| 5 epochs, 0.9 |" in table(found, "test")


def test_the_command_tries_chooses_and_reports(
    cache: Cache,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    without_worker(monkeypatch)
    few = {name: SEARCH_STRATEGIES[name] for name in ("gradual_global", "gradual_erk", "dense")}
    monkeypatch.setattr(search, "RECIPES", few)
    own = ["--budgets", "1,2", "--sparsities", "0.5,0.6", "--fresh", "1,2", "--finalists", "1"]
    options = [*BASE, *own, "--out", str(tmp_path)]
    assert main(["recipes", "--cache-dir", str(cache.root), *options]) == 0
    rows = pd.read_csv(tmp_path / "recipes.csv")
    tried, fresh = rows[rows["seed"] == 0], rows[rows["seed"] > 0]
    hardest = tried[(tried["sparsity"] == 0.6) & (tried["epochs"] == 1)]
    assert sorted(hardest["recipe"]) == ["gradual_erk", "gradual_global"]
    best = finalists([Trial(**row) for row in tried.to_dict("records")[:2]], 1)
    assert tried[tried["sparsity"] == 0.5]["recipe"].tolist() == best * 2
    assert set(fresh["recipe"]) == {*best, "dense"}
    said = capsys.readouterr().out
    assert all(f"for {epochs}: {best[0]}, " in said for epochs in ("1 epoch", "2 epochs"))
    # Each figure is of its own images: 24 to validate, 100 to test.
    for column, images in (("validation", 24), ("test", 100)):
        right = images * rows[column]
        assert right.to_numpy() == pytest.approx(right.round().to_numpy())
        assert rows[column].nunique() > 1
    before = training(cache)
    assert main(["recipes", "--cache-dir", str(cache.root), *options]) == 0
    assert training(cache) == before
    assert "About 0 s of computing are left here." in capsys.readouterr().err
    more = ["recipes", "--cache-dir", str(cache.root), *options, "--fresh", "1,2,3"]
    assert main([*more, "--hours", "0.0001"]) == 2
    assert "--hours: the search would take about" in capsys.readouterr().err
    assert training(cache) == before


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--criterion", "taylor"], "--criterion: a recipe sets this itself"),
        (["--epochs", "3"], "--epochs: a recipe sets this itself"),
        (["--no-iterative"], "--no-iterative: a recipe sets this itself"),
        (["--structured-ratios", "0.5"], "--structured-ratios: a recipe sets this itself"),
        (["--seed", "0,1"], "--seed: give one seed"),
        (["--fresh", "0,1"], "--fresh: 0 has chosen the recipe"),
        (["--budgets", ""], "--budgets: "),
        (["--budgets", "0,5"], "--budgets: give epochs above 0"),
        (["--sparsities", ""], "--sparsities: "),
    ],
)
def test_what_a_recipe_would_overrule_is_refused(
    cache: Cache, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    command = ["recipes", "--cache-dir", str(cache.root), "--out", str(tmp_path), *options]
    assert main(command) == 2
    assert said in capsys.readouterr().err


def test_a_recipe_runs_alone_whatever_the_base_has() -> None:
    base = replace(
        TINY,
        sensitivity=replace(TINY.sensitivity, enabled=True),
        correction=replace(TINY.correction, enabled=True),
        structured=replace(TINY.structured, enabled=True, ratios=(0.5,)),
    )
    made = spec_of(SEARCH_STRATEGIES["early_obd"], base, 0.5, 5.0, 1)
    assert not any(part.enabled for part in (made.sensitivity, made.correction, made.structured))


def test_what_no_recipe_can_reach_is_said(
    cache: Cache,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    without_worker(monkeypatch)
    monkeypatch.setattr(
        search, "RECIPES", {n: SEARCH_STRATEGIES[n] for n in ("gradual_erk", "dense")}
    )
    own = ["--budgets", "0.5", "--sparsities", "1.5", "--fresh", "1", "--out", str(tmp_path)]
    assert main(["recipes", "--cache-dir", str(cache.root), *BASE, *own]) == 1
    assert "No recipe reached any of --sparsities" in capsys.readouterr().err
