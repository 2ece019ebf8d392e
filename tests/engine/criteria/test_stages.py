"""Whole comparisons with each criterion, run in this process."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from pruning_core.engine.criteria.table import CRITERIA
from torch import nn

from pruning_core.common.paths import Cache
from pruning_core.engine.analysis import inspect_model
from pruning_core.engine.criteria import collect, synflow
from pruning_core.engine.criteria.collect import MOVEMENT_FILE, for_level, for_scan
from pruning_core.engine.criteria.inputs import Evidence
from pruning_core.engine.data.loading import ImageSet, Splits
from pruning_core.engine.masks import masks
from pruning_core.engine.stages import MASK_FILE
from pruning_core.methods.criteria import IMAGES, needs
from pruning_core.planning.plan import plan
from pruning_core.settings.data import DataSpec, ModelSpec
from pruning_core.settings.pruning import PruningSpec
from pruning_core.settings.serialization import to_dict
from pruning_core.settings.spec import Spec
from pruning_core.settings.strategies import IterativeSpec, OneShotSpec
from pruning_core.storage.store import Store
from tests.engine.test_stages import run_here
from tests.helpers.workers import TINY

SMALL = replace(
    TINY,
    data=DataSpec(train_size=120, test_size=40),
    model=ModelSpec(width=0.1),
    baseline_epochs=1,
    one_shot=OneShotSpec(amounts=(0.8,), epochs=0),
    iterative=IterativeSpec(target=0.8, iterations=2, epochs=1, equal_budget=False),
)


def spec_with(criterion: str) -> Spec:
    return replace(SMALL, pruning=PruningSpec(criterion, "global", calibration_images=40))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cache]:
    made = Cache(tmp_path_factory.mktemp("criteria"))
    made.prepare()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inspect_model, "TRIAL_SECONDS", 0.0)
        patch.setattr(synflow, "STEPS", 5)
        yield made


def kept(cache: Cache, spec: Spec) -> dict[tuple[str, int], dict[str, torch.Tensor]]:
    """The masks of every cut, by strategy and iteration."""
    store = Store(cache)
    return {
        (point.strategy, point.iteration): masks.load(store.file(point.key, MASK_FILE))
        for point in plan(spec, store).models[1:]
    }


@pytest.mark.parametrize("criterion", CRITERIA)
def test_a_comparison_with_each_criterion(cache: Cache, criterion: str) -> None:
    """Counts are exact, masks only grow, and one that is not random has a choice of its own."""
    spec, store = spec_with(criterion), Store(cache)
    run_here(cache, spec)
    for point in plan(spec, store).models[1:]:
        result = store.read(point.key)
        assert result["prunable_zeros"] == round(point.asked * result["prunable"])
        assert result["notes"] == []
    found = kept(cache, spec)
    first, last = found["iterative", 1], found["iterative", 2]
    assert not any(bool((mask & ~first[name]).any()) for name, mask in last.items())
    others = [kept(cache, spec_with(n)) for n in CRITERIA if n < criterion and ran(cache, n)]
    for other in others:
        assert any(not torch.equal(other["iterative", 1][n], first[n]) for n in first)


def ran(cache: Cache, criterion: str) -> bool:
    store = Store(cache)
    made = plan(spec_with(criterion), store)
    return made.complete and all(store.exists(point.key) for point in made.models)


def test_snip_looks_at_the_dense_baseline_whatever_is_cut(cache: Cache) -> None:
    """So a chain ends with the masks of one cut, though its weights have moved meanwhile."""
    for criterion, same in (("snip", True), ("taylor", False)):
        run_here(cache, spec_with(criterion))
        found = kept(cache, spec_with(criterion))
        once, chain = found["one_shot", 0], found["iterative", 2]
        assert all(torch.equal(once[name], chain[name]) for name in once) == same


def test_only_a_training_before_a_cut_by_movement_keeps_what_it_added_up(cache: Cache) -> None:
    store, found = Store(cache), {}
    for criterion in ("movement", "magnitude"):
        run_here(cache, spec_with(criterion))
        points = plan(spec_with(criterion), store).models
        found[criterion] = [(store.folder(p.key) / MOVEMENT_FILE).is_file() for p in points]
    assert found == {"movement": [True, False, True, False], "magnitude": [False] * 4}


class Net(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(72, 2))


PRUNE = {"calibration_images": 5, "score_batch": 4}
BASE = {"data": {"image_size": 8, "mean": [0.5] * 3, "std": [0.25] * 3}}


def training_images() -> Any:
    """Splits that have no validation and no test images to be seen."""
    pixels = np.random.default_rng(0).integers(0, 256, (9, 8, 8, 3), dtype=np.uint8)
    train = ImageSet(pixels, torch.arange(9) % 2, np.arange(9))
    return Splits(train, None, None)  # type: ignore[arg-type]


def context_with(settings: dict[str, Any], parent: Path, model: nn.Module) -> Any:
    parent.mkdir(exist_ok=True)
    torch.save(dict(model.named_parameters()), parent / MOVEMENT_FILE)
    store = SimpleNamespace(file=lambda key, name: parent / name)
    whole = {"seed": 1, "device": "cpu", **settings}
    return SimpleNamespace(settings=whole, store=store, row=SimpleNamespace(parent="parent"))


def counts(seen: Evidence) -> list[int]:
    return [len(labels) for _, labels in seen.batches]


@pytest.mark.parametrize("criterion", CRITERIA)
def test_a_level_sees_training_images_only(
    criterion: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, dense = Net(), Net()
    monkeypatch.setattr(collect, "baseline_key", lambda store, key: "root")
    monkeypatch.setattr(collect, "load_model", lambda store, key, base: dense)
    pruning = to_dict(PruningSpec(criterion, calibration_images=5))
    settings = {"pruning": pruning, "train": {"batch_size": 4}, "target": "0.5"}
    context = context_with(settings, tmp_path / "parent", model)
    seen = for_level(model, context, training_images(), BASE)
    assert seen.model is (dense if criterion == "snip" else model)
    assert seen.weights["0.weight"] is seen.model[0].weight  # type: ignore[index]
    assert counts(seen) == ([4, 1] if needs(criterion, IMAGES) else [])
    assert CRITERIA[criterion](seen).keys() == {"0.weight", "2.weight"}


@pytest.mark.parametrize("criterion", CRITERIA)
def test_a_scan_scores_one_layer_by_each_criterion(criterion: str, tmp_path: Path) -> None:
    model = Net()
    settings = {"criterion": criterion, "layer": "2.weight", **PRUNE}
    context = context_with(settings, tmp_path / "parent", model)
    one = {"2.weight": model[2].weight}
    seen = for_scan(one, model, context, training_images(), BASE)  # type: ignore[arg-type]
    assert counts(seen) == ([4, 1] if needs(criterion, IMAGES) else [])
    scores = CRITERIA[criterion](seen)
    assert scores.keys() == {"2.weight"}
    assert bool((scores["2.weight"] >= 0).all()) or criterion == "movement"
