"""Convolutions on maps of a few pixels, computed as what they are there: matrix products.

At 32x32 the last stages of a network see maps of 2x2 or 1x1. There a 1x1 convolution is a
matrix product over the channels, and most taps of a 3x3 kernel meet nothing but padding.
Measured on one core with batches of 64: a depthwise layer of 960 channels on a 1x1 map takes
a ninth of the time, a 1x1 convolution of 960 to 320 channels half. The weights, their names
and their gradients are those of the convolution; sums are taken in another order.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

SMALL_MAP = 4
MOST = 16
Triple = tuple[int, int, int]


def quicken(model: nn.Module, device: str) -> nn.Module:
    """Have the model's convolutions take the quick way on small maps, where it is quicker.

    That is on a CPU: a GPU's library chooses for itself. Changes the model and returns it.
    """
    if device == "cpu":
        for module in model.modules():
            if type(module) is nn.Conv2d and module.padding_mode == "zeros":
                module.__class__ = QuickConv2d
    return model


class QuickConv2d(nn.Conv2d):
    """A convolution that is a matrix product where the map is small."""

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C', H', W'), as `nn.Conv2d`."""
        if images.dim() != 4 or images.shape[2] * images.shape[3] > SMALL_MAP:
            return super().forward(images)
        if self.groups == 1 and _is_pointwise(self):
            return _product(self, images, 0)
        found = table(self, images.shape[2], images.shape[3])
        if self.groups == 1 and _is_one_product(found, images):
            return _product(self, images, found.taps[0][2])
        if self.groups == self.in_channels == self.out_channels and 0 < len(found.taps) <= MOST:
            return _depthwise(self, images, found)
        return super().forward(images)


@contextmanager
def plain(model: nn.Module) -> Iterator[nn.Module]:
    """The model with torch's own convolutions, which others can listen to; then as it was."""
    quick: list[nn.Module] = [m for m in model.modules() if type(m) is QuickConv2d]
    for module in quick:
        module.__class__ = nn.Conv2d
    try:
        yield model
    finally:
        for module in quick:
            module.__class__ = QuickConv2d


@dataclass(frozen=True)
class Table:
    """Every product that is not with padding: (output pixel, input pixel, kernel tap)."""

    height: int
    width: int
    taps: tuple[Triple, ...]


def table(conv: nn.Conv2d, height: int, width: int) -> Table:
    """The products of a convolution on a map of this height and width."""
    padding = _padding(conv)
    sides = zip((height, width), conv.kernel_size, conv.stride, padding, conv.dilation, strict=True)
    rows, columns = sides
    return _table(rows, columns)


def _padding(conv: nn.Conv2d) -> tuple[int, int]:
    if conv.padding == "valid":
        return 0, 0
    if conv.padding == "same":
        rows, columns = (
            d * (k - 1) // 2 for d, k in zip(conv.dilation, conv.kernel_size, strict=True)
        )
        return rows, columns
    return int(conv.padding[0]), int(conv.padding[1])


@functools.cache
def _table(rows: tuple[int, ...], columns: tuple[int, ...]) -> Table:
    height, width = _out(*rows), _out(*columns)
    taps = tuple(
        (q * width + r, p * columns[0] + s, j * columns[1] + k)
        for (q, p, j), (r, s, k) in itertools.product(_line(*rows), _line(*columns))
    )
    return Table(height, width, taps)


def _line(size: int, kernel: int, stride: int, padding: int, dilation: int) -> list[Triple]:
    """The same along one side of the map."""
    return [
        (q, p, k)
        for q in range(_out(size, kernel, stride, padding, dilation))
        for k in range(kernel)
        if 0 <= (p := q * stride + k * dilation - padding) < size
    ]


def _out(size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def _is_pointwise(conv: nn.Conv2d) -> bool:
    return conv.kernel_size == conv.stride == (1, 1) and _padding(conv) == (0, 0)


def _is_one_product(found: Table, images: Tensor) -> bool:
    """Whether a map of one pixel becomes one of one pixel, through one tap of the kernel."""
    return images.shape[2] * images.shape[3] == found.height * found.width == len(found.taps) == 1


def _product(conv: nn.Conv2d, images: Tensor, tap: int) -> Tensor:
    count, channels, height, width = images.shape
    kernel = conv.weight.flatten(2)[:, :, tap]
    pixels = images.permute(0, 2, 3, 1).reshape(-1, channels)
    found = functional.linear(pixels, kernel, conv.bias)
    return found.reshape(count, height, width, -1).permute(0, 3, 1, 2)


def _depthwise(conv: nn.Conv2d, images: Tensor, found: Table) -> Tensor:
    count, channels = images.shape[:2]
    pixels = images.permute(0, 2, 3, 1).reshape(count, -1, channels)
    kernel = conv.weight.flatten(1).t()
    made: Tensor = Depthwise.apply(pixels, kernel, found)
    if conv.bias is not None:
        made = made + conv.bias
    return made.reshape(count, found.height, found.width, channels).permute(0, 3, 1, 2)


class Depthwise(torch.autograd.Function):
    """Pixels (N, P, C) and taps (K, C) to (N, Q, C), a product of two pixels at a time."""

    @staticmethod
    @torch.amp.custom_fwd(device_type="cpu", cast_inputs=torch.float32)
    def forward(ctx: Any, pixels: Tensor, kernel: Tensor, found: Table) -> Tensor:
        kernel = kernel.contiguous()
        ctx.save_for_backward(pixels, kernel)
        ctx.found = found
        return _add_up(pixels, kernel, found.height * found.width, found.taps)

    @staticmethod
    @torch.amp.custom_bwd(device_type="cpu")
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        pixels, kernel = ctx.saved_tensors
        back = tuple((p, q, k) for q, p, k in ctx.found.taps)
        for_kernel = torch.zeros_like(kernel)
        for q, p, k in ctx.found.taps:
            for_kernel[k] += (pixels[:, p] * gradient[:, q]).sum(0)
        return _add_up(gradient, kernel, pixels.shape[1], back), for_kernel, None


def _add_up(pixels: Tensor, kernel: Tensor, size: int, taps: Iterable[Triple]) -> Tensor:
    """`out[:, q]` is the sum of `pixels[:, p] * kernel[k]` over the taps (q, p, k)."""
    found = pixels.new_zeros(pixels.shape[0], size, pixels.shape[2])
    for q, p, k in taps:
        found[:, q].addcmul_(pixels[:, p], kernel[k])
    return found
