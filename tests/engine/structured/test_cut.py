"""Channels really removed: the target is met, the model runs, and it can be made again."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pruning_core.common.errors import SpecError
from pruning_core.engine.models.build import make
from pruning_core.engine.models.macs import macs
from pruning_core.engine.structured import widths as structures
from pruning_core.engine.structured.groups import CLASSES, trace, unprunable_layers
from pruning_core.engine.structured.importance import IMPORTANCES, ImportanceInputs
from pruning_core.engine.structured.selection import (
    RankedGroup,
    allowed_widths,
    lowest_channels,
    widths_for_ratio,
)
from pruning_core.engine.structured.width_plan import WidthPlan, plan_widths, prune_channels
from pruning_core.methods.channel_importance import CHANNEL_IMPORTANCES, STRUCTURED_TARGETS

SIZE, CLASS_COUNT = 32, 10
MODELS = (
    *("mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large", "resnet18", "resnet50"),
    *("vgg11_bn", "efficientnet_b0", "convnext_tiny", "vit_b_16"),
)


def built(name: str) -> nn.Module:
    torch.manual_seed(0)
    return make(name, CLASS_COUNT, image_size=SIZE).eval()


def settings(**more: Any) -> dict[str, Any]:
    return {
        **{"target": "0.5", "ratio_of": "macs", "scope": "local", "round_to": 8, "max_ratio": 0.9},
        **more,
    }


def batches(count: int = 4) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(count, 3, SIZE, SIZE, generator=generator)
    return [(images, torch.arange(count) % CLASS_COUNT)]


def sight(model: nn.Module) -> ImportanceInputs:
    return ImportanceInputs(model, batches(), torch.Generator().manual_seed(0))


def cut_to(name: str, importance: str = "magnitude_l2", **more: Any) -> tuple[nn.Module, WidthPlan]:
    model = built(name)
    return prune_channels(model, settings(**more), SIZE, IMPORTANCES[importance](sight(model)))


def parameters(model: nn.Module) -> int:
    return sum(weight.numel() for weight in model.parameters())


@pytest.mark.parametrize("name", MODELS)
def test_half_the_macs_go_and_a_fresh_model_computes_the_same(name: str, tmp_path: Path) -> None:
    dense = built(name)
    model, plan = cut_to(name)
    images = torch.randn(2, 3, SIZE, SIZE)
    scores = model(images)
    assert scores.shape == (2, CLASS_COUNT)
    left = macs(model, SIZE) / macs(dense, SIZE)
    assert 0.44 < left <= 0.5
    assert (macs(model, SIZE), parameters(model)) == (plan.after.macs, plan.after.parameters)
    structures.write(model, tmp_path)
    save_file(
        {n: v.contiguous() for n, v in model.state_dict().items()}, tmp_path / "x.safetensors"
    )
    assert (tmp_path / "x.safetensors").stat().st_size == plan.after.bytes
    fresh = structures.load(
        make(name, CLASS_COUNT, image_size=SIZE),
        structures.read(tmp_path / structures.FILE),
        load_file(tmp_path / "x.safetensors"),
    )
    assert torch.equal(fresh.eval()(images), scores)


def test_attention_heads_lose_alike() -> None:
    model, _ = cut_to("vit_b_16")
    attention = model.encoder.layers[0].self_attention  # type: ignore[union-attr, index]
    assert attention.embed_dim % 24 == 0
    assert attention.num_heads == 12
    assert attention.head_dim * 12 == attention.embed_dim == model.hidden_dim


@pytest.mark.parametrize("of", STRUCTURED_TARGETS)
def test_every_target_is_met_and_hardly_more(of: str) -> None:
    _, plan = cut_to("mobilenet_v2", of=of, target="0.4")
    assert 0.4 <= plan.after.share_gone(plan.before, of) < 0.41


@pytest.mark.parametrize("importance", IMPORTANCES)
def test_every_importance_cuts(importance: str) -> None:
    model, plan = cut_to("mobilenet_v2", importance, scope="global", ratio_of="parameters")
    assert parameters(model) <= 0.5 * parameters(built("mobilenet_v2"))
    assert all(weight.grad is None for weight in model.parameters())
    assert (
        not unprunable_layers(model, plan.groups).keys()
        - {"classifier.1", "features.1.conv.0.0"}
        - {name for group in plan.groups if group.width <= 16 for name in group.layers}
    )


def test_the_importances_have_titles() -> None:
    assert list(IMPORTANCES) == list(CHANNEL_IMPORTANCES)


def test_an_importance_decides_which_channels_stay() -> None:
    """The channels with the largest weights in all coupled layers are those that are left."""
    model = built("vgg11_bn")
    weight, following = model.features[0].weight, model.features[4].weight  # type: ignore[index, union-attr]
    with torch.no_grad():
        weight[:32] *= 0.01
        following[:, :32] *= 0.01
        model.features[1].weight[:32] *= 0.01  # type: ignore[index, union-attr]
    kept = weight[32:].clone()
    prune_channels(model, settings(of="channels"), SIZE, IMPORTANCES["magnitude_l2"](sight(model)))
    assert torch.equal(model.features[0].weight, kept)  # type: ignore[index, union-attr]


def test_the_hessian_looks_at_every_image() -> None:
    """torch-pruning's own sum keeps the last image only, which would be another score."""
    model = built("mobilenet_v3_small")
    IMPORTANCES["hessian"](sight(model))
    squares = torch.zeros_like(model.features[0][0].weight)  # type: ignore[index]
    found = model.features[0][0].weight.grad.clone()  # type: ignore[index, union-attr]
    for image, label in zip(*batches()[0], strict=True):
        model.zero_grad()
        nn.functional.cross_entropy(model(image[None]), label[None]).backward()
        squares += model.features[0][0].weight.grad.square()  # type: ignore[index, union-attr]
    torch.testing.assert_close(found, squares / 4)


@pytest.mark.parametrize("scope", ["local", "global"])
def test_no_layer_dies_and_channels_are_rounded(scope: str) -> None:
    dense = built("resnet18")
    model, _ = cut_to("resnet18", scope=scope, target="0.9", round_to=16, max_ratio=0.75)
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            whole = dense.get_submodule(name).out_channels
            assert module.out_channels % 16 == 0
            assert module.out_channels >= whole / 4  # type: ignore[operator]
    assert model.fc.out_features == CLASS_COUNT  # type: ignore[union-attr]


def test_too_much_is_refused_with_what_can_go() -> None:
    with pytest.raises(SpecError, match=r"at most 7\d\.\d% of the macs .* 99\.0% is asked"):
        cut_to("mobilenet_v2", target="0.99", max_ratio=0.5)


def test_a_model_without_batch_norm_has_no_scale_to_look_at() -> None:
    with pytest.raises(SpecError, match=r"at most 0\.0%"):
        cut_to("convnext_tiny", "bn_scale")


@pytest.mark.parametrize("name", ["swin_t", "shufflenet_v2_x1_0"])
def test_a_graph_that_cannot_be_read_is_refused(name: str) -> None:
    with pytest.raises(SpecError, match=r"cannot read which layers of .* are coupled"):
        trace(built(name), SIZE)


def test_what_cannot_be_cut_is_told_with_a_reason() -> None:
    graph = trace(built("resnet18"), SIZE)
    assert unprunable_layers(built("resnet18"), graph.groups) == {"fc": CLASSES}
    vit = built("vit_b_16")
    told = unprunable_layers(vit, trace(vit, SIZE).groups)
    assert told["heads.head"] == CLASSES
    assert "part of attention" in told["encoder.layers.encoder_layer_0.self_attention.out_proj"]
    narrow = built("mobilenet_v2")
    _, plan = cut_to("mobilenet_v2", round_to=32, target="0.1")
    told = unprunable_layers(narrow, plan.groups)
    assert "no multiple of 32 below" in told["features.1.conv.1"]


def test_a_second_cut_counts_from_the_dense_model() -> None:
    model, first = cut_to("mobilenet_v2", target="0.3")
    scorer = IMPORTANCES["magnitude_l2"](sight(model))
    plan = plan_widths(
        model, trace(model, SIZE), settings(target="0.5"), SIZE, scorer, first.before
    )
    assert 0.5 <= plan.after.share_gone(first.before, "macs") < 0.51


def test_widths_are_multiples_above_the_floor() -> None:
    assert allowed_widths(32, 32, 8, 1, 0.9) == (32, 24, 16, 8)
    assert allowed_widths(32, 64, 8, 1, 0.75) == (32, 24, 16)
    assert allowed_widths(30, 30, 8, 1, 0.9) == (30, 24, 16, 8)
    assert allowed_widths(96, 96, 8, 12, 0.9) == (96, 72, 48, 24)
    assert allowed_widths(8, 8, 8, 1, 0.9) == (8,)


def test_groups_are_given_back_where_the_target_is_met_all_the_same() -> None:
    scores = np.arange(16.0)
    groups = {name: RankedGroup(scores, 1, (16, 8)) for name in "abc"}
    kept = widths_for_ratio(groups, "local", 0.15, lambda kept: 1 - sum(kept.values()) / 48)
    assert kept is not None
    assert sorted(kept.values()) == [8, 16, 16]
    assert widths_for_ratio(groups, "local", 0.6, lambda kept: 1 - sum(kept.values()) / 48) is None


def test_the_lowest_scores_go_alike_in_every_part() -> None:
    group = RankedGroup(np.asarray([3.0, 1.0, 2.0, 0.0]), 2, (8, 4))
    assert lowest_channels(group, 4) == [1, 3, 5, 7]


class TestStructure:
    """What a file of widths must be."""

    def structure(self) -> dict[str, Any]:
        return structures.structure(built("mobilenet_v3_small"))

    def refusal(self, change: Any) -> str:
        """What is said of a structure that was changed; fails where it is taken."""
        found = copy.deepcopy(self.structure())
        change(found)
        with pytest.raises(structures.StructureError) as caught:
            structures.resize(built("mobilenet_v3_small"), found)
        return str(caught.value)

    def test_a_dense_model_is_left_as_it_is(self) -> None:
        model = built("mobilenet_v3_small")
        before = {name: value.clone() for name, value in model.state_dict().items()}
        structures.load(model, json.loads(json.dumps(self.structure())), before)
        assert all(torch.equal(before[name], v) for name, v in model.state_dict().items())

    def test_another_architecture_is_refused(self) -> None:
        with pytest.raises(structures.StructureError, match="another architecture"):
            structures.resize(built("resnet18"), self.structure())

    @pytest.mark.parametrize("value", [0, -1, 2.5, "16", True, None, [16]])
    def test_a_width_is_a_whole_number(self, value: Any) -> None:
        assert "whole numbers of 1 or more" in self.refusal(
            lambda found: found["modules"]["features.0.0"].update(out_channels=value)
        )

    def test_a_width_is_never_larger_than_the_architecture(self) -> None:
        assert "more than" in self.refusal(
            lambda found: found["modules"]["features.0.0"].update(out_channels=10**9)
        )

    def test_missing_and_foreign_entries_are_refused(self) -> None:
        changes: dict[str, Any] = {
            "lacks features.0.0": lambda found: found["modules"].pop("features.0.0"),
            "has other": lambda found: found["modules"].update(other={}),
            "has no parameters": lambda found: found.pop("parameters"),
            "does not say in_channels": lambda found: found["modules"]["features.0.0"].update(
                odd=1
            ),
        }
        for said, change in changes.items():
            assert said in self.refusal(change)

    def test_tensors_of_another_cut_are_refused(self) -> None:
        model, _ = cut_to("mobilenet_v3_small")
        with pytest.raises(structures.StructureError, match="not of one model"):
            structures.load(
                built("mobilenet_v3_small"),
                structures.structure(model),
                built("mobilenet_v3_small").state_dict(),
            )

    def test_a_damaged_file_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / structures.FILE
        for text in ("{", "[]", '{"format": 2}', '{"format": "1"}'):
            path.write_text(text)
            with pytest.raises(structures.StructureError, match="is no structure"):
                structures.read(path)
