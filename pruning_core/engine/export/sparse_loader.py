"""Reads a sparse file (`sparse_file` describes the format). Needs only torch and safetensors.

    model.load_state_dict(weights("model.sparse"))

It opens no pickle and runs no code from the file. A damaged file is refused, never half loaded.
"""

import hashlib
import json
import math
import struct
import zlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load as load_blob
from torch import Tensor

MAGIC = b"PRUNELAB"
VERSION = 1
START = struct.Struct("<8sI32s")
BLOB_SIZE = struct.Struct("<Q")
BLOCK_SIZE = struct.Struct("<I")
BLOCK = 2**16
# The tensors may take this much memory, or `EXPANSION` times the bytes of the file if that is more.
MOST_BYTES, EXPANSION = 2**30, 256
MOST_HEADER, MOST_DIMENSIONS = 2**24, 64
SCALE = ".int8_scale"
Row = tuple[str, torch.dtype, tuple[int, ...], bool]  # name, dtype, shape, whether it is sparse
DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        *(torch.float64, torch.float32, torch.float16, torch.bfloat16),
        *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
    )
}


class SparseFileError(ValueError):
    """The file is damaged, cut short or of another format, or a tensor cannot be stored."""


def with_versions(
    tensors: Mapping[str, Tensor], versions: Mapping[str, int] | None
) -> dict[str, Tensor]:
    """A state dict of these tensors in which each module has its version, as torch writes it.

    `versions` are by the name of the module; modules that are not named have version 1. None adds
    no versions. Modules read the tensors of other versions in other ways, and MNASNet refuses
    tensors without a version.
    """
    state = OrderedDict(tensors)
    if versions is None:
        return state
    names = dict.fromkeys([""])
    for parts in (name.split(".") for name in tensors):
        names |= dict.fromkeys(".".join(parts[:i]) for i in range(1, len(parts)))
    metadata = {name: {"version": versions.get(name, 1)} for name in [*names, *versions]}
    state._metadata = OrderedDict(metadata)  # type: ignore[attr-defined]
    return state


def versions_of(state: Mapping[str, Tensor]) -> dict[str, int] | None:
    """The versions of the modules of a state dict, without those that are 1; None without any."""
    metadata = getattr(state, "_metadata", None)
    if metadata is None:
        return None
    versions = {name: int(entry.get("version") or 1) for name, entry in metadata.items()}
    return {name: version for name, version in versions.items() if version != 1}


def weights(path: str | Path) -> dict[str, Tensor]:
    """The state dict of a model in float32; float16 and int8 weights are converted.

    Raises `SparseFileError` for a damaged file.
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
    return with_versions(wide, versions_of(state))


def load(path: Path) -> dict[str, Tensor]:
    """The tensors of a file, contiguous and on the CPU, in the order in which they were saved.

    Raises `SparseFileError` for a damaged file.
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
        raise SparseFileError(f"has format version {version}; only version {VERSION} can be read.")
    body = memoryview(data)[START.size :]
    if hashlib.sha256(body).digest() != digest:
        raise SparseFileError("is damaged or cut short: its content does not match its digest.")
    try:
        return _tensors(body, max(MOST_BYTES, EXPANSION * len(data)))
    except (zlib.error, struct.error, safetensors.SafetensorError) as error:
        raise SparseFileError(f"does not follow the format ({_text(error)}).") from error
    except (LookupError, TypeError, ValueError, ArithmeticError, RuntimeError) as error:
        raise SparseFileError(f"has an inconsistent header ({_text(error)}).") from error


def _text(error: Exception) -> str:
    """The message of an error, which may hold any bytes of the file, in printable letters."""
    return ascii(str(error))[1:-1]


def _tensors(body: memoryview, most_bytes: int) -> dict[str, Tensor]:
    """The tensors; all sizes are checked against each other before the blob is decompressed."""
    (size,) = BLOB_SIZE.unpack_from(body)
    blocks = _blocks(body, size)
    start = b""
    while len(start) < 8 or len(start) < 8 + struct.unpack_from("<Q", start)[0] <= MOST_HEADER:
        start += next(blocks, None) or _cut_short()
    (header_bytes,) = struct.unpack_from("<Q", start)
    if header_bytes + 8 > min(size, MOST_HEADER):
        raise ValueError("the header is too long")
    header = json.loads(start[8 : 8 + header_bytes])
    rows = [
        (str(name), DTYPES[dtype], _shape(shape), form == "sparse")
        for name, dtype, shape, form in json.loads(header["__metadata__"]["tensors"])
    ]
    versions = json.loads(header["__metadata__"].get("versions", "null"))
    _check_sizes(rows, header, size - 8 - header_bytes, most_bytes)
    blob = b"".join([start, *blocks])
    if len(blob) != size:
        raise ValueError("the blocks do not make up the blob")
    parts = _parts(load_blob(blob), {dtype.itemsize for _, dtype, _, _ in rows})
    del blob
    state = {name: _tensor(parts, dtype, shape, sparse) for name, dtype, shape, sparse in rows}
    for part, values in parts.items():
        if len(values):
            raise ValueError(f"there is too much of {part}")
    return with_versions(state, _checked(versions))


def _checked(versions: Any) -> dict[str, int] | None:
    """The versions in a header. Raises `TypeError` where they are no names and whole numbers."""
    if versions is not None and not isinstance(versions, dict):
        raise TypeError("the versions have no names")
    if any(type(version) is not int for version in (versions or {}).values()):
        raise TypeError("a version is not a whole number")
    return versions


def _shape(sizes: Any) -> tuple[int, ...]:
    """The sizes of a shape, checked, so that their product is quickly computed."""
    shape = tuple(map(int, sizes))
    if len(shape) > MOST_DIMENSIONS or not all(0 <= size < 2**63 for size in shape):
        raise ValueError("a shape is not possible")
    return shape


def _cut_short() -> bytes:
    raise ValueError("the header is cut short")


def _blocks(body: memoryview, size: int) -> Iterator[bytes]:
    """The decompressed blocks of a blob of this size; all have `BLOCK` bytes but the last."""
    frames, offset = [], BLOB_SIZE.size
    while offset < len(body):
        (length,) = BLOCK_SIZE.unpack_from(body, offset)
        offset += BLOCK_SIZE.size
        frames.append((offset, offset + length))
        offset += length
    if offset != len(body) or len(frames) != -(-size // BLOCK):
        raise ValueError("the blocks do not make up the blob")
    for start, end in frames:
        unpacker = zlib.decompressobj()
        # The limit keeps a small block from expanding without bound.
        block = unpacker.decompress(body[start:end], BLOCK + 1)
        if not unpacker.eof or len(block) > BLOCK:
            raise ValueError("a block is too large or cut short")
        yield block


def _check_sizes(rows: list[Row], header: Any, content_bytes: int, most_bytes: int) -> None:
    """Check the tensors that the header lists against its sections and against `most_bytes`."""
    lengths = {
        name: math.prod(_shape(section["shape"]))
        for name, section in header.items()
        if name != "__metadata__"
    }
    total = sum(math.prod(shape) * dtype.itemsize for _, dtype, shape, _ in rows)
    if total > most_bytes:
        raise ValueError(f"its tensors would take {total:,} bytes, more than {most_bytes:,}")
    masks = sum((math.prod(shape) + 7) // 8 for _, _, shape, sparse in rows if sparse)
    if lengths.get("mask", 0) != masks or sum(lengths.values()) != content_bytes:
        raise ValueError("the sections do not have the sizes of the tensors")
    for size in {dtype.itemsize for _, dtype, _, _ in rows}:
        values = [(math.prod(s), sparse) for _, dtype, s, sparse in rows if dtype.itemsize == size]
        dense, most = sum(n for n, sparse in values if not sparse), sum(n for n, _ in values)
        if not all(dense <= lengths.get(f"{size}.{i}", 0) <= most for i in range(size)):
            raise ValueError("the sections do not have the sizes of the tensors")


def _parts(sections: dict[str, Tensor], sizes: set[int]) -> dict[str, Tensor]:
    """The masks of all tensors as bits, and for each size B of values, as "B bytes", all values.

    Values are uint8 (n, B).

    Computed once for all tensors, because a network has hundreds of small ones.
    """
    if any(section.dtype != torch.uint8 or section.ndim != 1 for section in sections.values()):
        raise ValueError("a section does not hold bytes")
    shifts = torch.arange(7, -1, -1, dtype=torch.uint8)
    masks = sections.pop("mask", torch.empty(0, dtype=torch.uint8))
    parts = {"mask": ((masks[:, None] >> shifts) & 1).bool().flatten()}
    for size in sizes:
        rotated = torch.stack([sections.pop(f"{size}.{i}") for i in range(size)], 1)
        # Undoes the rotation by one bit: each byte's lowest bit belongs to the byte below.
        parts[f"{size} bytes"] = (rotated >> 1) | (rotated.roll(-1, 1) & 1) << 7
    parts.update(sections)  # none, unless the file has sections that no tensor uses
    return parts


def _tensor(
    parts: dict[str, Tensor], dtype: torch.dtype, shape: tuple[int, ...], sparse: bool
) -> Tensor:
    """The next tensor; its values are taken from the front of the parts."""
    size, values = dtype.itemsize, math.prod(shape)
    if sparse:
        mask = _take(parts, "mask", 8 * ((values + 7) // 8))[:values]
        taken = _take(parts, f"{size} bytes", int(mask.sum()))
        stored = torch.zeros(values, size, dtype=torch.uint8).index_put_((mask,), taken)
    else:
        stored = _take(parts, f"{size} bytes", values).clone()
    return stored.reshape(-1).view(dtype).reshape(shape)


def _take(parts: dict[str, Tensor], name: str, count: int) -> Tensor:
    """The first values of a part, which is shortened."""
    taken, parts[name] = parts[name][:count], parts[name][count:]
    if len(taken) != count:
        raise ValueError(f"there is too little of {name}")
    return taken
