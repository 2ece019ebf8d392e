"""Channel removal: the ratio is reached, the model runs, and it can be built again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torchvision.models import VisionTransformer

from pruning_core.common.errors import SpecError
from pruning_core.engine.models.build import make
from pruning_core.engine.models.macs import macs
from pruning_core.engine.structured import widths
from pruning_core.engine.structured.groups import CLASSES, trace, unprunable_layers
from pruning_core.engine.structured.importance import ImportanceInputs, Scorer
from pruning_core.engine.structured.selection import (
    RankedGroup,
    allowed_widths,
    lowest_channels,
    widths_for_ratio,
)
from pruning_core.engine.structured.width_plan import WidthPlan, plan_widths
from pruning_core.methods.channel_importance import CHANNEL_IMPORTANCES, STRUCTURED_TARGETS
from tests.helpers.models import module_of, weight_of
from tests.helpers.structured import CLASS_COUNT, SIZE, built, prune_channels, settings

MODELS = (
    *("mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large", "resnet18", "resnet50"),
    *("vgg11_bn", "efficientnet_b0", "convnext_tiny", "vit_b_16"),
)


def batches(count: int = 4) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(count, 3, SIZE, SIZE, generator=generator)
    return [(images, torch.arange(count) % CLASS_COUNT)]


def scorer_of(model: nn.Module, importance: str = "magnitude_l2") -> Scorer:
    inputs = ImportanceInputs(model, batches(), torch.Generator().manual_seed(0))
    scorer: Scorer = CHANNEL_IMPORTANCES.load(importance)(inputs)
    return scorer


def pruned_to(
    name: str, importance: str = "magnitude_l2", **changes: Any
) -> tuple[nn.Module, WidthPlan]:
    model = built(name)
    return prune_channels(model, settings(**changes), SIZE, scorer_of(model, importance))


def parameters(model: nn.Module) -> int:
    return sum(weight.numel() for weight in model.parameters())


@pytest.mark.parametrize("name", MODELS)
def test_half_the_macs_are_removed_and_a_new_model_computes_the_same(
    name: str, tmp_path: Path
) -> None:
    dense = built(name)
    model, plan = pruned_to(name)
    images = torch.randn(2, 3, SIZE, SIZE)
    scores = model(images)
    assert scores.shape == (2, CLASS_COUNT)
    remaining = macs(model, SIZE) / macs(dense, SIZE)
    assert 0.44 < remaining <= 0.5
    assert (macs(model, SIZE), parameters(model)) == (plan.after.macs, plan.after.parameters)
    widths.write(model, tmp_path)
    save_file(
        {n: v.contiguous() for n, v in model.state_dict().items()}, tmp_path / "x.safetensors"
    )
    assert (tmp_path / "x.safetensors").stat().st_size == plan.after.bytes
    rebuilt = widths.load(
        make(name, CLASS_COUNT, image_size=SIZE),
        widths.read(tmp_path / widths.FILE),
        load_file(tmp_path / "x.safetensors"),
    )
    assert torch.equal(rebuilt.eval()(images), scores)


def test_attention_heads_lose_equally_many_channels() -> None:
    model, _ = pruned_to("vit_b_16")
    assert isinstance(model, VisionTransformer)
    name = "encoder.layers.encoder_layer_0.self_attention"
    attention = module_of(model, name, nn.MultiheadAttention)
    assert attention.embed_dim % 24 == 0
    assert attention.num_heads == 12
    assert attention.head_dim * 12 == attention.embed_dim == model.hidden_dim


@pytest.mark.parametrize("ratio_of", STRUCTURED_TARGETS)
def test_every_ratio_is_reached_and_hardly_exceeded(ratio_of: str) -> None:
    _, plan = pruned_to("mobilenet_v2", ratio_of=ratio_of, target="0.4")
    assert 0.4 <= plan.after.share_removed(plan.before, ratio_of) < 0.41


@pytest.mark.parametrize("importance", CHANNEL_IMPORTANCES)
def test_every_importance_prunes(importance: str) -> None:
    model, plan = pruned_to("mobilenet_v2", importance, scope="global", ratio_of="parameters")
    assert parameters(model) <= 0.5 * parameters(built("mobilenet_v2"))
    assert all(weight.grad is None for weight in model.parameters())
    narrow = {name for group in plan.groups if group.width <= 16 for name in group.layers}
    expected = {"classifier.1", "features.1.conv.0.0"} | narrow
    assert unprunable_layers(model, plan.groups).keys() <= expected


def test_the_importance_decides_which_channels_are_kept() -> None:
    """The channels with the largest weights in all coupled layers are kept."""
    model = built("vgg11_bn")
    weight = weight_of(model, "features.0")
    with torch.no_grad():
        weight[:32] *= 0.01
        weight_of(model, "features.4")[:, :32] *= 0.01
        weight_of(model, "features.1")[:32] *= 0.01
    kept = weight[32:].clone()
    prune_channels(model, settings(ratio_of="channels"), SIZE, scorer_of(model))
    assert torch.equal(weight_of(model, "features.0"), kept)


def test_the_hessian_uses_every_image() -> None:
    """torch-pruning's own sum keeps only the last image."""
    model = built("mobilenet_v3_small")
    scorer_of(model, "hessian")
    weight = weight_of(model, "features.0.0")
    squares = torch.zeros_like(weight)
    assert weight.grad is not None
    actual = weight.grad.clone()
    for image, label in zip(*batches()[0], strict=True):
        model.zero_grad()
        nn.functional.cross_entropy(model(image[None]), label[None]).backward()
        squares += weight.grad.square()
    torch.testing.assert_close(actual, squares / 4)


@pytest.mark.parametrize("scope", ["local", "global"])
def test_no_layer_collapses_and_channels_are_rounded(scope: str) -> None:
    dense = built("resnet18")
    model, _ = pruned_to("resnet18", scope=scope, target="0.9", round_to=16, max_ratio=0.75)
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            assert module.out_channels % 16 == 0
            assert module.out_channels >= module_of(dense, name, nn.Conv2d).out_channels / 4
    assert module_of(model, "fc", nn.Linear).out_features == CLASS_COUNT


def test_too_high_a_ratio_is_refused_with_the_possible_one() -> None:
    """What the message offers is accepted; a hundredth of a percent more is not."""
    with pytest.raises(SpecError, match=r"0\.99 of the macs cannot be removed\. At most") as caught:
        pruned_to("mobilenet_v2", target="0.99", max_ratio=0.5)
    offered = caught.value.values["possible"].value
    assert f"At most {offered:g} can be removed" in caught.value.message
    pruned_to("mobilenet_v2", target=repr(offered), max_ratio=0.5)
    with pytest.raises(SpecError, match=f"At most {offered:g}"):
        pruned_to("mobilenet_v2", target=repr(offered + 1e-4), max_ratio=0.5)


def test_a_model_without_batch_norm_cannot_be_scored_by_its_scale() -> None:
    with pytest.raises(SpecError, match=r"Nothing can be removed.* Choose another"):
        pruned_to("convnext_tiny", "bn_scale")


@pytest.mark.parametrize("name", ["swin_t", "shufflenet_v2_x1_0"])
def test_a_model_that_cannot_be_traced_is_refused(name: str) -> None:
    with pytest.raises(SpecError, match=r"cannot trace the dependency groups of"):
        trace(built(name), SIZE)


def test_unprunable_layers_have_a_reason() -> None:
    graph = trace(built("resnet18"), SIZE)
    assert unprunable_layers(built("resnet18"), graph.groups) == {"fc": CLASSES}
    vit = built("vit_b_16")
    reasons = unprunable_layers(vit, trace(vit, SIZE).groups)
    assert reasons["heads.head"] == CLASSES
    assert "part of attention" in reasons["encoder.layers.encoder_layer_0.self_attention.out_proj"]
    narrow = built("mobilenet_v2")
    _, plan = pruned_to("mobilenet_v2", round_to=32, target="0.1")
    reasons = unprunable_layers(narrow, plan.groups)
    assert "no smaller multiple of 32 keeps" in reasons["features.1.conv.1"]


def test_a_second_step_counts_from_the_dense_model() -> None:
    model, first = pruned_to("mobilenet_v2", target="0.3")
    scorer = scorer_of(model)
    plan = plan_widths(
        model, trace(model, SIZE), settings(target="0.5"), SIZE, scorer, first.before
    )
    assert 0.5 <= plan.after.share_removed(first.before, "macs") < 0.51


def test_allowed_widths_are_multiples_within_the_maximum_ratio() -> None:
    assert allowed_widths(32, 32, 8, 1, 0.9) == (32, 24, 16, 8)
    assert allowed_widths(32, 64, 8, 1, 0.75) == (32, 24, 16)
    assert allowed_widths(30, 30, 8, 1, 0.9) == (30, 24, 16, 8)
    assert allowed_widths(96, 96, 8, 12, 0.9) == (96, 72, 48, 24)
    assert allowed_widths(8, 8, 8, 1, 0.9) == (8,)


def test_groups_are_widened_as_long_as_the_ratio_is_reached() -> None:
    scores = np.arange(16.0)
    groups = {name: RankedGroup(scores, 1, (16, 8)) for name in "abc"}
    kept = widths_for_ratio(groups, "local", 0.15, lambda kept: 1 - sum(kept.values()) / 48)
    assert kept is not None
    assert sorted(kept.values()) == [8, 16, 16]
    assert widths_for_ratio(groups, "local", 0.6, lambda kept: 1 - sum(kept.values()) / 48) is None


def test_the_lowest_channels_are_alike_in_every_part() -> None:
    group = RankedGroup(np.asarray([3.0, 1.0, 2.0, 0.0]), 2, (8, 4))
    assert lowest_channels(group, 4) == [1, 3, 5, 7]
