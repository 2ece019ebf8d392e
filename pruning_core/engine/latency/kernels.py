"""Dense and sparse kernels for the product of a layer's weight and the pixels of one image.

Shapes: R rows (output channels), C columns (input channels), P pixels. A weight is (R, C), the
pixels are (C, P), and the product is (R, P).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import scipy.sparse
import torch
from torch import Tensor, nn
from torch.nn import functional

from pruning_core.engine.latency.interleaved import Call
from pruning_core.engine.models.modes import evaluation_mode


@dataclass(frozen=True)
class ProductShape:
    """A layer as a matrix product: a weight (rows, columns) times an input (columns, pixels)."""

    rows: int
    columns: int
    pixels: int


def torch_mm(weight: Tensor, pixels: Tensor) -> Call:
    """The dense matrix product of PyTorch."""
    return lambda: weight @ pixels


def torch_conv(weight: Tensor, pixels: Tensor) -> Call:
    """PyTorch's 1x1 convolution of an image that is one pixel high, channels last."""
    images = pixels[None, :, None, :].contiguous(memory_format=torch.channels_last)
    kernel = weight[:, :, None, None].contiguous(memory_format=torch.channels_last)
    return lambda: functional.conv2d(images, kernel)


def torch_csr(weight: Tensor, pixels: Tensor) -> Call:
    """The product of PyTorch with the weight in compressed sparse rows.

    Indices are 32-bit: PyTorch's library on x86 copies 64-bit indices in each call.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sparse = weight.to_sparse_csr()
        rows, columns = sparse.crow_indices().int(), sparse.col_indices().int()
        matrix = torch.sparse_csr_tensor(rows, columns, sparse.values(), sparse.shape)
    return lambda: matrix @ pixels


def scipy_csr(weight: Tensor, pixels: Tensor) -> Call:
    """The product of SciPy with the weight in compressed sparse rows."""
    matrix, dense = scipy.sparse.csr_array(weight.numpy()), pixels.numpy()
    return lambda: matrix @ dense


@torch.no_grad()
def product_shapes(model: nn.Module, image: Tensor) -> dict[str, ProductShape]:
    """The shapes of the 1x1 convolutions and linear layers for an image (1, 3, S, S), by name."""
    names = {module: name for name, module in model.named_modules() if _is_product(module)}
    shapes: dict[str, ProductShape] = {}

    def record(module: Any, inputs: object, output: Tensor) -> None:
        rows, columns = module.weight.shape[:2]
        shapes[names[module]] = ProductShape(rows, columns, output.numel() // rows)

    hooks = [module.register_forward_hook(record) for module in names]
    try:
        with evaluation_mode(model):
            model(image)
    finally:
        for hook in hooks:
            hook.remove()
    return shapes


def _is_product(module: nn.Module) -> bool:
    if isinstance(module, nn.Conv2d):
        return module.kernel_size == (1, 1) and module.groups == 1
    return isinstance(module, nn.Linear)


def randomly_pruned(weight: Tensor, sparsity: float, generator: torch.Generator) -> Tensor:
    """A copy of the weight (R, C) with this share of its values set to 0, at random positions."""
    order = torch.randperm(weight.numel(), generator=generator)
    pruned = weight.clone()
    pruned.view(-1)[order[: round(sparsity * weight.numel())]] = 0.0
    return pruned
