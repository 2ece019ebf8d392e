"""Dense and sparse kernels for the product of a layer's weight and the pixels of one image.

Shapes: R rows (output channels), C columns (input channels), P pixels. A weight is (R, C), the
pixels are (C, P), and the product is (R, P).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import partial
from operator import matmul
from typing import Any

import scipy.sparse
import torch
from torch import Tensor, nn
from torch.nn import functional

from pruning_core.engine.latency.interleaved import Call
from pruning_core.engine.models.modes import evaluation_mode, temporary_hooks


@dataclass(frozen=True)
class ProductShape:
    """A layer as a matrix product: a weight (rows, columns) times an input (columns, pixels)."""

    rows: int
    columns: int
    pixels: int


def torch_mm(weights: list[Tensor], pixels: Tensor) -> list[Call]:
    """The dense matrix product of PyTorch."""
    return [partial(torch.mm, weight, pixels) for weight in weights]


def torch_conv(weights: list[Tensor], pixels: Tensor) -> list[Call]:
    """PyTorch's 1x1 convolution of an image that is one pixel high, channels last."""
    images = pixels[None, :, None, :].contiguous(memory_format=torch.channels_last)
    kernels = (weight[:, :, None, None] for weight in weights)
    return [
        partial(functional.conv2d, images, kernel.contiguous(memory_format=torch.channels_last))
        for kernel in kernels
    ]


def torch_csr(weights: list[Tensor], pixels: Tensor) -> list[Call]:
    """The product of PyTorch with the weight in compressed sparse rows.

    Indices are 32-bit: PyTorch's library on x86 copies 64-bit indices in each call.
    """
    calls: list[Call] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for sparse in (weight.to_sparse_csr() for weight in weights):
            rows, columns = sparse.crow_indices().int(), sparse.col_indices().int()
            matrix = torch.sparse_csr_tensor(rows, columns, sparse.values(), sparse.shape)
            calls.append(partial(torch.matmul, matrix, pixels))
    return calls


def scipy_csr(weights: list[Tensor], pixels: Tensor) -> list[Call]:
    """The product of SciPy with the weight in compressed sparse rows."""
    matrices = (scipy.sparse.csr_array(weight.numpy()) for weight in weights)
    return [partial(matmul, matrix, pixels.numpy()) for matrix in matrices]


@torch.no_grad()
def product_shapes(model: nn.Module, image: Tensor) -> dict[str, ProductShape]:
    """The shapes of the 1x1 convolutions and linear layers for an image (1, 3, S, S), by name."""
    names = {module: name for name, module in model.named_modules() if _is_product(module)}
    shapes: dict[str, ProductShape] = {}

    def record(module: Any, inputs: object, output: Tensor) -> None:
        rows, columns = module.weight.shape[:2]
        shapes[names[module]] = ProductShape(rows, columns, output.numel() // rows)

    hooks = [module.register_forward_hook(record) for module in names]
    with temporary_hooks(hooks), evaluation_mode(model):
        model(image)
    return shapes


def _is_product(module: nn.Module) -> bool:
    if isinstance(module, nn.Conv2d):
        return module.kernel_size == (1, 1) and module.groups == 1
    return isinstance(module, nn.Linear)


def randomly_pruned(
    weight: Tensor, sparsity: float, generator: torch.Generator, block: int = 1
) -> Tensor:
    """A copy of the weight (R, C) with this share of its blocks set to 0, at random positions.

    A block is `block` consecutive rows of one column; the last block of a column may be smaller.
    """
    blocks = -(-len(weight) // block) * weight.shape[1]
    order = torch.randperm(blocks, generator=generator)
    kept = torch.ones(blocks)
    kept[order[: round(sparsity * blocks)]] = 0.0
    mask = kept.reshape(-1, weight.shape[1]).repeat_interleave(block, 0)
    return weight * mask[: len(weight)]
