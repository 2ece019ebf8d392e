"""Prunable weights, their names, and the counts of their zeros."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from pruning_core.engine.models.build import make
from pruning_core.engine.models.layers import (
    convolution_groups,
    fold_hooks,
    layers,
    parameters,
    sparsities,
    weights,
)
from pruning_core.methods.layers import Layer


def by_name(model: nn.Module) -> dict[str, Layer]:
    return {layer.name: layer for layer in layers(model)}


def test_mobilenet_v2() -> None:
    actual = layers(make("mobilenet_v2", 10))
    kinds = [layer.kind for layer in actual]
    assert (kinds.count("conv"), kinds.count("depthwise"), kinds.count("linear")) == (35, 17, 1)
    assert sum(layer.size for layer in actual) == 2_202_560
    for layer in actual:
        assert layer.groups == (layer.shape[0] if layer.kind == "depthwise" else 1)
    assert actual[0] == Layer("features.0.0.weight", "conv", "stem", (32, 3, 3, 3), 864)
    assert actual[-1] == Layer("classifier.1.weight", "linear", "classifier", (10, 1280), 12800)
    assert all(layer.role == "" for layer in actual[1:-1])


def test_attention_has_its_projections() -> None:
    actual = by_name(make("vit_b_32", 10))
    block = "encoder.layers.encoder_layer_0.self_attention"
    assert actual[f"{block}.in_proj_weight"].kind == "attention"
    assert actual[f"{block}.in_proj_weight"].shape == (2304, 768)
    assert actual[f"{block}.out_proj.weight"].kind == "linear"
    assert actual["conv_proj.weight"].role == "stem"
    assert actual["heads.head.weight"].role == "classifier"
    names = list(actual)
    assert names.index(f"{block}.in_proj_weight") < names.index(f"{block}.out_proj.weight")


def test_attention_with_separate_projections() -> None:
    model = nn.MultiheadAttention(8, 2, kdim=4, vdim=6)
    names = ["q_proj_weight", "k_proj_weight", "v_proj_weight", "out_proj.weight"]
    assert list(by_name(model)) == names


def test_without_a_linear_layer_the_last_convolution_classifies() -> None:
    actual = by_name(make("squeezenet1_1", 10))
    assert actual["classifier.1.weight"].role == "classifier"
    assert actual["features.0.weight"].role == "stem"


def test_a_transposed_and_a_one_dimensional_convolution_count() -> None:
    model = nn.Sequential(nn.Conv1d(4, 4, 3, groups=4), nn.ConvTranspose2d(4, 2, 3))
    assert [layer.kind for layer in layers(model)] == ["depthwise", "conv"]


@pytest.mark.parametrize("scripted", [False, True])
def test_groups_are_those_of_the_convolution(scripted: bool) -> None:
    model = nn.Sequential(nn.Conv2d(8, 12, 3, groups=4), nn.Flatten(), nn.Linear(12, 4))
    named = torch.jit.script(model) if scripted else model
    assert convolution_groups(named) == {"0.weight": 4, "2.weight": 1}


def test_core_excludes_depthwise_stem_and_classifier() -> None:
    model = make("mobilenet_v2", 10)
    core = weights(model, "core")
    assert len(weights(model, "all")) == 53
    assert len(core) == 53 - 17 - 2
    assert all(isinstance(value, nn.Parameter) for value in core.values())
    assert "features.0.0.weight" not in core
    assert "features.1.conv.0.0.weight" not in core


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(5, 4)
        self.first = nn.Linear(4, 5, bias=False)
        self.second = nn.Linear(4, 5, bias=False)
        self.first.weight = self.embedding.weight
        self.second.weight = self.embedding.weight


def test_a_shared_weight_is_listed_once() -> None:
    model = Tied()
    assert list(weights(model, "all")) == ["first.weight"]
    counts = sparsities(model, "all")
    assert (counts["prunable"], counts["parameters"]) == (20, 20)


def small() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8, 5))


@pytest.mark.parametrize("hooks", [True, False])
def test_four_sparsities(hooks: bool) -> None:
    model = small()
    prune.l1_unstructured(model[0], "weight", amount=100)
    prune.l1_unstructured(model[3], "weight", amount=7)
    prune.random_unstructured(model[3], "bias", amount=2)
    if not hooks:
        for module, name in ((model[0], "weight"), (model[3], "weight"), (model[3], "bias")):
            prune.remove(module, name)
    total = 216 + 8 + 16 + 40 + 5
    assert sparsities(model, "all") == {
        "prunable": 256,
        "prunable_zeros": 107,
        "weights": 256,
        "weights_zeros": 107,
        "parameters": total,
        "nonzero": total - 107 - 2 - 8,  # the batch norm's biases start at 0
    }


def test_hooks_do_not_change_the_names() -> None:
    plain, hooked = small(), small()
    prune.l1_unstructured(hooked[0], "weight", amount=0.5)
    assert layers(hooked) == layers(plain)
    assert set(parameters(hooked)) == set(parameters(plain))
    assert weights(hooked, "all")["0.weight"] is hooked.get_parameter("0.weight_orig")


def test_the_prunable_weights_are_those_of_the_choice() -> None:
    model = make("mobilenet_v2", 10)
    counts = sparsities(model, "core")
    assert counts["prunable"] == sum(value.numel() for value in weights(model, "core").values())
    assert counts["prunable"] < counts["weights"] < counts["parameters"]


def test_folded_hooks_leave_plain_zeros() -> None:
    state = {"w_orig": torch.tensor([-1.0, -2.0]), "w_mask": torch.tensor([0.0, 1.0])}
    folded = fold_hooks({"b_orig": torch.ones(1), **state, "x_mask": torch.ones(1)})
    assert list(folded) == ["b_orig", "w", "x_mask"]
    assert folded["w"].tolist() == [0.0, -2.0]
    assert not bool(torch.signbit(folded["w"][0]))
