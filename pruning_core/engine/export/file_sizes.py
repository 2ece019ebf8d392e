"""Sizes of a model's dense and sparse file, written to disk and read back."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pruning_core.engine.export import sparse_file


def save_and_measure(model: nn.Module, path: Path) -> dict[str, int]:
    """Write the sparse file to `path`, and a dense safetensors file that is deleted afterwards.

    Both are read back and compared bit for bit. Returns `dense_bytes` and `sparse_bytes`.
    Raises `RuntimeError` where a bit differs.
    """
    state = sparse_file.contiguous_state(model)
    dense = path.with_suffix(".dense")
    try:
        save_file({name: value.clone() for name, value in state.items()}, dense)
        dense_bytes = dense.stat().st_size
        _compare(state, load_file(dense), dense)
    finally:
        dense.unlink(missing_ok=True)
    sparse_bytes = sparse_file.save(state, path)
    _compare(state, sparse_file.load(path), path)
    return {"dense_bytes": dense_bytes, "sparse_bytes": sparse_bytes}


def _compare(written: dict[str, Tensor], read: dict[str, Tensor], path: Path) -> None:
    if written.keys() != read.keys():
        raise RuntimeError(f"{path.name} does not hold the tensors that were written.")
    for name, value in written.items():
        if not same_bits(value, read[name]):
            raise RuntimeError(f"{path.name} returns other bits for {name} than were written.")


def same_bits(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors have the same type, shape and bits; -0.0 and 0.0 differ."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    return torch.equal(_bytes(a), _bytes(b))


def _bytes(value: Tensor) -> Tensor:
    return value.contiguous().reshape(-1).view(torch.uint8)
