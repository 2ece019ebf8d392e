"""Filters removed by mask: batch norm goes with them, and what is zero everywhere is folded."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from pruning_core.common.paths import Cache
from pruning_core.engine.analysis import inspect_model
from pruning_core.engine.export import sparse_file
from pruning_core.engine.export.bn_folding import inference_model
from pruning_core.engine.masks import masks
from pruning_core.engine.masks.dead_norms import norms_of_dead
from pruning_core.engine.models.build import make
from pruning_core.engine.models.devices import place
from pruning_core.engine.models.layers import weights
from pruning_core.engine.models.macs import macs
from pruning_core.engine.stage_inputs import MODEL_FILE
from pruning_core.engine.structured import widths as structures
from pruning_core.engine.structured.fold import fold
from pruning_core.planning.plan import plan
from pruning_core.settings.pruning import PruningSpec
from pruning_core.settings.spec import Spec
from pruning_core.settings.strategies import IterativeSpec, OneShotSpec
from pruning_core.settings.training import TrainSpec
from pruning_core.storage.store import Store
from tests.engine.criteria.test_stages import SMALL
from tests.engine.test_stages import run_here
from tests.helpers.inspections import Facts

SIZE = 32
MODELS = ("mobilenet_v2", "resnet18")


def lively(name: str) -> nn.Module:
    """A model whose batch norms are no identities: random statistics, weights and biases."""
    torch.manual_seed(0)
    model = make(name, 10, image_size=SIZE).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0.0, 0.3)
            module.running_mean.normal_(0.0, 0.3)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]
    return model


def filters_gone(model: nn.Module, amount: float, norms: bool) -> masks.Masks:
    """Half the filters of all layers but the classifier are removed, by mask."""
    found = weights(model, "all", ["classifier"])
    pruning = {
        "granularity": "filter",
        "filter_dim": 0,
        "filter_norm": "2",
        "scope": "local",
        "criterion": "magnitude",
    }
    kept = masks.choose({n: w.detach() for n, w in found.items()}, amount, pruning)
    held = norms_of_dead(model, kept, SIZE) if norms else {}
    made = masks.Masks({**dict(model.named_parameters()), **found}, kept, held)
    made.multiply()
    return made


def images() -> Tensor:
    return torch.randn(4, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("amount", [0.3, 0.55])
def test_what_runs_elsewhere_keeps_widths_that_are_multiples_of_8(name: str, amount: float) -> None:
    """As many dead channels stay; the outputs are the same, and something has gone."""
    model = lively(name)
    filters_gone(model, amount, norms=True)
    lighter, notes = inference_model(model, images())
    assert "Folded away" in notes[0]
    assert any(note.endswith("with them the widths are multiples of 8.") for note in notes)
    convs = [m for m in lighter.modules() if isinstance(m, nn.Conv2d)]
    assert {m.out_channels % 8 for m in convs} == {0}
    assert macs(lighter, SIZE) < macs(model, SIZE)
    with torch.no_grad():
        assert torch.allclose(lighter(images()), model(images()), atol=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_folding_leaves_the_outputs_as_they_are(name: str) -> None:
    model = lively(name)
    filters_gone(model, 0.5, norms=True)
    before, size = model(images()), macs(model, SIZE)
    found = fold(model, SIZE)
    torch.testing.assert_close(model(images()), before, rtol=1e-5, atol=1e-5)
    assert sum(found.removed.values()) > 0
    assert macs(model, SIZE) < 0.8 * size
    assert found.dead_filters > 0
    fresh = make(name, 10, image_size=SIZE)
    structures.load(fresh, structures.structure(model), model.state_dict())
    assert torch.equal(fresh.eval()(images()), model(images()))


@pytest.mark.parametrize("name", MODELS)
def test_a_constant_behind_a_dead_filter_is_not_folded(name: str) -> None:
    """Batch norm's bias makes another constant of the zeros; it must stay."""
    model = lively(name)
    filters_gone(model, 0.5, norms=False)
    before, size = model(images()), macs(model, SIZE)
    found = fold(model, SIZE)
    torch.testing.assert_close(model(images()), before, rtol=1e-5, atol=1e-5)
    assert macs(model, SIZE) == size
    assert any("a constant that is not zero" in note for note in found.notes)


def test_one_live_branch_keeps_the_channel() -> None:
    model = lively("resnet18")
    with torch.no_grad():
        for block in (model.layer1[0], model.layer1[1]):  # type: ignore[index, union-attr]
            for part in (block.conv2.weight, block.bn2.weight, block.bn2.bias):
                part[:8] = 0
    before = model(images())
    found = fold(model, SIZE)
    assert not found.removed
    assert torch.equal(model(images()), before)
    assert any("16 filters of zeros; another branch" in note for note in found.notes)


def test_a_channel_nothing_reads_goes_and_one_stays() -> None:
    model = lively("mobilenet_v2")
    block = model.features[2].conv  # type: ignore[index, union-attr]
    with torch.no_grad():
        for part in (block[1][0].weight, block[1][1].weight, block[1][1].bias):
            part[:] = 0
    before, wide = model(images()), block[0][0].out_channels
    found = fold(model, SIZE)
    torch.testing.assert_close(model(images()), before, rtol=1e-5, atol=1e-5)
    assert sum(found.removed.values()) == wide - 1
    assert block[0][0].out_channels == 1


def test_layer_norm_mixes_channels_and_is_left() -> None:
    torch.manual_seed(0)
    model = make("vit_b_16", 10, image_size=SIZE).eval()
    hidden = model.encoder.layers[0].mlp[0]  # type: ignore[union-attr, index]
    with torch.no_grad():
        model.conv_proj.weight[:4] = 0  # type: ignore[union-attr, index]
        for part in (hidden.weight, hidden.bias):
            part[:8] = 0
    before = model(images())
    found = fold(model, SIZE)
    torch.testing.assert_close(model(images()), before, rtol=1e-5, atol=1e-5)
    assert found.removed == {"encoder.layers.encoder_layer_0.mlp.0": 8}
    assert any("together" in note or "parts" in note for note in found.notes)


def test_a_model_that_cannot_be_read_is_left_with_a_note() -> None:
    model = make("shufflenet_v2_x1_0", 10).eval()
    before = copy.deepcopy(model.state_dict())
    found = fold(model, SIZE)
    assert "cannot read" in found.notes[0]
    assert all(torch.equal(before[n], v) for n, v in model.state_dict().items())


def test_norms_behind_dead_filters_stay_zero_in_training() -> None:
    model = place(lively("mobilenet_v2"), "cpu").train()
    made = filters_gone(model, 0.5, norms=True)
    assert made.held
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=0.01)
    for _ in range(3):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images()), torch.arange(4)).backward()
        made.multiply_gradients()
        optimizer.step()
        made.check()
    name, mask = next(iter(made.held.items()))
    parameter = dict(model.named_parameters())[name]
    assert not parameter[~mask].any()
    assert parameter[mask].all()
    with torch.no_grad():
        parameter[~mask] = 1.0
    with pytest.raises(RuntimeError, match="removed weights of"):
        made.check()


SPEC = replace(
    SMALL,
    pruning=PruningSpec(granularity="filter", exclude=("classifier",)),
    one_shot=OneShotSpec(amounts=(0.5,), epochs=1),
    iterative=IterativeSpec(target=0.6, iterations=2, epochs=0.5, equal_budget=False),
    finetune=TrainSpec(batch_size=32, optimizer="adamw", lr=0.001),
)


def test_levels_of_filters_have_batch_norm_at_zero(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspect_model, "TRIAL_SECONDS", 0.0)
    run_here(cache, SPEC)
    store = Store(cache)
    for point in plan(SPEC, store).models:
        if point.strategy == "baseline":
            continue
        state = sparse_file.load(store.file(point.key, MODEL_FILE))
        dead = ~state["features.1.conv.0.0.weight"].flatten(1).any(1)
        assert dead.any()
        for name in ("weight", "bias"):
            norm = state[f"features.1.conv.0.1.{name}"]
            assert not norm[dead].any()
        assert state["features.1.conv.0.1.weight"][~dead].all()


def norms(spec: Spec) -> list[bool]:
    spec = replace(spec, pruning=replace(spec.pruning, exclude=("stem",)))
    stages = plan(spec, Facts(spec)).stages
    return ["norms" in stage.settings for stage in stages if stage.kind == "pruned"]


def test_only_levels_of_whole_outputs_have_it_in_their_key() -> None:
    assert all(norms(SPEC))
    assert not any(norms(replace(SPEC, pruning=PruningSpec())))
    assert not any(norms(replace(SPEC, pruning=PruningSpec(granularity="kernel"))))
    assert not any(norms(replace(SPEC, pruning=PruningSpec(granularity="filter", filter_dim=1))))
    coming_back = replace(SPEC.iterative, schedule="dense_sparse_dense")
    alone = replace(SPEC, one_shot=OneShotSpec(amounts=()), iterative=coming_back)
    assert not any(norms(alone))
