"""Wanda's input norms against products written out, for every kind of layer there is."""

from __future__ import annotations

import math
from collections.abc import Callable

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
    """The scores without the weights' own size."""
    found = weights(model, "all")
    labels = torch.zeros(1, dtype=torch.int64)
    scores = wanda(
        CriterionInputs(found, model=model, batches=[(batch, labels) for batch in batches])
    )
    return {name: scores[name] / found[name].detach().abs() for name in found}


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[nn.Conv2d, Tensor]:
    torch.manual_seed(draw(st.integers(0, 99)))
    groups, mode = draw(st.integers(1, 3)), draw(st.sampled_from(["zeros", "reflect", "circular"]))
    made = nn.Conv2d(
        groups * draw(st.integers(1, 2)),
        groups * draw(st.integers(1, 2)),
        draw(SIDES),
        draw(SIDES),
        draw(st.sampled_from([0, 1, (0, 1), "valid"])),
        draw(SIDES),
        groups=groups,
        padding_mode=mode,
    )
    return made, torch.randn(2, made.in_channels, draw(st.integers(2, 7)), draw(st.integers(2, 7)))


def by_unfolding(conv: nn.Conv2d, images: Tensor) -> Tensor:
    """Every patch written out, as the product meets it."""
    if conv.padding_mode != "zeros":
        images = functional.pad(images, conv._reversed_padding_repeated_twice, conv.padding_mode)
    plain = conv.padding_mode == "zeros" and conv.padding != "valid"
    patches = functional.unfold(
        images, conv.kernel_size, conv.dilation, conv.padding if plain else 0, conv.stride
    )
    seen = patches.square().sum((0, 2)).sqrt().reshape(conv.in_channels, *conv.kernel_size)
    wide, each = conv.out_channels // conv.groups, conv.in_channels // conv.groups
    rows = [seen[o // wide * each : (o // wide + 1) * each] for o in range(conv.out_channels)]
    return torch.stack(rows)


@settings(max_examples=80, deadline=None)
@given(convolutions())
def test_a_convolution_meets_what_unfolding_shows(made: tuple[nn.Conv2d, Tensor]) -> None:
    conv, images = made
    try:
        conv(images)
    except RuntimeError:
        assume(False)
    wanted = by_unfolding(conv, images)
    assume(bool(wanted.any()))  # a stride can meet nothing but padding
    found = norms(nn.Sequential(conv), [images[:1], images[1:]])["0.weight"]
    torch.testing.assert_close(found, wanted)


@pytest.mark.filterwarnings("ignore:Using padding")
def test_the_padding_same_is_shared_out_as_torch_does() -> None:
    conv = nn.Conv2d(1, 1, (2, 4), padding="same")
    image = torch.arange(1.0, 7.0).reshape(1, 1, 2, 3)
    found = norms(nn.Sequential(conv), [image])["0.weight"][0, 0]
    for row in range(2):
        for column in range(4):
            tap = torch.zeros(1, 1, 2, 4)
            tap[0, 0, row, column] = 1
            seen = functional.conv2d(image, tap, padding="same")
            assert float(found[row, column]) == pytest.approx(float(seen.norm()))


def test_quick_convolutions_and_linear_layers() -> None:
    """On maps of one pixel, where the quick way makes products of its own."""
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(3, 6, 1), nn.ReLU(), nn.Conv2d(6, 6, 3, padding=1, groups=6)),
        *(nn.Flatten(), nn.Linear(6, 2)),
    )
    model = devices.place(model, "cpu")
    images = torch.randn(5, 3, 1, 1)
    found = norms(model, [images])
    seen = [images, *(part(images) for part in (model[0], model[:2], model[:3]))]  # type: ignore
    torch.testing.assert_close(found["0.weight"][4, :, 0, 0], images.norm(dim=0)[:, 0, 0])
    torch.testing.assert_close(found["2.weight"][:, 0, 1, 1], seen[2].norm(dim=0)[:, 0, 0])
    torch.testing.assert_close(found["4.weight"][1], seen[3].flatten(1).norm(dim=0))
    assert float(found["2.weight"][0, 0, 0, 0]) == 0
    assert type(model[0]) is SmallConv2d  # type: ignore[index]


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.MultiheadAttention(4, 1, batch_first=True)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.mix(tokens, tokens, tokens, need_weights=False)[0]


def test_attention_is_met_by_tokens_and_by_what_the_heads_make_of_them() -> None:
    torch.manual_seed(0)
    model, tokens = Attention().eval(), torch.randn(3, 5, 4)
    found = norms(model, [tokens])
    every = tokens.flatten(0, 1).norm(dim=0)
    torch.testing.assert_close(found["mix.in_proj_weight"], every.expand(12, 4))
    mixed = model.mix.in_proj_weight, model.mix.in_proj_bias
    query, key, value = functional.linear(tokens, *mixed).chunk(3, -1)
    heads = (query @ key.transpose(1, 2) / math.sqrt(4)).softmax(-1) @ value
    wanted = heads.flatten(0, 1).norm(dim=0).expand(4, 4)
    torch.testing.assert_close(found["mix.out_proj.weight"], wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "make",
    [
        lambda: VisionTransformer(32, 16, 1, 2, 8, 16, num_classes=3),
        lambda: swin_t(num_classes=3),
    ],
    ids=["vit", "swin"],
)
def test_models_that_multiply_outside_of_modules_hide_nothing(
    make: Callable[[], nn.Module],
) -> None:
    torch.manual_seed(0)
    model = make()
    for value in model.parameters():  # a head may begin with nothing but zeros
        value.data[value == 0] = 1.0
    found = norms(model, [torch.randn(2, 3, 32, 32)])
    assert all(bool(torch.isfinite(norm).all()) for norm in found.values())
    assert all(float(norm.sum()) > 0 for norm in found.values())
