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
from torch import nn

from pruning_core.common.paths import Cache
from pruning_core.engine.analysis import inspect_model
from pruning_core.engine.criteria import calibration, synflow
from pruning_core.engine.criteria.calibration import (
    MOVEMENT_FILE,
    inputs_for_pruning,
    inputs_for_sensitivity,
)
from pruning_core.engine.criteria.inputs import CriterionInputs
from pruning_core.engine.data.loading import ImageSet, Splits
from pruning_core.engine.export import sparse_file
from pruning_core.engine.masks import masks
from pruning_core.engine.stage_inputs import MASK_FILE, MODEL_FILE
from pruning_core.methods.criteria import CRITERIA, IMAGES, needs
from pruning_core.planning.measurement_types import SensitivitySettings
from pruning_core.planning.model_types import BaselineSettings, PrunedSettings
from pruning_core.planning.plan import plan
from pruning_core.settings.pruning import PruningSpec
from pruning_core.settings.serialization import to_dict
from pruning_core.settings.spec import Spec
from pruning_core.settings.strategies import IterativeSpec
from pruning_core.storage.store import Store
from tests.helpers.models import weight_of
from tests.helpers.stages import SMALL, run_here

EXCLUDED = ("classifier",)
OFF = IterativeSpec(enabled=False)


def spec_with(criterion: str) -> Spec:
    return replace(
        SMALL, pruning=PruningSpec(criterion=criterion, allocation="global", calibration_images=40)
    )


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cache]:
    made = Cache(tmp_path_factory.mktemp("criteria"))
    made.prepare()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inspect_model, "TRIAL_SECONDS", 0.0)
        patch.setattr(synflow, "ROUNDS", 5)
        yield made


def masks_of_steps(cache: Cache, spec: Spec) -> dict[tuple[str, int], dict[str, torch.Tensor]]:
    """The masks of every pruning step, by strategy and iteration."""
    store = Store(cache)
    return {
        (model.strategy, model.iteration): masks.load(store.file(model.key, MASK_FILE))
        for model in plan(spec, store).models[1:]
    }


@pytest.mark.parametrize("criterion", CRITERIA)
def test_a_comparison_with_each_criterion(cache: Cache, criterion: str) -> None:
    """Counts are exact, pruned weights stay pruned, and no two criteria give the same masks."""
    spec, store = spec_with(criterion), Store(cache)
    run_here(cache, spec)
    for model in plan(spec, store).models[1:]:
        result = store.read(model.key)
        assert result["prunable_zeros"] == round(model.target * result["prunable"])
        assert result["notes"] == []
    actual = masks_of_steps(cache, spec)
    first, last = actual["iterative", 1], actual["iterative", 2]
    assert not any(bool((mask & ~first[name]).any()) for name, mask in last.items())
    others = [
        masks_of_steps(cache, spec_with(n)) for n in CRITERIA if n < criterion and ran(cache, n)
    ]
    for other in others:
        assert any(not torch.equal(other["iterative", 1][n], first[n]) for n in first)


def ran(cache: Cache, criterion: str) -> bool:
    store = Store(cache)
    made = plan(spec_with(criterion), store)
    return made.complete and all(store.exists(model.key) for model in made.models)


def test_snip_scores_the_dense_baseline(cache: Cache) -> None:
    """So iterative pruning ends with the masks of one-shot pruning, although weights changed."""
    for criterion, same in (("snip", True), ("taylor", False)):
        run_here(cache, spec_with(criterion))
        actual = masks_of_steps(cache, spec_with(criterion))
        once, chain = actual["one_shot", 0], actual["iterative", 2]
        assert all(torch.equal(once[name], chain[name]) for name in once) == same


@pytest.mark.parametrize("granularity", ["unstructured", "filter"])
def test_obs_sets_the_remaining_weights_and_repeats_them(cache: Cache, granularity: str) -> None:
    """Bit for bit; where filters are pruned, their batch norm is zero although it was corrected."""
    pruning = PruningSpec("obs", granularity=granularity, calibration_images=40, exclude=EXCLUDED)
    spec, store = replace(SMALL, pruning=pruning, iterative=OFF), Store(cache)
    run_here(cache, spec)
    baseline, pruned = plan(spec, store).models
    dense = sparse_file.load(store.file(baseline.key, MODEL_FILE))
    first = sparse_file.load(store.file(pruned.key, MODEL_FILE))
    kept = masks.load(store.file(pruned.key, MASK_FILE))
    assert all(not torch.equal(first[name][m], dense[name][m]) for name, m in kept.items())
    assert all(torch.equal(first[name] != 0, mask) for name, mask in kept.items())
    assert store.read(pruned.key)["seconds"] > 0
    if granularity == "filter":
        zero = ~kept["features.0.0.weight"].flatten(1).any(1)
        assert bool(zero.any())
        for name in ("features.0.1.weight", "features.0.1.bias"):
            assert not bool(first[name][zero].any())
            assert bool(first[name][~zero].all())
    store.remove(pruned.key)
    run_here(cache, spec)
    second = sparse_file.load(store.file(pruned.key, MODEL_FILE))
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_movement_is_kept_only_by_training_before_a_pruning_step(cache: Cache) -> None:
    store, actual = Store(cache), {}
    for criterion in ("movement", "magnitude"):
        run_here(cache, spec_with(criterion))
        points = plan(spec_with(criterion), store).models
        actual[criterion] = [(store.folder(p.key) / MOVEMENT_FILE).is_file() for p in points]
    assert actual == {"movement": [True, False, True, False], "magnitude": [False] * 4}


class Net(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(72, 2))


BASE = BaselineSettings(
    epochs=1,
    seed=1,
    device="cpu",
    replicas=1,
    precision="fp32",
    data={"image_size": 8, "mean": [0.5] * 3, "std": [0.25] * 3},
    classes=2,
    model={},
    train={},
)


def training_images() -> Any:
    """Splits without validation and test images."""
    pixels = np.random.default_rng(0).integers(0, 256, (9, 8, 8, 3), dtype=np.uint8)
    train = ImageSet(pixels, torch.arange(9) % 2, np.arange(9))
    return Splits(train, None, None)  # type: ignore[arg-type]


def context_with(
    settings: PrunedSettings | SensitivitySettings, parent: Path, model: nn.Module
) -> Any:
    parent.mkdir(exist_ok=True)
    torch.save(dict(model.named_parameters()), parent / MOVEMENT_FILE)
    store = SimpleNamespace(file=lambda key, name: parent / name)
    return SimpleNamespace(settings=settings, store=store, row=SimpleNamespace(parent="parent"))


def batch_sizes(inputs: CriterionInputs) -> list[int]:
    return [len(labels) for _, labels in inputs.batches]


@pytest.mark.parametrize("criterion", CRITERIA)
def test_a_pruning_step_uses_training_images_only(
    criterion: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, dense = Net(), Net()
    monkeypatch.setattr(calibration, "baseline_key", lambda store, key: "baseline")
    monkeypatch.setattr(calibration, "load_model", lambda store, key, base: dense)
    settings = PrunedSettings(
        epochs=1,
        seed=1,
        device="cpu",
        replicas=1,
        precision="fp32",
        target="0.5",
        pruning=to_dict(PruningSpec(criterion=criterion, calibration_images=5)),
        train={"batch_size": 4},
        recovery={},
        lr_from_epoch=0,
        lr_epochs=1,
        keep_optimizer=False,
    )
    context = context_with(settings, tmp_path / "parent", model)
    inputs = inputs_for_pruning(model, context, training_images(), BASE)
    assert inputs.model is (dense if criterion == "snip" else model)
    assert inputs.weights["0.weight"] is weight_of(inputs.model, "0")
    assert batch_sizes(inputs) == ([4, 1] if needs(criterion, IMAGES) else [])
    assert CRITERIA.load(criterion)(inputs).keys() == {"0.weight", "2.weight"}


@pytest.mark.parametrize("criterion", CRITERIA)
def test_the_sensitivity_analysis_scores_one_layer_with_each_criterion(
    criterion: str, tmp_path: Path
) -> None:
    model = Net()
    settings = SensitivitySettings(
        layer="2.weight",
        sparsities=[0.5],
        images=5,
        seed=1,
        device="cpu",
        criterion=criterion,
        calibration_images=5,
        score_batch=4,
    )
    context = context_with(settings, tmp_path / "parent", model)
    layer: dict[str, torch.Tensor] = {"2.weight": weight_of(model, "2")}
    inputs = inputs_for_sensitivity(layer, model, context, training_images(), BASE)
    assert batch_sizes(inputs) == ([4, 1] if needs(criterion, IMAGES) else [])
    scores = CRITERIA.load(criterion)(inputs)
    assert scores.keys() == {"2.weight"}
    assert bool((scores["2.weight"] >= 0).all()) or CRITERIA[criterion].signed
