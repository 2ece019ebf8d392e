"""Products of a weight and the pixels of one image: dense, and over the weights that are left."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import scipy.sparse
import torch
from torch import Tensor, nn
from torch.nn import functional

from pruning_core.engine.latency.interleaved import Call

Product = Callable[[Tensor, Tensor], Call]


@dataclass(frozen=True)
class ProductShape:
    """A layer as a matrix product: weight (rows, columns) times input (columns, pixels)."""

    rows: int
    columns: int
    pixels: int


def torch_mm(weight: Tensor, pixels: Tensor) -> Call:
    return lambda: weight @ pixels


def torch_conv(weight: Tensor, pixels: Tensor) -> Call:
    """The same as torch's 1x1 convolution of a map one pixel high, channels last."""
    images = pixels[None, :, None, :].contiguous(memory_format=torch.channels_last)
    kernel = weight[:, :, None, None].contiguous(memory_format=torch.channels_last)
    return lambda: functional.conv2d(images, kernel)


def torch_csr(weight: Tensor, pixels: Tensor) -> Call:
    """Compressed rows in torch; its library on x86 takes 32-bit indices without copying."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = weight.to_sparse_csr()
        crow, column = found.crow_indices().int(), found.col_indices().int()
        matrix = torch.sparse_csr_tensor(crow, column, found.values(), found.shape)
    return lambda: matrix @ pixels


def scipy_csr(weight: Tensor, pixels: Tensor) -> Call:
    matrix, right = scipy.sparse.csr_array(weight.numpy()), pixels.numpy()
    return lambda: matrix @ right


@torch.no_grad()
def product_shapes(model: nn.Module, image: Tensor) -> dict[str, ProductShape]:
    """The 1x1 convolutions and linear layers that an image (1, 3, H, W) goes through, by name."""
    names = {module: name for name, module in model.named_modules() if _is_product(module)}
    found: dict[str, ProductShape] = {}

    def seen(module: Any, inputs: object, output: Tensor) -> None:
        rows, columns = module.weight.shape[:2]
        found[names[module]] = ProductShape(rows, columns, output.numel() // rows)

    hooks = [module.register_forward_hook(seen) for module in names]
    try:
        model.eval()(image)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _is_product(module: nn.Module) -> bool:
    if isinstance(module, nn.Conv2d):
        return module.kernel_size == (1, 1) and module.groups == 1
    return isinstance(module, nn.Linear)


def randomly_pruned(weight: Tensor, sparsity: float, generator: torch.Generator) -> Tensor:
    """The weight with exactly this share of its values 0, rounded, at random places."""
    order = torch.randperm(weight.numel(), generator=generator)
    thin = weight.clone()
    thin.view(-1)[order[: round(sparsity * weight.numel())]] = 0.0
    return thin
