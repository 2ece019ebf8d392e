"""Convolutions on maps of a few pixels, computed as the matrix products that they are.

At 32x32 pixels the last stages of a network have maps of 4x4 pixels and fewer. A 1x1 convolution is
then a matrix product over the channels, and on maps of 2x2 and 1x1 most taps of a 3x3 kernel meet
only padding. Measured on one
core with batches of 64: a depthwise layer of 960 channels on a 1x1 map takes a ninth of the time,
a 1x1 convolution from 960 to 320 channels half of it. Weights, names and gradients are those of
the convolution; only the order of sums differs.

P and Q are the numbers of input and output pixels of a map.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

# The most pixels of a map: of any convolution, and of a 1x1 convolution.
SMALL_MAP = 4
SMALL_POINTWISE_MAP = 16
MAX_TAPS = 16
Triple = tuple[int, int, int]


def use_small_convs(model: nn.Module, device: str) -> nn.Module:
    """Compute convolutions on small maps as matrix products, on a CPU only.

    A GPU's library chooses its own algorithm. Changes the model in place and returns it.
    """
    if device == "cpu":
        for module in model.modules():
            # Only the class itself: a subclass may compute something else.
            if type(module) is nn.Conv2d and module.padding_mode == "zeros":
                module.__class__ = SmallConv2d
    return model


class SmallConv2d(nn.Conv2d):
    """A convolution that is a matrix product where the map is small."""

    def forward(self, images: Tensor) -> Tensor:
        """(N, I, H, W) to (N, O, H', W'), as `nn.Conv2d`."""
        size = images.shape[2] * images.shape[3] if images.dim() == 4 else math.inf
        if size <= SMALL_POINTWISE_MAP and self.groups == 1 and _is_pointwise(self):
            return _product(self, images, 0)
        if size > SMALL_MAP:
            return super().forward(images)
        table = tap_table(self, images.shape[2], images.shape[3])
        if self.groups == 1 and _is_one_product(table, images):
            return _product(self, images, table.taps[0][2])
        depthwise = self.groups == self.in_channels == self.out_channels
        if depthwise and 0 < len(table.taps) <= MAX_TAPS:
            return _depthwise(self, images, table)
        return super().forward(images)


@contextmanager
def standard_convs(model: nn.Module) -> Iterator[nn.Module]:
    """The model with torch's own convolutions, which hooks and counters know; then as before."""
    small: list[nn.Module] = [m for m in model.modules() if type(m) is SmallConv2d]
    for module in small:
        module.__class__ = nn.Conv2d
    try:
        yield model
    finally:
        for module in small:
            module.__class__ = SmallConv2d


@dataclass(frozen=True)
class TapTable:
    """The products of a convolution that do not meet padding, and the size of its output map.

    `taps` are triples (output pixel, input pixel, tap of the kernel), each counted row by row.
    `indices` (Q * P,) are the taps of all pairs of pixels, and one more than the last tap where a
    pair has none.
    """

    height: int
    width: int
    taps: tuple[Triple, ...]
    indices: Tensor


def tap_table(conv: nn.Conv2d, height: int, width: int) -> TapTable:
    """The products of a convolution on a map of this height and width."""
    rows, columns = zip(
        (height, width),
        conv.kernel_size,
        conv.stride,
        _padding(conv),
        conv.dilation,
        strict=True,
    )
    return _tap_table(rows, columns)


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
def _tap_table(rows: tuple[int, ...], columns: tuple[int, ...]) -> TapTable:
    """`rows` and `columns` are (size, kernel, stride, padding, dilation) of the two sides.

    A convolution is separable in its indices, so the table is the product of two lines.
    """
    height, width = _output_size(*rows), _output_size(*columns)
    taps = tuple(
        (q * width + r, p * columns[0] + s, j * columns[1] + k)
        for (q, p, j), (r, s, k) in itertools.product(_line(*rows), _line(*columns))
    )
    # The table stays, and a tensor from inference mode could not be used in training.
    with torch.inference_mode(mode=False):
        indices = torch.full((max(height * width, 0), rows[0] * columns[0]), rows[1] * columns[1])
        for q, p, k in taps:
            indices[q, p] = k
    return TapTable(height, width, taps, indices.flatten())


def _line(size: int, kernel: int, stride: int, padding: int, dilation: int) -> list[Triple]:
    """The products along one side of the map: (output, input, tap), without padding."""
    return [
        (q, p, k)
        for q in range(_output_size(size, kernel, stride, padding, dilation))
        for k in range(kernel)
        if 0 <= (p := q * stride + k * dilation - padding) < size
    ]


def _output_size(size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def _is_pointwise(conv: nn.Conv2d) -> bool:
    return conv.kernel_size == conv.stride == (1, 1) and _padding(conv) == (0, 0)


def _is_one_product(table: TapTable, images: Tensor) -> bool:
    """Whether a map of one pixel becomes a map of one pixel, through one tap of the kernel."""
    return images.shape[2] * images.shape[3] == table.height * table.width == len(table.taps) == 1


def _product(conv: nn.Conv2d, images: Tensor, tap: int) -> Tensor:
    """(N, I, H, W) to (N, O, H, W), through one tap of the kernel."""
    count, channels, height, width = images.shape
    # One tap of several is a copy in the backward pass, all of them are a view.
    taps = conv.weight.flatten(2)
    kernel = conv.weight.flatten(1) if taps.shape[2] == 1 else taps[:, :, tap]
    # Channels last, as the images are in memory: neither permute copies.
    pixels = images.permute(0, 2, 3, 1).reshape(-1, channels)
    outputs = functional.linear(pixels, kernel, conv.bias)
    return outputs.reshape(count, height, width, -1).permute(0, 3, 1, 2)


def _depthwise(conv: nn.Conv2d, images: Tensor, table: TapTable) -> Tensor:
    """(N, C, H, W) to (N, C, H', W')."""
    count, channels = images.shape[:2]
    pixels = images.permute(0, 2, 3, 1).reshape(count, -1, channels)
    outputs: Tensor = Depthwise.apply(pixels, conv.weight.flatten(1), table)
    if conv.bias is not None:
        outputs = outputs + conv.bias
    return outputs.reshape(count, table.height, table.width, channels).permute(0, 3, 1, 2)


class Depthwise(torch.autograd.Function):
    """Pixels (N, P, C) and a kernel (C, K) to (N, Q, C), all output pixels at a time.

    A channel is a small matrix product: `out[n, q]` is the sum of `pixels[n, p] * taps[q, p]` over
    p, where `taps` (Q, P, C) are the values of the kernel, and 0 where a tap meets only padding.
    With its own backward pass, because autograd would keep one product per input pixel.
    """

    @staticmethod
    @torch.amp.custom_fwd(device_type="cpu", cast_inputs=torch.float32)
    def forward(ctx: Any, pixels: Tensor, kernel: Tensor, table: TapTable) -> Tensor:
        rows = torch.cat([kernel.t(), kernel.new_zeros(1, kernel.shape[0])])
        taps = rows[table.indices].view(-1, pixels.shape[1], kernel.shape[0])
        ctx.save_for_backward(pixels, taps)
        ctx.indices, ctx.rows = table.indices, len(rows)
        return _sum_of_taps(pixels, taps.unbind(1))

    @staticmethod
    @torch.amp.custom_bwd(device_type="cpu")
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        pixels, taps = ctx.saved_tensors
        pixel_gradient = kernel_gradient = None
        if ctx.needs_input_grad[0]:
            # The same sum with input and output pixels exchanged.
            pixel_gradient = _sum_of_taps(gradient, taps.unbind(0))
        if ctx.needs_input_grad[1]:
            products = [(gradient * one).sum(0) for one in pixels.unsqueeze(2).unbind(1)]
            tap_gradient = torch.stack(products, 1).view(-1, pixels.shape[2])
            rows = tap_gradient.new_zeros(ctx.rows, pixels.shape[2])
            kernel_gradient = rows.index_add_(0, ctx.indices, tap_gradient)[:-1].t()
        return pixel_gradient, kernel_gradient, None


def _sum_of_taps(pixels: Tensor, taps: Sequence[Tensor]) -> Tensor:
    """(N, Q, C): the sum of `pixels[:, p] * taps[p]` over p, for taps (Q, C) of each p."""
    first, *others = pixels.unsqueeze(2).unbind(1)
    outputs = first * taps[0]
    for one, tap in zip(others, taps[1:], strict=True):
        outputs.addcmul_(one, tap)
    return outputs
