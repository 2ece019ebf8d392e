"""Zeros of an earlier pruning in a checkpoint stay in training and in every kind of pruning."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from pruning_core.common.paths import Cache
from pruning_core.engine.export import sparse_file
from pruning_core.engine.masks.masks import zero_masks
from pruning_core.engine.models.build import make
from pruning_core.engine.models.layers import weights
from pruning_core.engine.stage_inputs import MODEL_FILE
from pruning_core.engine.structured import removed_channels
from pruning_core.methods.strategies import BASELINE, STRUCTURED
from pruning_core.planning.inspections import model_facts as facts_of
from pruning_core.planning.inspections import notes_for_model
from pruning_core.planning.plan import plan
from pruning_core.results.sensitivity import read_sensitivity
from pruning_core.settings.data import ModelSpec
from pruning_core.settings.pruning import PruningSpec
from pruning_core.settings.recovery import RecoverySpec
from pruning_core.settings.sensitivity import SensitivitySpec
from pruning_core.settings.spec import Spec
from pruning_core.settings.strategies import IterativeSpec, OneShotSpec
from pruning_core.settings.structured import StructuredSpec
from pruning_core.storage.store import Store
from tests.helpers.stages import SMALL, run_here

SHARE = 0.6
NO_ITERATIVE = IterativeSpec(enabled=False)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A MobileNetV2 in which 60 % of the weights of all layers but the first are zero."""
    torch.manual_seed(0)
    model = make("mobilenet_v2", 10, 0.1)
    for name, weight in weights(model, "all").items():
        if name != "features.0.0.weight":
            weight.data[torch.rand(weight.shape) < SHARE] = 0.0
    path = tmp_path_factory.mktemp("pruned") / "pruned.pth"
    torch.save(model.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    cache = Cache(tmp_path_factory.mktemp("initial zeros"))
    cache.prepare()
    return cache


def spec_for(checkpoint: Path, **changes: Any) -> Spec:
    model = ModelSpec(width=0.1, weights=str(checkpoint))
    start = replace(
        SMALL,
        model=model,
        baseline_epochs=0,
        one_shot=OneShotSpec((0.3, 0.8), 0),
        iterative=NO_ITERATIVE,
    )
    return replace(start, **changes)


def zeros_of(checkpoint: Path) -> dict[str, Tensor]:
    model = make("mobilenet_v2", 10, 0.1)
    model.load_state_dict(torch.load(checkpoint))
    return {name: ~mask for name, mask in zero_masks(model).items()}


def models_of(cache: Cache, spec: Spec) -> list[tuple[Any, dict[str, Any], dict[str, Tensor]]]:
    """Each planned model with its result and its tensors."""
    run_here(cache, spec)
    store = Store(cache)
    return [
        (model, store.read(model.key), sparse_file.load(store.file(model.key, MODEL_FILE)))
        for model in plan(spec, store).models
    ]


SPECS: dict[str, dict[str, Any]] = {
    "trained": {
        "baseline_epochs": 1,
        "one_shot": OneShotSpec((0.0, 0.3, 0.8), 1),
        "iterative": IterativeSpec(target=0.8, iterations=3, epochs=1, equal_budget=False),
    },
    "weight rewinding": {
        "baseline_epochs": 1,
        "one_shot": OneShotSpec((0.3,), 1),
        "recovery": RecoverySpec(method="weight_rewinding", rewind_epoch=0),
    },
    "global": {"pruning": PruningSpec(allocation="global", exclude=("classifier",))},
    "erk": {"pruning": PruningSpec(allocation="erk")},
    "lamp, random scores": {"pruning": PruningSpec(criterion="random", allocation="lamp")},
    "custom": {"pruning": PruningSpec(allocation="custom", layer_sparsities=("features.*=0.5",))},
    "kernel": {"pruning": PruningSpec(granularity="kernel", allocation="global")},
    "2:4": {"pruning": PruningSpec(granularity="2:4"), "one_shot": OneShotSpec((0.0, 0.5), 0)},
    "RigL": {
        "one_shot": OneShotSpec((), 0),
        "iterative": IterativeSpec(
            schedule="rigl", target=0.8, iterations=2, epochs=1, equal_budget=False
        ),
    },
    "DSD": {
        "one_shot": OneShotSpec((), 0),
        "iterative": IterativeSpec(
            schedule="dense_sparse_dense", target=0.8, iterations=2, epochs=1, equal_budget=False
        ),
    },
}


@pytest.mark.parametrize("kind", SPECS)
def test_zeros_of_the_checkpoint_stay_zero(cache: Cache, checkpoint: Path, kind: str) -> None:
    zeros = zeros_of(checkpoint)
    spec = spec_for(checkpoint, **SPECS[kind])
    models = models_of(cache, spec)
    for model, result, state in models:
        for name, mask in zeros.items():
            assert not bool(state[name][mask].any()), (model.strategy, model.target, name)
        share = result["prunable_zeros"] / result["prunable"]
        assert share >= model.target - 0.01 or kind in ("2:4", "kernel")
        if model.target == 0.3:
            assert any("zeros stay" in note for note in result["notes"])
            assert share < 0.66
    assert models[-1][1]["nonzero"] < models[0][1]["nonzero"]


def test_a_note_names_layers_of_zeros_only_beside_pruned_layers(
    cache: Cache, checkpoint: Path, tmp_path: Path
) -> None:
    path = tmp_path / "layer.pth"
    state = torch.load(checkpoint)
    state["classifier.1.weight"].zero_()
    torch.save(state, path)
    spec = spec_for(path, one_shot=OneShotSpec((0.8,), 0))
    run_here(cache, spec)
    facts = facts_of(spec, Store(cache))
    assert facts
    (note,) = (note for note in facts.notes if note.startswith("All weights of"))
    assert note.startswith("All weights of 'classifier.1.weight' are zero. Such a layer counts as")


def test_notes_say_that_weights_were_zero_and_which_targets_are_below(
    cache: Cache, checkpoint: Path
) -> None:
    spec = spec_for(checkpoint)
    run_here(cache, spec)
    facts = facts_of(spec, Store(cache))
    assert facts
    assert [note for note in facts.notes if "pruned already" in note] == [
        "The initial weights are pruned already: 60.2 % of the weights are zero, in 52 layers. "
        "These weights stay zero in training and count towards the sparsity."
    ]
    assert notes_for_model(spec, facts) == [
        "The target of 30 % is below the sparsity of the initial weights, 60.2 %. Their zeros stay."
    ]


def test_a_sensitivity_analysis_counts_the_zeros(cache: Cache, checkpoint: Path) -> None:
    """Also with a criterion that does not give a zero the lowest score."""
    spec = spec_for(
        checkpoint,
        one_shot=OneShotSpec((), 0),
        pruning=PruningSpec(criterion="random", exclude=("features.*",)),
        sensitivity=SensitivitySpec(enabled=True, sparsities=(0.3, 0.8)),
    )
    run_here(cache, spec)
    curve = read_sensitivity(spec, Store(cache))
    zeros = zeros_of(checkpoint)["classifier.1.weight"]
    expected = round(0.8 * zeros.numel()) - int(zeros.sum())
    assert list(zip(curve["sparsity"], curve["removed"], strict=True)) == [(0, 0), (0.8, expected)]


@pytest.mark.parametrize("recovery", ["fine_tuning", "random_reinit"])
def test_structured_pruning_keeps_the_zeros_of_the_remaining_channels(
    cache: Cache, checkpoint: Path, recovery: str
) -> None:
    structured = StructuredSpec(enabled=True, ratios=(0.3,), steps=2, epochs=1)
    spec = spec_for(
        checkpoint,
        one_shot=OneShotSpec((), 0),
        structured=structured,
        recovery=RecoverySpec(method=recovery),
    )
    before = torch.load(checkpoint)
    models = [model for model in models_of(cache, spec) if model[0].strategy == STRUCTURED]
    assert models
    for model, _, state in models:
        gone = removed_channels.read(Store(cache).file(model.key, removed_channels.FILE))
        assert any(gone.values())
        for name in zeros_of(checkpoint):
            share = float((state[name] == 0).float().mean())
            assert share > 0.3 or state[name].numel() < 200, name
        smaller = [n for n in before if before[n].shape != state[n].shape]
        assert smaller


def test_a_layer_with_few_zeros_and_one_of_zeros_only_count_as_not_pruned() -> None:
    model = make("mobilenet_v2", 10, 0.1)
    layers = weights(model, "all")
    layers["features.0.0.weight"].data.view(-1)[:2] = 0.0
    layers["classifier.1.weight"].data.zero_()
    assert zero_masks(model) == {}
    layers["features.1.conv.0.0.weight"].data.view(-1)[:20] = 0.0
    both = ["features.0.0.weight", "features.1.conv.0.0.weight"]
    assert list(zero_masks(model)) == both, "global pruning removes few weights of some layers"


def test_a_checkpoint_without_zeros_changes_no_key(cache: Cache, tmp_path: Path) -> None:
    path = tmp_path / "dense.pth"
    torch.save(make("mobilenet_v2", 10, 0.1).state_dict(), path)
    spec = spec_for(path)
    run_here(cache, spec)
    (baseline,) = [m for m in plan(spec, Store(cache)).models if m.strategy == BASELINE]
    assert "keep_zeros" not in Store(cache).settings(baseline.key)["settings"]


def test_zeros_by_chance_and_weights_under_hooks_get_no_mask() -> None:
    model = nn.Sequential(nn.Linear(50, 50), nn.Linear(50, 50), nn.Linear(50, 50), nn.Linear(9, 9))
    with torch.no_grad():
        model.get_parameter("0.weight")[0, 0] = 0.0
        model.get_parameter("3.weight").zero_()
    prune.l1_unstructured(model[2], "weight", amount=0.5)
    assert list(zero_masks(model)) == []
    with torch.no_grad():
        model.get_parameter("1.weight")[:5] = 0.0
    assert list(zero_masks(model)) == ["0.weight", "1.weight"]
