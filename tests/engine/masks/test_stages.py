"""Allocations, granularities and excluded layers in whole stages: exact counts and notes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from pruning_core.common.errors import SpecError
from pruning_core.common.paths import Cache
from pruning_core.engine.export import sparse_file
from pruning_core.engine.masks import masks
from pruning_core.engine.masks.units import remaining_units
from pruning_core.engine.models import build
from pruning_core.engine.stage_inputs import MASK_FILE, MODEL_FILE
from pruning_core.methods.criteria import CRITERIA
from pruning_core.methods.granularity import fits
from pruning_core.methods.layers import Layer, prunable
from pruning_core.planning.inspections import inspect_model
from pruning_core.planning.plan import plan
from pruning_core.settings.data import ModelSpec
from pruning_core.settings.pruning import PruningSpec
from pruning_core.settings.serialization import to_dict
from pruning_core.settings.spec import Spec
from pruning_core.settings.strategies import IterativeSpec, OneShotSpec
from pruning_core.storage.jobs import Queue
from pruning_core.storage.store import Store
from tests.helpers.stages import SMALL, run_here
from tests.helpers.workers import TINY

CHAIN = IterativeSpec(target=0.8, iterations=2, epochs=0, equal_budget=False)
EXCLUDED: dict[str, Any] = {"exclude": ("classifier",)}


def spec(chain: bool = True, amount: float = 0.5, **pruning: Any) -> Spec:
    """Pruning without fine-tuning."""
    return replace(
        TINY,
        baseline_epochs=0,
        pruning=PruningSpec(**pruning),
        one_shot=OneShotSpec(amounts=(amount,), epochs=0),
        iterative=CHAIN if chain else IterativeSpec(enabled=False),
    )


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    cache = Cache(tmp_path_factory.mktemp("selection"))
    cache.prepare()
    return cache


def prunable_layers(cache: Cache, tested: Spec) -> list[Layer]:
    layers = [Layer(**x) for x in Store(cache).read(inspect_model(tested, 10).key)["layers"]]
    return prunable(layers, tested.pruning.layers, tested.pruning.exclude)


SPECS = {
    "erk": spec(allocation="erk"),
    "lamp": spec(allocation="lamp", exclude=("depthwise", "features.0.*")),
    "custom": spec(allocation="custom", layer_sparsities=("*=0.9", "classifier*=0")),
    "block": spec(granularity="block:4", allocation="global"),
    "kernel": spec(granularity="kernel", allocation="global"),
    "filter": spec(granularity="filter", allocation="global", filter_norm="1", **EXCLUDED),
    "inputs": spec(granularity="filter", filter_dim=1, exclude=("depthwise", "stem")),
}


@pytest.mark.parametrize("name", SPECS)
def test_exactly_the_target_number_of_units_is_pruned(cache: Cache, name: str) -> None:
    tested = SPECS[name]
    run_here(cache, tested)
    store, layers = Store(cache), prunable_layers(cache, tested)
    before: dict[str, Any] = {}
    for model in plan(tested, store).models[1:]:
        result = store.read(model.key)
        kept = masks.load(store.file(model.key, MASK_FILE))
        state = sparse_file.load(store.file(model.key, MODEL_FILE))
        units = [remaining_units(mask, to_dict(tested.pruning)) for mask in kept.values()]
        each = [round(model.target * remaining.size) for remaining in units]
        total = round(model.target * sum(remaining.size for remaining in units))
        pruned = sum(int((~remaining).sum()) for remaining in units)
        assert pruned == (sum(each) if tested.pruning.allocation == "uniform" else total)
        assert list(kept) == [layer.name for layer in layers]
        assert result["prunable"] == sum(layer.size for layer in layers)
        assert result["prunable_zeros"] == sum(int((~mask).sum()) for mask in kept.values())
        assert all(not bool(state[key][~mask].any()) for key, mask in kept.items())
        if model.iteration:
            assert all(not bool((mask & ~before.get(n, mask)).any()) for n, mask in kept.items())
            before = kept


@pytest.mark.parametrize("granularity", ["2:4", "4:8"])
def test_a_pattern_is_pruned_and_other_layers_are_noted(cache: Cache, granularity: str) -> None:
    tested = spec(chain=False, granularity=granularity)
    run_here(cache, tested)
    store, of = Store(cache), int(granularity[-1])
    result = store.read(plan(tested, store).models[1].key)
    layers = prunable_layers(cache, tested)
    fit = [layer for layer in layers if layer.shape[1] % of == 0]
    assert result["prunable_zeros"] == sum(layer.size for layer in fit) // 2
    assert len(fit) < len(layers)
    (note,) = result["notes"]
    assert f"multiple of {granularity[-1]}" in note
    assert note.endswith(": features.0.0.weight, 17 depthwise layers.")


def test_a_table_that_is_scaled_is_noted(cache: Cache) -> None:
    tested = SPECS["custom"]
    run_here(cache, tested)
    store = Store(cache)
    (note,) = store.read(plan(tested, store).models[1].key)["notes"]
    assert "0.5742" in note
    assert note.endswith("to reach 50.00 %.")


def test_layer_collapse_stops_the_run_before_training(cache: Cache) -> None:
    tested = spec(chain=False, amount=0.999, allocation="global", min_density=0.0)
    tested = replace(tested, one_shot=OneShotSpec(amounts=(0.999,), epochs=1))
    run_here(cache, tested)
    row = Queue(cache.queue).stage(plan(tested, Store(cache)).models[1].key)
    assert row is not None
    assert (row.status, row.field) == ("failed", "pruning.min_density")
    message = SpecError.from_json(row.field, row.error).message
    assert message.startswith("at 0.999 nothing would remain of 'features.")
    assert "raise pruning.min_density" in message
    assert not row.progress.get("history")


def test_a_run_with_blocks_has_a_key_and_notes_of_its_own(cache: Cache) -> None:
    tested = SPECS["block"]
    run_here(cache, tested)
    store = Store(cache)
    others = [spec(allocation="global", granularity=x) for x in ("block:2", "unstructured")]
    keys = {plan(x, store).models[-1].key for x in (tested, *others)}
    assert len(keys) == 3
    result = store.read(plan(tested, store).models[-1].key)
    assert result["notes"] == [
        "The last block is smaller in layers whose output channels (per group) do not divide by 4: "
        "classifier.1.weight. It is scored as a whole block with the same mean.",
        "In 17 depthwise layers a block is one kernel position of 4 consecutive channels.",
    ]


def test_no_block_of_a_run_extends_over_two_groups(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six outputs in each group: a block of four and one of two, in a step and after regrowth."""

    def make(name: str, classes: int, *_: float, **__: float) -> nn.Module:
        layers = (nn.Conv2d(3, 8, 3, stride=4), nn.Conv2d(8, 24, 3, groups=4), nn.ReLU())
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, classes))

    monkeypatch.setattr(build, "make", make)
    chain = replace(CHAIN, schedule="rigl", epochs=0.5, target=0.5)
    tested = replace(
        SMALL,
        model=ModelSpec("resnext50_32x4d"),
        pruning=PruningSpec("synflow", granularity="block:4", calibration_images=16),
        baseline_epochs=0,
        one_shot=OneShotSpec(()),
        iterative=chain,
    )
    run_here(cache, tested, shared=("inspect_dataset",))
    store = Store(cache)
    (layer,) = [x for x in prunable_layers(cache, tested) if x.name == "1.weight"]
    assert (layer.shape[0], layer.groups) == (24, 4)
    for model in plan(tested, store).models[1:]:
        mask = masks.load(store.file(model.key, MASK_FILE))[layer.name]
        for start in range(0, 24, 6):
            for part in (mask[start : start + 4], mask[start + 4 : start + 6]):
                assert torch.equal(part.all(0), part.any(0))
        assert not bool(mask.all())


@pytest.mark.parametrize("granularity", ["kernel", "filter", "2:4"])
@pytest.mark.parametrize("criterion", CRITERIA)
def test_every_criterion_prunes_every_unit(cache: Cache, criterion: str, granularity: str) -> None:
    pruning = PruningSpec(criterion, granularity=granularity, calibration_images=16, **EXCLUDED)
    tested = replace(
        spec(False), pruning=pruning, baseline_epochs=1, data=SMALL.data, model=SMALL.model
    )
    run_here(cache, tested)
    (model,) = [p for p in plan(tested, Store(cache)).models if p.strategy == "one_shot"]
    kept = masks.load(Store(cache).file(model.key, MASK_FILE))
    for layer in prunable_layers(cache, tested):
        remaining = remaining_units(kept[layer.name], to_dict(pruning))
        pruned = granularity != "2:4" or fits(layer.shape, granularity)
        assert int((~remaining).sum()) == (round(0.5 * remaining.size) if pruned else 0)
