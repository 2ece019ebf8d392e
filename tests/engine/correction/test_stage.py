"""Training-free corrections as stages: four measured models, with the masks of the first."""

from __future__ import annotations

import itertools
import shutil
from dataclasses import replace

import pytest
import torch

from pruning_core.common.paths import Cache
from pruning_core.engine.analysis import inspect_model
from pruning_core.engine.export import sparse_file
from pruning_core.engine.masks import masks
from pruning_core.engine.masks.masks import check_zeros
from pruning_core.engine.stage_inputs import MASK_FILE, MODEL_FILE
from pruning_core.planning.plan import plan
from pruning_core.planning.stage import outline
from pruning_core.results.models import results_frame
from pruning_core.settings.correction import CorrectionSpec
from pruning_core.settings.pruning import PruningSpec
from pruning_core.settings.strategies import IterativeSpec, OneShotSpec
from pruning_core.storage.store import Store
from tests.helpers.stages import SMALL, run_here

SPEC = replace(
    SMALL,
    pruning=PruningSpec(layers="core"),
    one_shot=OneShotSpec(amounts=(0.0, 0.6), epochs=0),
    iterative=IterativeSpec(enabled=False),
    correction=CorrectionSpec(True, 200),
)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    cache = Cache(tmp_path_factory.mktemp("correction"))
    cache.prepare()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inspect_model, "TRIAL_SECONDS", 0.0)
        run_here(cache, SPEC)
    return cache


def keys(store: Store) -> list[str]:
    return [p.key for p in plan(SPEC, store).models if p.strategy == "correction"]


def test_four_models_of_one_sparsity_without_training(ran: Cache) -> None:
    store = Store(ran)
    frame = results_frame(outline(plan(SPEC, store)), store)
    corrected = frame[frame.strategy == "correction"]
    assert list(corrected.iteration) == [0, 1, 2, 3]
    assert corrected.sparsity_prunable.nunique() == 1
    assert corrected.sparsity_weights.nunique() == 1
    assert set(corrected.epochs) == {0}
    assert list(corrected.seconds) == sorted(corrected.seconds)
    assert (corrected.accuracy_low <= corrected.accuracy).all()
    one_shot = frame[(frame.strategy == "one_shot") & (frame.sparsity_asked == 0.6)]
    assert list(one_shot.key) == [corrected.key.iloc[0]]


def test_each_correction_is_another_model_with_the_masks_of_the_pruned_one(ran: Cache) -> None:
    store = Store(ran)
    models = [sparse_file.load(store.file(key, MODEL_FILE)) for key in keys(store)]
    pruned = masks.load(store.file(keys(store)[0], MASK_FILE))
    for model, key in zip(models, keys(store), strict=True):
        check_zeros(model, pruned)
        corrected = masks.load(store.file(key, MASK_FILE))
        assert all(torch.equal(corrected[name], mask) for name, mask in pruned.items())
    weight = next(iter(pruned))
    same = [torch.equal(a[weight], b[weight]) for a, b in itertools.pairwise(models)]
    assert same == [True, False, False], "BN recalibration keeps the weights"


def test_fewer_images_than_asked_for_are_noted(ran: Cache) -> None:
    """108 of the 120 images are training images, the others are for validation."""
    store = Store(ran)
    for key in keys(store)[1:]:
        assert store.read(key)["notes"] == [
            "Training-free correction used all 108 training images (200 requested)."
        ]


def test_running_the_stage_again_gives_the_same_model(
    ran: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(ran)
    last = keys(store)[-1]
    before = sparse_file.load(store.file(last, MODEL_FILE))
    shutil.rmtree(store.folder(last))
    monkeypatch.setattr(inspect_model, "TRIAL_SECONDS", 0.0)
    run_here(ran, SPEC)
    after = sparse_file.load(store.file(last, MODEL_FILE))
    assert all(torch.equal(after[name], value) for name, value in before.items())
