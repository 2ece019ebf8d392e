"""Strategy search: equal budgets and sparsities, selection on validation images."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pruning_core.common.errors import SpecError
from pruning_core.common.paths import Cache
from pruning_core.methods.layers import Layer
from pruning_core.planning.inspections import known_layers
from pruning_core.planning.plan import plan
from pruning_core.planning.search import (
    SEARCH_STRATEGIES,
    Round,
    Trial,
    check_hours,
    final_key,
    finalists,
    remaining_seconds,
    spec_of,
    target_for,
    winner,
    winners,
)
from pruning_core.planning.stage import outline
from pruning_core.settings.pruning_steps import total_epochs
from pruning_core.settings.spec import Spec
from pruning_core.storage.store import Store
from tests.helpers.inspections import MODEL, Facts
from tests.helpers.stages import run_here
from tests.helpers.workers import TINY

LAYERS = [Layer(**layer) for layer in MODEL["layers"]]


@pytest.mark.parametrize("epochs", [1.0, 5.0, 7.5, 10.0])
@pytest.mark.parametrize("name", SEARCH_STRATEGIES)
def test_each_strategy_spends_the_budget(name: str, epochs: float) -> None:
    spec = spec_of(SEARCH_STRATEGIES[name], TINY, 0.8, epochs, 3)
    spent = total_epochs(spec.iterative) if spec.iterative.enabled else spec.one_shot.epochs
    assert spent == epochs
    assert spec.seeds == (3,)


@pytest.mark.parametrize(
    "name", [name for name, strategy in SEARCH_STRATEGIES.items() if not strategy.dense]
)
def test_the_sparsity_counts_all_layers(name: str) -> None:
    strategy = SEARCH_STRATEGIES[name]
    target = target_for(strategy, 0.5, LAYERS)
    assert target is not None
    assert target * prunable_weights(strategy.pruning.layers) == pytest.approx(
        0.5 * sum(layer.size for layer in LAYERS)
    )


@pytest.mark.parametrize("name", ["gradual_uniform", "early_obd", "dense"])
def test_the_sparsity_of_all_weights_is_reached(name: str, ran: Cache) -> None:
    """In a real run, up to rounding: also by a strategy that excludes layers."""
    sparsity = 0.0 if name == "dense" else 0.5
    store = Store(ran)
    result = store.read(final_key(outline(plan(half_sparse(name, ran), store))))
    assert result["weights_zeros"] == pytest.approx(sparsity * result["weights"], abs=60)


def half_sparse(name: str, cache: Cache) -> Spec:
    """A strategy with 50 % sparsity in one epoch."""
    layers = known_layers(TINY, Store(cache))
    target = target_for(SEARCH_STRATEGIES[name], 0.5, layers)
    assert target is not None
    return spec_of(SEARCH_STRATEGIES[name], replace(TINY, baseline_epochs=1), target, 1.0, 0)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    cache = Cache(tmp_path_factory.mktemp("search"))
    cache.prepare()
    run_here(cache, replace(TINY, baseline_epochs=0, one_shot=replace(TINY.one_shot, epochs=0)))
    for name in ("gradual_uniform", "early_obd", "dense"):
        run_here(cache, half_sparse(name, cache))
    return cache


def prunable_weights(choice: str) -> int:
    """The number of weights of a layer choice."""
    core = choice == "core"
    return sum(x.size for x in LAYERS if not (core and (x.kind == "depthwise" or x.role)))


def test_a_sparsity_above_the_prunable_layers_has_no_target() -> None:
    assert target_for(SEARCH_STRATEGIES["gradual_uniform"], 0.9999, LAYERS) is None


def trial(strategy: str, validation: float, epochs: float = 5.0, test: float = 0.0) -> Trial:
    return Trial(strategy, epochs, 0.9, 0, validation, 1 - validation, test)


def test_the_winner_is_chosen_on_validation_and_is_no_control() -> None:
    trials = [
        trial("gradual_lamp", 0.8, test=0.1),
        trial("gradual_erk", 0.7, test=0.9),
        trial("dense", 0.99),
    ]
    assert winner(trials) == "gradual_lamp"


def test_a_strategy_without_all_results_does_not_win() -> None:
    trials = [
        *(trial("gradual_lamp", 0.8, epochs) for epochs in (5.0, 10.0)),
        trial("gradual_uniform", 0.95),
    ]
    assert winner(trials) == "gradual_lamp"


def test_each_budget_has_its_own_winner() -> None:
    trials = [
        trial("gradual_lamp", 0.8, 5.0),
        trial("gradual_erk", 0.7, 5.0),
        trial("gradual_lamp", 0.8, 10.0),
        trial("gradual_erk", 0.9, 10.0),
    ]
    assert winners(trials) == {5.0: "gradual_lamp", 10.0: "gradual_erk"}


def test_of_equal_accuracies_the_lower_loss_wins() -> None:
    trials = [replace(trial("gradual_lamp", 0.8), validation_loss=0.5), trial("gradual_erk", 0.8)]
    assert winner(trials) == finalists(trials, 1)[0] == "gradual_erk"


def test_the_finalists_are_the_best_on_validation() -> None:
    trials = [trial(name, v) for name, v in (("a", 0.5), ("b", 0.9), ("c", 0.7))]
    assert finalists(trials, 2) == ["b", "c"]
    assert finalists(trials, 0) == ["b"]


def test_a_strategy_runs_alone() -> None:
    base = replace(
        TINY,
        sensitivity=replace(TINY.sensitivity, enabled=True),
        correction=replace(TINY.correction, enabled=True),
        structured=replace(TINY.structured, enabled=True, ratios=(0.5,)),
    )
    spec = spec_of(SEARCH_STRATEGIES["early_obd"], base, 0.5, 5.0, 1)
    assert not any(part.enabled for part in (spec.sensitivity, spec.correction, spec.structured))


def test_a_search_that_takes_too_long_is_refused() -> None:
    check_hours(3600, 1)
    check_hours(10**9, 0)
    with pytest.raises(SpecError, match="about 1 h 1 min on this machine, more than 1 h"):
        check_hours(3660, 1)
    with pytest.raises(SpecError) as caught:
        check_hours(3660, 0.5)
    assert caught.value.field == "--hours"


def test_a_round_takes_the_time_of_its_stages() -> None:
    strategies = tuple(SEARCH_STRATEGIES[name] for name in ("one_shot", "gradual_uniform"))
    store = Facts(TINY)

    def seconds(*rounds: Round) -> float:
        return remaining_seconds(rounds, TINY, LAYERS, store, cores=2)

    one = Round(strategies, [(5.0, 0.5)], (0,))
    assert seconds(one) > 0
    assert seconds(replace(one, cells=[(10.0, 0.5)])) > seconds(one)
    assert seconds(replace(one, share=0.5)) == pytest.approx(seconds(one) / 2)
    assert seconds(one, one) == pytest.approx(2 * seconds(one))
    assert seconds(replace(one, strategies=strategies[1:], cells=[(5.0, 0.9999)])) == 0


def test_strategies_have_texts_and_valid_specs() -> None:
    assert len({strategy.text for strategy in SEARCH_STRATEGIES.values()}) == len(SEARCH_STRATEGIES)
    controls = {name for name, strategy in SEARCH_STRATEGIES.items() if strategy.control}
    assert controls == {"dense", "one_shot", "random"}
