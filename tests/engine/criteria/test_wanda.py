"""Wanda's input norms against explicit products, for every kind of layer."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import VisionTransformer, swin_t

from pruning_core.engine.criteria.inputs import CriterionInputs
from pruning_core.engine.criteria.wanda import wanda
from pruning_core.engine.models import devices
from pruning_core.engine.models.layers import weights
from pruning_core.engine.models.small_convs import SmallConv2d

SIDES = st.tuples(st.integers(1, 3), st.integers(1, 3))


def norms(model: nn.Module, batches: list[Tensor]) -> dict[str, Tensor]:
    """The scores without the magnitudes of the weights."""
    prunable = weights(model, "all")
    labels = torch.zeros(1, dtype=torch.int64)
    scores = wanda(
        CriterionInputs(prunable, model=model, batches=[(batch, labels) for batch in batches])
    )
    return {name: scores[name] / prunable[name].detach().abs() for name in prunable}


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[nn.Conv2d, Tensor]:
    torch.manual_seed(draw(st.integers(0, 99)))
    groups = draw(st.integers(1, 3))
    padding: Any = draw(st.sampled_from([0, 1, (0, 1), "valid"]))
    mode: Any = draw(st.sampled_from(["zeros", "reflect", "circular"]))
    conv = nn.Conv2d(
        groups * draw(st.integers(1, 2)),
        groups * draw(st.integers(1, 2)),
        draw(SIDES),
        draw(SIDES),
        padding,
        draw(SIDES),
        groups=groups,
        padding_mode=mode,
    )
    return conv, torch.randn(2, conv.in_channels, draw(st.integers(2, 7)), draw(st.integers(2, 7)))


def by_unfolding(conv: nn.Conv2d, images: Tensor) -> Tensor:
    """The norms from explicit patches of the input."""
    if conv.padding_mode != "zeros":
        images = functional.pad(images, conv._reversed_padding_repeated_twice, conv.padding_mode)
    zeros = conv.padding_mode == "zeros" and not isinstance(conv.padding, str)
    padding: Any = conv.padding if zeros else 0
    patches = functional.unfold(images, conv.kernel_size, conv.dilation, padding, conv.stride)
    norms = patches.square().sum((0, 2)).sqrt().reshape(conv.in_channels, *conv.kernel_size)
    wide, each = conv.out_channels // conv.groups, conv.in_channels // conv.groups
    rows = [norms[o // wide * each : (o // wide + 1) * each] for o in range(conv.out_channels)]
    return torch.stack(rows)


@settings(max_examples=80, deadline=None)
@given(convolutions())
def test_convolutions_against_unfolding(drawn: tuple[nn.Conv2d, Tensor]) -> None:
    conv, images = drawn
    try:
        conv(images)
    except RuntimeError:
        assume(False)
    expected = by_unfolding(conv, images)
    assume(bool(expected.any()))  # a stride can meet nothing but padding
    actual = norms(nn.Sequential(conv), [images[:1], images[1:]])["0.weight"]
    torch.testing.assert_close(actual, expected)


@pytest.mark.filterwarnings("ignore:Using padding")
def test_padding_same_is_distributed_as_in_torch() -> None:
    conv = nn.Conv2d(1, 1, (2, 4), padding="same")
    image = torch.arange(1.0, 7.0).reshape(1, 1, 2, 3)
    actual = norms(nn.Sequential(conv), [image])["0.weight"][0, 0]
    for row in range(2):
        for column in range(4):
            tap = torch.zeros(1, 1, 2, 4)
            tap[0, 0, row, column] = 1
            inputs = functional.conv2d(image, tap, padding="same")
            assert float(actual[row, column]) == pytest.approx(float(inputs.norm()))


def test_small_convolutions_and_linear_layers() -> None:
    """On maps of one pixel, which `SmallConv2d` computes as matrix products."""
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(3, 6, 1), nn.ReLU(), nn.Conv2d(6, 6, 3, padding=1, groups=6)),
        *(nn.Flatten(), nn.Linear(6, 2)),
    )
    devices.place(model, "cpu")
    images = torch.randn(5, 3, 1, 1)
    actual = norms(model, [images])
    maps = [images, *(model[:end](images) for end in (1, 2, 3))]
    torch.testing.assert_close(actual["0.weight"][4, :, 0, 0], images.norm(dim=0)[:, 0, 0])
    torch.testing.assert_close(actual["2.weight"][:, 0, 1, 1], maps[2].norm(dim=0)[:, 0, 0])
    torch.testing.assert_close(actual["4.weight"][1], maps[3].flatten(1).norm(dim=0))
    assert float(actual["2.weight"][0, 0, 0, 0]) == 0
    assert type(model[0]) is SmallConv2d


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.MultiheadAttention(4, 1, batch_first=True)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.mix(tokens, tokens, tokens, need_weights=False)[0]


def test_the_inputs_of_both_projections_of_attention() -> None:
    torch.manual_seed(0)
    model, tokens = Attention().eval(), torch.randn(3, 5, 4)
    actual = norms(model, [tokens])
    token_norms = tokens.flatten(0, 1).norm(dim=0)
    torch.testing.assert_close(actual["mix.in_proj_weight"], token_norms.expand(12, 4))
    mixed = model.mix.in_proj_weight, model.mix.in_proj_bias
    query, key, value = functional.linear(tokens, *mixed).chunk(3, -1)
    heads = (query @ key.transpose(1, 2) / math.sqrt(4)).softmax(-1) @ value
    expected = heads.flatten(0, 1).norm(dim=0).expand(4, 4)
    torch.testing.assert_close(actual["mix.out_proj.weight"], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "make",
    [
        lambda: VisionTransformer(32, 16, 1, 2, 8, 16, num_classes=3),
        lambda: swin_t(num_classes=3),
    ],
    ids=["vit", "swin"],
)
def test_products_outside_of_modules_are_included(
    make: Callable[[], nn.Module],
) -> None:
    torch.manual_seed(0)
    model = make()
    for value in model.parameters():  # a classifier may start with zeros only
        value.data[value == 0] = 1.0
    actual = norms(model, [torch.randn(2, 3, 32, 32)])
    assert all(bool(torch.isfinite(norm).all()) for norm in actual.values())
    assert all(float(norm.sum()) > 0 for norm in actual.values())
