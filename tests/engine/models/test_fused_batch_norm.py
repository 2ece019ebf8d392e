"""Batch norm with ReLU6 as one function: outputs, gradients and statistics of the two modules."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from pruning_core.engine.models.build import build
from pruning_core.engine.models.devices import autocast, place
from pruning_core.engine.models.fused_batch_norm import FusedSequential, fuse_batch_norms

SHAPES = st.tuples(st.integers(2, 5), st.integers(1, 6), st.integers(1, 3), st.integers(1, 3))


def run(model: nn.Module, images: Tensor, trained_before: bool = True) -> dict[str, Tensor]:
    """The output, every gradient, and the buffers afterwards.

    Without `trained_before` nothing needs the gradient of the images.
    """
    images = images.clone().requires_grad_(trained_before)
    outputs = model(images)
    (outputs * torch.linspace(-1, 1, outputs.numel()).reshape(outputs.shape)).sum().backward()
    values = {"output": outputs, "images": images.grad, **dict(model.named_buffers())}
    values |= {name: value.grad for name, value in model.named_parameters()}
    return {name: value for name, value in values.items() if value is not None}


def assert_same(
    plain: nn.Module, fused: nn.Module, images: Tensor, trained_before: bool = True
) -> None:
    expected, actual = run(plain, images, trained_before), run(fused, images, trained_before)
    assert list(expected) == list(actual)
    for name, value in expected.items():
        torch.testing.assert_close(actual[name], value, rtol=1e-4, atol=1e-5, msg=name)


def channels_last(images: Tensor) -> Tensor:
    return images.to(memory_format=torch.channels_last)


@settings(max_examples=60, deadline=None)
@given(SHAPES, st.integers(0, 99), st.sampled_from(["", "weight", "bias"]), st.booleans())
def test_any_map_equals_the_modules_of_torch(
    shape: tuple[int, int, int, int], seed: int, frozen: str, trained_before: bool
) -> None:
    torch.manual_seed(seed)
    norm = nn.BatchNorm2d(shape[1], momentum=0.3)
    nn.init.uniform_(norm.weight, 1, 4)
    nn.init.uniform_(norm.bias, -1, 4)
    if frozen:
        norm.get_parameter(frozen).requires_grad_(False)
    plain = nn.Sequential(norm, nn.ReLU6(inplace=True))
    fused = fuse_batch_norms(copy.deepcopy(plain), "cpu")
    assert_same(plain, fused, channels_last(torch.randn(shape)), trained_before)


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet18", "mobilenet_v3_small", "vgg11_bn"])
def test_a_network_has_the_gradients_of_the_plain_one(name: str) -> None:
    torch.manual_seed(0)
    settings = {"name": name, "width": 1.0, "stem_stride": 2}
    plain = build(settings, 10, 32)
    for module in plain.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    plain = plain.double()  # so that another order of sums is not amplified by the layers
    fused = place(copy.deepcopy(plain), "cpu")
    assert list(fused.state_dict()) == list(plain.state_dict())
    assert_same(plain, fused, channels_last(torch.rand(4, 3, 32, 32, dtype=torch.double)))


@pytest.mark.parametrize("size", [8, 32])
def test_bfloat16_differs_by_rounding_only(size: int) -> None:
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(3, 8, size, bias=False), nn.BatchNorm2d(8), nn.ReLU6(True))
    fused = place(copy.deepcopy(plain), "cpu")
    images = channels_last(torch.rand(16, 3, 32, 32))
    with autocast("cpu", "bf16"):
        expected, actual = run(plain, images), run(fused, images)
    assert actual["output"].dtype == expected["output"].dtype
    for name, value in expected.items():
        limit = 0.05 * float(value.detach().abs().max())
        torch.testing.assert_close(actual[name], value, rtol=0, atol=limit, msg=name)


@pytest.mark.parametrize("size", [1, 2])
def test_a_change_of_the_output_in_place_is_as_safe_as_with_the_modules(size: int) -> None:
    images = channels_last(torch.randn(4, 2, size, size))
    model = fuse_batch_norms(nn.Sequential(nn.BatchNorm2d(2), nn.Hardswish(inplace=True)), "cpu")
    plain = nn.Sequential(nn.BatchNorm2d(2), nn.Hardswish())
    assert_same(plain, model, images)
    model = fuse_batch_norms(nn.Sequential(nn.BatchNorm2d(2), nn.ReLU6()), "cpu")
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        model(images).mul_(2).sum().backward()


def test_what_differs_from_the_usual_modules_is_left_to_torch() -> None:
    """Hooks are called, evaluation is as before, and batch norm without statistics works."""
    seen = []
    model = nn.Sequential(nn.BatchNorm2d(2), nn.ReLU6(), nn.BatchNorm2d(2, affine=False))
    fuse_batch_norms(model, "cpu")
    assert type(model) is FusedSequential
    images = channels_last(8 * torch.randn(4, 2, 1, 1))
    model[0].register_forward_hook(lambda module, inputs, outputs: seen.append(outputs))
    model(images)
    assert bool((seen[0] < 0).any())
    model.eval()
    expected = nn.Sequential(*model)(images)
    assert torch.equal(model(images), expected)
    other = fuse_batch_norms(nn.Sequential(nn.BatchNorm2d(2)), "cuda")
    assert type(other) is nn.Sequential
