"""Zero filters: their batch norm is zeroed, and channels that are zero everywhere removed."""

from __future__ import annotations

import copy
import itertools
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from pruning_core.common.paths import Cache
from pruning_core.engine.analysis import inspect_model
from pruning_core.engine.export import sparse_file
from pruning_core.engine.export.bn_folding import inference_model
from pruning_core.engine.masks.masks import Masks, compute_masks
from pruning_core.engine.masks.pruning_step import norms_of_zero_filters
from pruning_core.engine.models.build import make
from pruning_core.engine.models.devices import place
from pruning_core.engine.models.layers import weights
from pruning_core.engine.models.macs import macs
from pruning_core.engine.stage_inputs import MODEL_FILE
from pruning_core.engine.structured.fold import fold
from pruning_core.engine.structured.widths import load, structure
from pruning_core.planning.plan import plan
from pruning_core.settings.pruning import PruningSpec
from pruning_core.settings.spec import Spec
from pruning_core.settings.strategies import IterativeSpec, OneShotSpec
from pruning_core.settings.training import TrainSpec
from pruning_core.storage.store import Store
from tests.helpers.inspections import Facts
from tests.helpers.models import module_of, weight_of
from tests.helpers.stages import SMALL, run_here

SIZE = 32
MODELS = ("mobilenet_v2", "resnet18")


def model_of(name: str) -> nn.Module:
    """A model with random statistics, weights and biases of batch norm."""
    torch.manual_seed(0)
    model = make(name, 10, image_size=SIZE).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0.0, 0.3)
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0.0, 0.3)
            module.running_var.uniform_(0.5, 1.5)
    return model


def prune_filters(model: nn.Module, amount: float, norms: bool) -> Masks:
    """Prune filters of all layers but the classifier, in place, by mask."""
    prunable = weights(model, "all", ["classifier"])
    pruning = {
        "granularity": "filter",
        "filter_dim": 0,
        "filter_norm": "2",
        "allocation": "uniform",
        "criterion": "magnitude",
    }
    weight_masks = compute_masks(
        {n: w.detach().abs() for n, w in prunable.items()}, amount, pruning
    )
    norm_masks = norms_of_zero_filters(model, weight_masks, SIZE) if norms else {}
    masks = Masks({**dict(model.named_parameters()), **prunable}, weight_masks, norm_masks)
    masks.multiply()
    return masks


def images() -> Tensor:
    return torch.randn(4, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("amount", [0.3, 0.55])
def test_exported_models_keep_widths_that_are_multiples_of_8(name: str, amount: float) -> None:
    """Some zero channels stay for it; the outputs are the same, and channels are removed."""
    model = model_of(name)
    prune_filters(model, amount, norms=True)
    lighter, notes = inference_model(model, images())
    assert notes[0].startswith("Removed ")
    assert "zero channels" in notes[0]
    assert any(note.endswith("the width stays a multiple of 8.") for note in notes)
    convs = [m for m in lighter.modules() if isinstance(m, nn.Conv2d)]
    assert {m.out_channels % 8 for m in convs} == {0}
    assert macs(lighter, SIZE) < macs(model, SIZE)
    with torch.no_grad():
        assert torch.allclose(lighter(images()), model(images()), atol=1e-4)


@pytest.mark.parametrize(("block", "removed"), [(1, 7), (4, 4)])
def test_with_blocks_only_whole_blocks_of_channels_are_removed(block: int, removed: int) -> None:
    model = model_of("mobilenet_v2")
    with torch.no_grad():
        model.get_parameter("features.2.conv.2.weight")[:, [1, 2, 3, 8, 9, 10, 11]] = 0
    before = model(images())
    actual = fold(model, SIZE, block=block)
    assert list(actual.removed.values()) == [removed]
    torch.testing.assert_close(model(images()), before, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_folding_keeps_the_outputs(name: str) -> None:
    model = model_of(name)
    prune_filters(model, 0.5, norms=True)
    before, size = model(images()), macs(model, SIZE)
    actual = fold(model, SIZE)
    torch.testing.assert_close(model(images()), before, rtol=1e-5, atol=1e-5)
    assert sum(actual.removed.values()) > 0
    assert macs(model, SIZE) < 0.8 * size
    assert actual.zero_filters > 0
    rebuilt = make(name, 10, image_size=SIZE)
    load(rebuilt, structure(model), model.state_dict())
    assert torch.equal(rebuilt.eval()(images()), model(images()))


@pytest.mark.parametrize("name", MODELS)
def test_a_constant_after_a_zero_filter_is_kept(name: str) -> None:
    """The bias of batch norm turns the zeros into another constant."""
    model = model_of(name)
    prune_filters(model, 0.5, norms=False)
    before, size = model(images()), macs(model, SIZE)
    actual = fold(model, SIZE)
    torch.testing.assert_close(model(images()), before, rtol=1e-5, atol=1e-5)
    assert macs(model, SIZE) == size
    assert any("a nonzero constant" in note for note in actual.notes)


def test_another_branch_keeps_the_channel() -> None:
    model = model_of("resnet18")
    names = ("conv2.weight", "bn2.weight", "bn2.bias")
    with torch.no_grad():
        for block, name in itertools.product(("layer1.0", "layer1.1"), names):
            model.get_parameter(f"{block}.{name}")[:8] = 0
    before = model(images())
    actual = fold(model, SIZE)
    assert not actual.removed
    assert torch.equal(model(images()), before)
    assert any("16 zero filters kept: another branch" in note for note in actual.notes)


def test_channels_that_nothing_reads_are_removed_but_for_one() -> None:
    model = model_of("mobilenet_v2")
    with torch.no_grad():
        for name in ("1.0.weight", "1.1.weight", "1.1.bias"):
            model.get_parameter(f"features.2.conv.{name}")[:] = 0
    conv = module_of(model, "features.2.conv.0.0", nn.Conv2d)
    before, width = model(images()), conv.out_channels
    actual = fold(model, SIZE)
    torch.testing.assert_close(model(images()), before, rtol=1e-5, atol=1e-5)
    assert sum(actual.removed.values()) == width - 1
    assert module_of(model, "features.2.conv.0.0", nn.Conv2d).out_channels == 1


def test_channels_that_layer_norm_mixes_are_kept() -> None:
    torch.manual_seed(0)
    model = make("vit_b_16", 10, image_size=SIZE).eval()
    hidden = module_of(model, "encoder.layers.encoder_layer_0.mlp.0", nn.Linear)
    with torch.no_grad():
        weight_of(model, "conv_proj")[:4] = 0
        for part in (hidden.weight, hidden.bias):
            part[:8] = 0
    before = model(images())
    actual = fold(model, SIZE)
    torch.testing.assert_close(model(images()), before, rtol=1e-5, atol=1e-5)
    assert actual.removed == {"encoder.layers.encoder_layer_0.mlp.0": 8}
    assert any("mixes all channels" in note or "parts" in note for note in actual.notes)


def test_a_model_that_cannot_be_traced_stays_with_a_note() -> None:
    model = make("shufflenet_v2_x1_0", 10).eval()
    before = copy.deepcopy(model.state_dict())
    actual = fold(model, SIZE)
    assert "cannot trace" in actual.notes[0]
    assert all(torch.equal(before[n], v) for n, v in model.state_dict().items())


def test_batch_norm_after_zero_filters_stays_zero_in_training() -> None:
    model = place(model_of("mobilenet_v2"), "cpu").train()
    masks = prune_filters(model, 0.5, norms=True)
    assert masks.norm_masks
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=0.01)
    for _ in range(3):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images()), torch.arange(4)).backward()
        masks.multiply_gradients()
        optimizer.step()
        masks.check()
    name, mask = next(iter(masks.norm_masks.items()))
    parameter = dict(model.named_parameters())[name]
    assert not parameter[~mask].any()
    assert parameter[mask].all()
    with torch.no_grad():
        parameter[~mask] = 1.0
    with pytest.raises(RuntimeError, match="pruned weights of"):
        masks.check()


SPEC = replace(
    SMALL,
    pruning=PruningSpec(granularity="filter", exclude=("classifier",)),
    one_shot=OneShotSpec(amounts=(0.5,), epochs=1),
    iterative=IterativeSpec(target=0.6, iterations=2, epochs=0.5, equal_budget=False),
    finetune=TrainSpec(batch_size=32, optimizer="adamw", lr=0.001),
)


def test_stages_that_prune_filters_zero_batch_norm(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspect_model, "TRIAL_SECONDS", 0.0)
    run_here(cache, SPEC)
    store = Store(cache)
    for planned in plan(SPEC, store).models:
        if planned.strategy == "baseline":
            continue
        state = sparse_file.load(store.file(planned.key, MODEL_FILE))
        zero = ~state["features.1.conv.0.0.weight"].flatten(1).any(1)
        assert zero.any()
        for name in ("weight", "bias"):
            norm = state[f"features.1.conv.0.1.{name}"]
            assert not norm[zero].any()
        assert state["features.1.conv.0.1.weight"][~zero].all()


def norms_in_settings(spec: Spec) -> list[bool]:
    spec = replace(spec, pruning=replace(spec.pruning, exclude=("stem",)))
    stages = plan(spec, Facts(spec)).stages
    return ["norms" in stage.settings for stage in stages if stage.kind == "pruned"]


def test_only_stages_that_prune_output_filters_have_it_in_their_key() -> None:
    assert all(norms_in_settings(SPEC))
    assert not any(norms_in_settings(replace(SPEC, pruning=PruningSpec())))
    assert not any(norms_in_settings(replace(SPEC, pruning=PruningSpec(granularity="kernel"))))
    assert not any(
        norms_in_settings(replace(SPEC, pruning=PruningSpec(granularity="filter", filter_dim=1)))
    )
    returning = replace(SPEC.iterative, schedule="dense_sparse_dense")
    alone = replace(SPEC, one_shot=OneShotSpec(amounts=()), iterative=returning)
    assert not any(norms_in_settings(alone))
