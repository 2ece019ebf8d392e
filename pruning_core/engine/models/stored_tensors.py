"""Tensors as checkpoints store them, and the plain dense tensors that a model needs.

A file may claim a shape that needs far more memory than the file has (sparse tensors, strides of
0), so nothing here computes with a tensor before its shape is known to be that of the model.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

# Types that torch can keep in memory but not convert.
UNCONVERTIBLE = re.compile(r"float4|bits|u?int[1-7]$")
SPARSE = {
    torch.sparse_coo: "COO",
    torch.sparse_csr: "CSR",
    torch.sparse_csc: "CSC",
    torch.sparse_bsr: "BSR",
    torch.sparse_bsc: "BSC",
}


@dataclass(frozen=True)
class StoredTensor:
    """A tensor of a file by its `name` there; with a `mask` where a tool for pruning left one.

    The weight is then their product; both have one shape. `mask_name` is the mask's name.
    """

    name: str
    value: Tensor
    mask: Tensor | None = None
    mask_name: str = ""


def shape_of(tensor: Tensor) -> tuple[int, ...] | None:
    """The shape of a tensor; None where it has none, as nested tensors."""
    return None if tensor.is_nested else tuple(tensor.shape)


def endings(name: str) -> Iterator[tuple[str, str]]:
    """A dotted name, divided at each of its dots: what stands before, and the ending."""
    yield "", name
    for match in re.finditer(r"\.", name):
        yield name[: match.start()], name[match.end() :]


def dtype_name(dtype: torch.dtype) -> str:
    """The name of a type without the module."""
    return str(dtype).removeprefix("torch.")


def problem(tensor: Tensor, needed: Tensor) -> str:
    """Why a tensor cannot become one of the type of `needed`, with the remedy; empty if it can."""
    name = dtype_name(tensor.dtype)
    if tensor.is_nested:
        return "is a nested tensor. Save it as a plain tensor."
    if tensor.is_meta:
        return "has no values (its device is meta). Load the weights before the model is saved."
    if tensor.dtype.is_complex:
        return f"holds complex numbers ({name}). Save a real tensor, such as its real part."
    if UNCONVERTIBLE.match(name):
        return f"has the type {name}, which cannot be converted. Save it as float32."
    if tensor.layout not in (torch.strided, *SPARSE):
        return f"has the layout {tensor.layout}, which cannot be converted. Save a dense tensor."
    integer = not tensor.is_floating_point() and not tensor.is_quantized
    if integer and needed.is_floating_point():
        return f"holds integers ({name}) and no scale for them. Save the weights as float32."
    return ""


def plain_tensor(tensor: Tensor) -> Tensor:
    """A tensor without `problem` as a dense one with its values, of the same shape.

    Raises `ValueError` or `RuntimeError` where the indices of a sparse tensor are wrong.
    """
    tensor = tensor.detach()
    if tensor.is_quantized:
        return tensor.dequantize()
    if tensor.layout in SPARSE:
        _check_indices(tensor)
        # Some types have no sparse arithmetic; all of them fit into float32 or float64.
        wide = tensor.dtype in (torch.float32, torch.float64)
        return (tensor if wide else tensor.to(torch.float32)).to_dense()
    return tensor


def is_mask(tensor: Tensor) -> bool:
    """Whether all values are 0 or 1, of a tensor with the shape of a weight of the model."""
    if problem(tensor, torch.zeros((), dtype=torch.int64)):
        return False
    try:
        plain = plain_tensor(tensor).to(torch.float32)
    except (RuntimeError, ValueError, NotImplementedError):
        return False
    return bool(((plain == 0) | (plain == 1)).all())


def _check_indices(tensor: Tensor) -> None:
    """Check indices against the shape: torch does not, and would write outside the memory."""
    if tensor.layout == torch.sparse_coo:
        torch._validate_sparse_coo_tensor_args(
            tensor._indices(), tensor._values(), tensor.shape, tensor.is_coalesced()
        )
        return
    by_rows = tensor.layout in (torch.sparse_csr, torch.sparse_bsr)
    compressed = tensor.crow_indices() if by_rows else tensor.ccol_indices()
    plain = tensor.col_indices() if by_rows else tensor.row_indices()
    torch._validate_sparse_compressed_tensor_args(
        compressed, plain, tensor.values(), tensor.shape, tensor.layout
    )


def conversion_notes(tensors: list[StoredTensor]) -> list[str]:
    """Notes on tensors that are not plain ones: sparse, quantized, or pruned by masks."""
    notes = []
    layouts = [x.value.layout for x in tensors if x.value.layout in SPARSE]
    for layout, name in SPARSE.items():
        if count := layouts.count(layout):
            stored = "1 tensor" if count == 1 else f"{count} tensors"
            notes.append(f"{stored} stored as sparse ({name}) became dense, with the same values.")
    if count := sum(x.value.is_quantized for x in tensors):
        stored = "1 quantized tensor was" if count == 1 else f"{count} quantized tensors were"
        scales = "its scale" if count == 1 else "their scales"
        notes.append(f"{stored} converted to float32 by {scales}.")
    if masked := [x for x in tensors if x.mask is not None]:
        tool = " of torch.nn.utils.prune" if masked[0].name.endswith("_orig") else ""
        notes.append(f"The file has masks{tool}; they were applied to its weights.")
    return notes
