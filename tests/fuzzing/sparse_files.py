"""Sparse files: changed bytes, and changed headers and blocks under a digest that matches them."""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import torch
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn
from torch import Tensor

from pruning_core.engine.export import sparse_file
from pruning_core.engine.export.sparse_loader import (
    BLOB_SIZE,
    BLOCK,
    BLOCK_SIZE,
    MAGIC,
    START,
    VERSION,
    SparseFileError,
    decode,
)
from tests.fuzzing.kinds import InputKind, edited, edits

NUMBERS = st.integers(-2, 9) | st.sampled_from((2**31, 2**40, 2**63, 10**30, -(2**63)))
ODD = NUMBERS | st.none() | st.text(max_size=5) | st.floats() | st.lists(NUMBERS, max_size=3)


def _state() -> dict[str, Tensor]:
    torch.manual_seed(0)
    weight = torch.randn(4, 3, 3)
    weight[weight.abs() < 0.8] = 0
    tensors = {"weight": weight, "bias": torch.randn(4).half(), "steps": torch.tensor(7)}
    return {**tensors, "empty": torch.zeros(0, 3), "on": torch.tensor([True, False])}


def _blob(data: bytes) -> bytes:
    """The uncompressed content of a sparse file of one block."""
    start = START.size + BLOB_SIZE.size + BLOCK_SIZE.size
    return zlib.decompress(data[start:])


def _sealed(blob: bytes, size: int, repeats: int) -> bytes:
    """A sparse file of the content, with a digest that matches whatever it says."""
    blocks = [zlib.compress(blob[i : i + BLOCK]) for i in range(0, max(len(blob), 1), BLOCK)]
    body = BLOB_SIZE.pack(size % 2**64) + b"".join(
        BLOCK_SIZE.pack(len(block)) + block for block in blocks * repeats
    )
    return START.pack(MAGIC, VERSION, hashlib.sha256(body).digest()) + body


@st.composite
def sparse_files(draw: DrawFn) -> bytes:
    """The bytes of a sparse file."""
    original = sparse_file.encode(_state())
    if draw(st.booleans()):
        return edited(original, draw(edits()))
    blob = _blob(original)
    (length,) = struct.unpack_from("<Q", blob)
    header, sections = json.loads(blob[8 : 8 + length]), blob[8 + length :]
    rows = json.loads(header["__metadata__"]["tensors"])
    for _ in range(draw(st.integers(0, 2))):
        row = draw(st.sampled_from(rows))
        place = draw(st.integers(0, 3))
        if place == 2 and isinstance(row[2], list) and row[2]:
            row[2][0] = draw(ODD)
        else:
            row[place] = draw(ODD)
    header["__metadata__"]["tensors"] = json.dumps(rows)
    if draw(st.booleans()):
        name = draw(st.sampled_from([name for name in header if name != "__metadata__"]))
        value: Any = draw(st.sampled_from(("dtype", "shape", "data_offsets")))
        header[name][value] = draw(ODD)
    text = edited(json.dumps(header).encode(), draw(edits(1)))
    changed = struct.pack("<Q", len(text)) + text + edited(sections, draw(edits(1)))
    size = draw(st.just(len(changed)) | NUMBERS)
    return _sealed(changed, size, draw(st.sampled_from((1, 1, 1, 2, 500))))


def attempt(content: bytes, folder: Path) -> str | None:
    """Read the file. What is accepted is written and read again with the same values."""
    try:
        state = decode(content)
    except SparseFileError as error:
        return f"The file {error}"
    again = decode(sparse_file.encode(state))
    assert list(again) == list(state)
    assert all(_bits(again[name]) == _bits(tensor) for name, tensor in state.items())
    return None


def _bits(tensor: Tensor) -> tuple[object, ...]:
    """Type, shape and bytes; 0.0 for -0.0, and one value for all NaN."""
    plain = torch.nan_to_num(tensor + 0, nan=77.0) if tensor.is_floating_point() else tensor
    return tensor.dtype, tensor.shape, plain.reshape(-1).view(torch.uint8).numpy().tobytes()


SPARSE_FILES = InputKind("sparse files", sparse_files(), attempt, share=0.2)
