"""Reads a sparse file (the format stands in `sparse_file`). Needs only torch and safetensors.

    model.load_state_dict(weights("model.sparse"))

It opens no pickle and runs nothing from the file; what is damaged is refused, never half loaded.
"""

import hashlib
import json
import math
import struct
import zlib
from pathlib import Path

import safetensors
import torch
from safetensors.torch import load as load_blob
from torch import Tensor

MAGIC = b"PRUNELAB"
VERSION = 1
START = struct.Struct("<8sI32s")
BLOB_SIZE = struct.Struct("<Q")
PIECE_SIZE = struct.Struct("<I")
PIECE = 2**16
SCALE = ".int8_scale"
DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        *(torch.float64, torch.float32, torch.float16, torch.bfloat16),
        *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
    )
}


class SparseFileError(ValueError):
    """The file is damaged, cut short, or no sparse file; or a tensor does not fit into one."""


def weights(path: str | Path) -> dict[str, Tensor]:
    """The state dict of a model: half precision and int8 with its scales made float32.

    Raises `SparseFileError` where anything is wrong with the file.
    """
    state = load(Path(path))
    halves = (torch.float16, torch.bfloat16)
    wide = {name: t.float() if t.dtype in halves else t for name, t in state.items()}
    scales = {name: wide.pop(name) for name in list(wide) if name.endswith(SCALE)}
    try:
        for name, scale in scales.items():
            weight = wide[name.removesuffix(SCALE)]
            shaped = scale.reshape(-1, *[1] * (weight.ndim - 1))
            wide[name.removesuffix(SCALE)] = weight.float() * shaped
    except (LookupError, RuntimeError) as error:
        raise SparseFileError(f"{path} has a scale that fits no weight ({error}).") from error
    return wide


def load(path: Path) -> dict[str, Tensor]:
    """The tensors of a file, contiguous and on the CPU, in the order in which they were saved.

    Raises `SparseFileError` where anything is wrong.
    """
    try:
        return decode(path.read_bytes())
    except SparseFileError as error:
        raise SparseFileError(f"{path} {error}") from error


def decode(data: bytes) -> dict[str, Tensor]:
    """The tensors in the bytes of a file. Raises `SparseFileError`."""
    if len(data) < START.size or data[: len(MAGIC)] != MAGIC:
        raise SparseFileError("is not a sparse file of this project.")
    _, version, digest = START.unpack_from(data)
    if version != VERSION:
        raise SparseFileError(f"has format version {version}, and only {VERSION} is known.")
    body = memoryview(data)[START.size :]
    if hashlib.sha256(body).digest() != digest:
        raise SparseFileError("is damaged or cut short: its content does not match its digest.")
    try:
        return _tensors(_decompressed(body))
    except (zlib.error, struct.error, safetensors.SafetensorError) as error:
        raise SparseFileError(f"does not keep to the format ({error}).") from error
    except (LookupError, TypeError, ValueError, ArithmeticError, RuntimeError) as error:
        raise SparseFileError(f"has an inconsistent header ({error}).") from error


def _decompressed(body: memoryview) -> bytes:
    (size,) = BLOB_SIZE.unpack_from(body)
    pieces, place, total = [], BLOB_SIZE.size, 0
    while place < len(body):
        (length,) = PIECE_SIZE.unpack_from(body, place)
        place += PIECE_SIZE.size
        unpacker = zlib.decompressobj()
        pieces.append(unpacker.decompress(body[place : place + length], PIECE + 1))
        if not unpacker.eof or len(pieces[-1]) > PIECE:
            raise ValueError("a piece is larger than a piece may be, or cut short")
        place, total = place + length, total + len(pieces[-1])
    if total != size or place != len(body):
        raise ValueError("the pieces do not make up the blob")
    return b"".join(pieces)


def _tensors(blob: bytes) -> dict[str, Tensor]:
    (header_bytes,) = struct.unpack_from("<Q", blob)
    header = json.loads(blob[8 : 8 + header_bytes])
    rows = json.loads(header["__metadata__"]["tensors"])
    left = load_blob(blob)
    state = {}
    for name, dtype, shape, form in rows:
        sizes = tuple(int(size) for size in shape)
        state[str(name)] = _tensor(left, DTYPES[dtype], sizes, form == "sparse")
    for name, section in left.items():
        if len(section):
            raise ValueError(f"the section {name} holds more than the tensors need")
    return state


def _tensor(
    left: dict[str, Tensor], dtype: torch.dtype, shape: tuple[int, ...], sparse: bool
) -> Tensor:
    """The next tensor off the front of the sections."""
    size, values = dtype.itemsize, math.prod(shape)
    chosen, count = None, values
    if sparse:
        bits = _next(left, "mask", (values + 7) // 8)[:, None] >> torch.arange(7, -1, -1)
        chosen = (bits.flatten()[:values] & 1).bool()
        count = int(chosen.sum())
    turned = torch.stack([_next(left, f"{size}.{i}", count) for i in range(size)], 1)
    # Undoes the rotation by one bit: each byte's lowest bit belongs to the byte below.
    rows = (turned >> 1) | (turned.roll(-1, 1) & 1) << 7
    if chosen is not None:
        rows = torch.zeros(values, size, dtype=torch.uint8).index_put_((chosen,), rows)
    return rows.contiguous().reshape(-1).view(dtype).reshape(shape)


def _next(left: dict[str, Tensor], name: str, count: int) -> Tensor:
    part, left[name] = left[name][:count], left[name][count:]
    if len(part) != count or part.dtype != torch.uint8:
        raise ValueError(f"the section {name} is too short")
    return part
