"""Scopes, granularities and spared layers in whole stages: exact counts, notes, the detector."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pruning_core.common.paths import Cache
from pruning_core.engine.export import sparse_file
from pruning_core.engine.masks import masks
from pruning_core.engine.masks.units import remaining_units
from pruning_core.engine.stages import MASK_FILE, MODEL_FILE
from pruning_core.methods.criteria import CRITERIA
from pruning_core.methods.granularity import fits
from pruning_core.methods.layers import Layer, prunable
from pruning_core.planning.inspections import inspect_model
from pruning_core.planning.plan import plan
from pruning_core.settings.pruning import PruningSpec
from pruning_core.settings.serialization import to_dict
from pruning_core.settings.spec import Spec
from pruning_core.settings.strategies import IterativeSpec, OneShotSpec
from pruning_core.storage.jobs import Queue
from pruning_core.storage.store import Store
from tests.engine.test_stages import run_here
from tests.helpers.workers import TINY

CHAIN = IterativeSpec(target=0.8, iterations=2, epochs=0, equal_budget=False)
SPARED = {"exclude": ("classifier",)}


def spec(chain: bool = True, amount: float = 0.5, **pruning: Any) -> Spec:
    """No fine-tuning: a cut of the same baseline, and what is measured of it."""
    return replace(
        TINY,
        baseline_epochs=0,
        pruning=PruningSpec(**pruning),
        one_shot=OneShotSpec(amounts=(amount,), epochs=0),
        iterative=CHAIN if chain else IterativeSpec(enabled=False),
    )


@pytest.fixture(allocation="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    cache = Cache(tmp_path_factory.mktemp("selection"))
    cache.prepare()
    return cache


def allowed(cache: Cache, made: Spec) -> list[Layer]:
    found = [Layer(**x) for x in Store(cache).read(inspect_model(made, 10).key)["layers"]]
    return prunable(found, made.pruning.layers, made.pruning.exclude)


CUTS = {
    "erk": spec(allocation="erk"),
    "lamp": spec(allocation="lamp", exclude=("depthwise", "features.0.*")),
    "custom": spec(allocation="custom", layer_sparsities=("*=0.9", "classifier*=0")),
    "kernel": spec(granularity="kernel", allocation="global"),
    "filter": spec(granularity="filter", allocation="global", filter_norm="1", **SPARED),
    "inputs": spec(granularity="filter", filter_dim=1, exclude=("depthwise", "stem")),
}


@pytest.mark.parametrize("name", CUTS)
def test_the_asked_number_of_pieces_goes(cache: Cache, name: str) -> None:
    made = CUTS[name]
    run_here(cache, made)
    store, layers = Store(cache), allowed(cache, made)
    before: dict[str, Any] = {}
    for point in plan(made, store).models[1:]:
        result = store.read(point.key)
        kept = masks.load(store.file(point.key, MASK_FILE))
        state = sparse_file.load(store.file(point.key, MODEL_FILE))
        pieces = [remaining_units(mask, to_dict(made.pruning)) for mask in kept.values()]
        each = [round(point.asked * left.size) for left in pieces]
        total = round(point.asked * sum(left.size for left in pieces))
        gone = sum(int((~left).sum()) for left in pieces)
        assert gone == (sum(each) if made.pruning.allocation == "uniform" else total)
        assert list(kept) == [layer.name for layer in layers]
        assert result["prunable"] == sum(layer.size for layer in layers)
        assert result["prunable_zeros"] == sum(int((~mask).sum()) for mask in kept.values())
        assert all(not bool(state[key][~mask].any()) for key, mask in kept.items())
        if point.iteration:
            assert all(not bool((mask & ~before.get(n, mask)).any()) for n, mask in kept.items())
            before = kept


@pytest.mark.parametrize("granularity", ["2:4", "4:8"])
def test_a_pattern_is_cut_and_what_does_not_fit_is_noted(cache: Cache, granularity: str) -> None:
    made = spec(chain=False, granularity=granularity)
    run_here(cache, made)
    store, of = Store(cache), int(granularity[-1])
    result = store.read(plan(made, store).models[1].key)
    layers = allowed(cache, made)
    fit = [layer for layer in layers if layer.shape[1] % of == 0]
    assert result["prunable_zeros"] == sum(layer.size for layer in fit) // 2
    assert len(fit) < len(layers)
    (note,) = result["notes"]
    assert note.startswith(f"Not cut to {granularity}")
    assert "features.0.0.weight" in note
    assert "all 17 depthwise layers" in note


def test_a_table_that_is_scaled_is_noted(cache: Cache) -> None:
    made = CUTS["custom"]
    run_here(cache, made)
    store = Store(cache)
    (note,) = store.read(plan(made, store).models[1].key)["notes"]
    assert note.endswith("for 50.00%.")


def test_a_layer_that_would_die_stops_the_run_before_training(cache: Cache) -> None:
    made = spec(chain=False, amount=0.999, allocation="global", min_density=0.0)
    made = replace(made, one_shot=OneShotSpec(amounts=(0.999,), epochs=1))
    run_here(cache, made)
    row = Queue(cache.queue).stage(plan(made, Store(cache)).models[1].key)
    assert row is not None
    assert (row.status, row.field) == ("failed", "pruning.min_density")
    assert row.error.startswith("at 99.90% nothing would be left of 'features.")
    assert "raise the keep-floor" in row.error
    assert not row.progress.get("history")


@pytest.mark.parametrize("granularity", ["kernel", "filter", "2:4"])
@pytest.mark.parametrize("criterion", CRITERIA)
def test_every_criterion_cuts_every_piece(cache: Cache, criterion: str, granularity: str) -> None:
    pruning = PruningSpec(criterion, granularity=granularity, calibration_images=16, **SPARED)
    made = replace(spec(False), pruning=pruning, baseline_epochs=1)
    run_here(cache, made)
    (point,) = [p for p in plan(made, Store(cache)).models if p.strategy == "one_shot"]
    kept = masks.load(Store(cache).file(point.key, MASK_FILE))
    for layer in allowed(cache, made):
        left = remaining_units(kept[layer.name], to_dict(pruning))
        cut = granularity != "2:4" or fits(layer.shape, granularity)
        assert int((~left).sum()) == (round(0.5 * left.size) if cut else 0)
