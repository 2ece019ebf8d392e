"""Least squares for the remaining weights of a layer, from sums over calibration images.

He et al. 2017 ("Channel Pruning for Accelerating Very Deep Neural Networks",
https://arxiv.org/abs/1707.06168) reconstruct a layer's output with the remaining channels, from
the pruned network's inputs to the dense network's outputs. Here the remaining weights of each
output channel are solved for, as Hubara et al. 2021 (AdaPrune, https://arxiv.org/abs/2102.08124)
do by gradient descent and Frantar and Alistarh 2022 (Optimal Brain Compression,
https://arxiv.org/abs/2208.11580) together with the selection of the weights. The masks are given
and stay.

Shapes: g groups of a convolution (1 for a linear layer), o output channels and d inputs of a group
(input channels times taps of the kernel), n samples. O = g * o.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from pruning_core.engine.models.traced_layers import Layer

# Of the mean diagonal of the Gram matrix, as the dampening of GPTQ (Frantar et al. 2022,
# https://arxiv.org/abs/2210.17323).
RIDGE = 0.01
# Output positions that are drawn of an image's map; neighbors hold nearly the same information.
POSITIONS = 16


def solve_rows(
    weight: Tensor, mask: Tensor, gram: Tensor, cross: Tensor, ridge: float = RIDGE
) -> Tensor:
    """The weights (o, d) that minimize, for each row alone, a quadratic where `mask` is True.

    The quadratic is |Y - X w|^2 + n s |w - weight|^2 with `gram` = X'X / n (d, d), `cross` =
    Y'X / n (o, d) and s = ridge times the mean diagonal of `gram`. So directions that the inputs
    do not determine keep the former weight. Pruned weights are 0. All tensors are float64.
    """
    solved = torch.where(mask, weight, 0.0)
    scale = gram.diagonal().mean()
    # The right-hand side for the change of the weights: (G + s I) change = cross - weight G.
    residual = cross - solved @ gram
    # Rows with the same mask share one matrix, and one Cholesky decomposition.
    patterns, pattern_of_row = torch.unique(mask, dim=0, return_inverse=True)
    for number, pattern in enumerate(patterns):
        rows, columns = torch.where(pattern_of_row == number)[0], torch.where(pattern)[0]
        if len(columns) and scale > 0:
            matrix = gram[columns][:, columns]
            matrix.diagonal().add_(ridge * scale)
            factor = torch.linalg.cholesky(matrix)
            change = torch.cholesky_solve(residual[rows][:, columns].T, factor)
            solved[rows[:, None], columns] += change.T
    return solved


def solve_depthwise(
    weight: Tensor, mask: Tensor, gram: Tensor, cross: Tensor, ridge: float = RIDGE
) -> Tensor:
    """As `solve_rows`, for rows with a matrix each, solved as one batch: `gram` is (g, d, d).

    `weight`, `mask` and `cross` are (g, d): one row for each depthwise channel, of few weights.
    """
    solved = torch.where(mask, weight, 0.0)
    scale = gram.diagonal(dim1=1, dim2=2).mean(1, keepdim=True)
    residual = torch.where(mask, cross - (solved[:, None] @ gram)[:, 0], 0.0)
    # Pruned weights get rows and columns of the identity, so that all matrices have one size and
    # are positive definite; their change is 0.
    both = mask[:, :, None] & mask[:, None, :]
    diagonal = torch.where(mask & (scale > 0), ridge * scale, 1.0)
    matrix = torch.where(both & (scale[:, :, None] > 0), gram, 0.0) + torch.diag_embed(diagonal)
    change = torch.cholesky_solve(residual[:, :, None], torch.linalg.cholesky(matrix))[:, :, 0]
    return torch.where(mask, solved + change, 0.0)


@dataclass
class ProductSums:
    """Sums over samples of inputs x (g, d), outputs y (g, o), and their products.

    `xx` is (g, d, d), `yx` is (g, o, d). All are float64, so the sums of many batches are exact
    enough to subtract the product of the means from them.
    """

    count: int
    x: Tensor
    y: Tensor
    xx: Tensor
    yx: Tensor

    @classmethod
    def zeros(cls, groups: int, inputs: int, outputs: int) -> ProductSums:
        """The sums over no samples, for g groups, d inputs and o outputs."""
        shapes = ((inputs,), (outputs,), (inputs, inputs), (outputs, inputs))
        return cls(0, *(torch.zeros(groups, *shape, dtype=torch.float64) for shape in shapes))

    def add(self, x: Tensor, y: Tensor) -> None:
        """Add samples (g, n, d) and (g, n, o) in float64."""
        self.count += x.shape[1]
        self.x += x.sum(1)
        self.y += y.sum(1)
        self.xx += x.transpose(1, 2) @ x
        self.yx += y.transpose(1, 2) @ x

    def products(self, with_offset: bool) -> tuple[Tensor, Tensor]:
        """The mean products of inputs (g, d, d), and of outputs and inputs (g, o, d).

        A free constant, the offset, is the same as centering inputs and outputs.
        """
        xx, yx = self.xx / self.count, self.yx / self.count
        if not with_offset:
            return xx, yx
        x, y = self.x / self.count, self.y / self.count
        return xx - x[:, :, None] * x[:, None], yx - y[:, :, None] * x[:, None]

    def solve(self, module: Layer, mask: Tensor, with_offset: bool) -> tuple[Tensor, Tensor]:
        """The new weight (O, I, *K), and the constant (O,) to add to each output channel.

        Without an offset, the constant is 0 and the weights alone fit the outputs.
        """
        groups, outputs, inputs = self.yx.shape
        weight = module.weight.detach().cpu().double().reshape(groups, outputs, inputs)
        mask = mask.cpu().reshape(weight.shape)
        xx, yx = self.products(with_offset)
        x, y = self.x / self.count, self.y / self.count
        if outputs == 1:
            solved = solve_depthwise(weight[:, 0], mask[:, 0], xx, yx[:, 0])[:, None]
        else:
            parts = zip(weight, mask, xx, yx, strict=True)
            solved = torch.stack([solve_rows(*part) for part in parts])
        offset = (y - (solved @ x[:, :, None])[:, :, 0]).flatten()
        return solved.reshape(module.weight.shape), offset if with_offset else 0 * offset


def regression_samples(
    module: Layer, inputs: Tensor, output: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """What the weights are multiplied with, and what should result: (g, n, d) and (g, n, o).

    `inputs` are those of the layer in one network, `output` is that of the same layer in another,
    for the same images: maps (N, C, H, W), or (N, ..., C) of a linear layer. Of a map, or of the
    tokens, at most `POSITIONS` are drawn, the same for all images of the batch. Samples are
    float64.
    """
    if isinstance(module, nn.Linear):
        x, y = (part.reshape(len(part), -1, 1, part.shape[-1]) for part in (inputs, output))
        positions = _drawn(x.shape[1], generator).to(x.device)
        return _rows(x[:, positions]), _rows(y[:, positions])
    positions = _drawn(output.shape[2] * output.shape[3], generator).to(output.device)
    row, column = positions // output.shape[3], positions % output.shape[3]
    patches = windows(module, inputs)[:, :, row, column]  # (N, C, P, K, L)
    x = patches.movedim(2, 1).flatten(2).unflatten(2, (module.groups, -1))
    y = output[:, :, row, column].movedim(2, 1).unflatten(2, (module.groups, -1))
    return _rows(x), _rows(y)


def windows(module: nn.Conv2d, inputs: Tensor) -> Tensor:
    """A view (N, C, H', W', K, L) of the padded inputs that each output pixel is computed from.

    Overlapping windows share memory, so a large map takes no more than its own size.
    """
    mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
    padded = functional.pad(inputs, module._reversed_padding_repeated_twice, mode=mode)
    kernel, steps, gaps = module.kernel_size, module.stride, module.dilation
    sides = zip(padded.shape[2:], kernel, steps, gaps, strict=True)
    size = [(n - gap * (k - 1) - 1) // step + 1 for n, k, step, gap in sides]
    batch, channel, *pixel = padded.stride()
    strides = (batch, channel, *(s * n for s, n in zip(pixel, steps, strict=True)))
    taps = tuple(s * n for s, n in zip(pixel, gaps, strict=True))
    return padded.as_strided((*padded.shape[:2], *size, *kernel), (*strides, *taps))


def _drawn(size: int, generator: torch.Generator) -> Tensor:
    return torch.randperm(size, generator=generator)[:POSITIONS]


def _rows(values: Tensor) -> Tensor:
    """(N, P, g, d) to (g, N * P, d) in float64 on the CPU."""
    return values.flatten(0, 1).transpose(0, 1).cpu().double()
