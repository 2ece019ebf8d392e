"""Convolutions on small maps: outputs and gradients against torch's convolutions."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from pruning_core.engine.models.build import build
from pruning_core.engine.models.small_convs import SmallConv2d, tap_table, use_small_convs

SIDES = st.tuples(st.integers(1, 3), st.integers(1, 3))


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[nn.Conv2d, Tensor]:
    torch.manual_seed(draw(st.integers(0, 99)))
    channels = draw(st.integers(1, 4))
    depthwise = draw(st.booleans())
    kernel, stride, dilation = draw(SIDES), draw(SIDES), draw(SIDES)
    padding = draw(st.one_of(st.tuples(st.integers(0, 2), st.integers(0, 2)), st.just("valid")))
    conv = nn.Conv2d(
        channels,
        channels if depthwise else draw(st.integers(1, 5)),
        kernel,
        stride,
        padding,
        dilation,
        groups=channels if depthwise else 1,
        bias=draw(st.booleans()),
    )
    height, width = draw(SIDES)
    actual = tap_table(conv, height, width)
    assume(actual.height > 0 and actual.width > 0)
    return conv, torch.randn(draw(st.integers(1, 3)), channels, height, width)


def run(conv: nn.Module, images: Tensor, trained_before: bool = True) -> list[Tensor]:
    """The output and every gradient; without `trained_before` none of the images."""
    images = images.clone().requires_grad_(trained_before)
    actual = conv(images)
    (actual * torch.linspace(-1, 1, actual.numel()).reshape(actual.shape)).sum().backward()
    grads = [value.grad for value in (images, *conv.parameters())]
    return [actual, *(grad for grad in grads if grad is not None)]


@settings(max_examples=150, deadline=None)
@given(convolutions(), st.sampled_from([(True, True), (True, False), (False, True)]))
def test_any_convolution_equals_that_of_torch(
    drawn: tuple[nn.Conv2d, Tensor], trained: tuple[bool, bool]
) -> None:
    """Also where only the images or only the weights need a gradient."""
    conv, images = drawn
    before, weights = trained
    conv.weight.requires_grad_(weights)
    small = copy.deepcopy(conv)
    small.__class__ = SmallConv2d
    both = run(conv, images, before), run(small, images, before)
    for one, other in zip(*both, strict=True):
        assert one.shape == other.shape
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_padding_by_name(padding: str) -> None:
    conv = nn.Conv2d(4, 4, 3 if padding == "same" else 2, padding=padding, groups=4)
    small = copy.deepcopy(conv)
    small.__class__ = SmallConv2d
    images = torch.randn(2, 4, 2, 2)
    for one, other in zip(run(conv, images), run(small, images), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet18", "efficientnet_b0", "vgg11_bn"])
def test_a_model_keeps_its_names_and_outputs(name: str) -> None:
    torch.manual_seed(0)
    settings = {"name": name, "width": 1.0, "stem_stride": 2}
    model = build(settings, 10, 32).eval()
    small = use_small_convs(copy.deepcopy(model).to(memory_format=torch.channels_last), "cpu")
    assert list(small.state_dict()) == list(model.state_dict())
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(small(images), model(images), rtol=1e-3, atol=1e-5)


def test_bf16_is_computed_in_the_same_way() -> None:
    conv = nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False)
    small = use_small_convs(nn.Sequential(copy.deepcopy(conv)), "cpu")
    images = torch.randn(4, 8, 2, 2)
    with torch.autocast("cpu", torch.bfloat16):
        actual = run(small, images)
    for one, other in zip(run(conv, images), actual, strict=True):
        torch.testing.assert_close(one, other.float(), rtol=0.05, atol=0.05)


def test_a_gpu_keeps_its_own_convolutions() -> None:
    conv = nn.Conv2d(3, 3, 1)
    use_small_convs(nn.Sequential(conv), "cuda")
    assert type(conv) is nn.Conv2d
