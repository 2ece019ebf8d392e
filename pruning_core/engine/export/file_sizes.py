"""Bytes of files that were really written and read back."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pruning_core.engine.export import sparse_file


def save_and_measure(model: nn.Module, path: Path) -> dict[str, int]:
    """Write the sparse file to `path` and a dense one beside it (removed again).

    Both are read back and compared bit for bit. Returns `dense_bytes` and `sparse_bytes`.
    Raises `RuntimeError` where a bit differs.
    """
    state = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
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


def _compare(wrote: dict[str, Tensor], read: dict[str, Tensor], path: Path) -> None:
    if wrote.keys() != read.keys():
        raise RuntimeError(f"{path.name} does not hold the tensors that were written.")
    for name, value in wrote.items():
        if not same_bits(value, read[name]):
            raise RuntimeError(f"{path.name} gives back other bits for {name}.")


def same_bits(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors agree in type, shape and every bit."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    return torch.equal(_bytes(a), _bytes(b))


def _bytes(value: Tensor) -> Tensor:
    return value.contiguous().reshape(-1).view(torch.uint8)
