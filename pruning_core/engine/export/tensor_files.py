"""File formats that hold the tensors of a network and not its graph: dense and sparse.

The float16 and int8 formats hold the network with batch norm folded, under the names of the
original state dict (see `bn_folding.folded_state`), so the original architecture loads them.

Shapes: O output channels.
"""

from __future__ import annotations

import json
import lzma
import zlib
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load as load_blob
from safetensors.torch import save as save_blob
from torch import Tensor

from pruning_core.engine.export import sparse_file, sparse_loader
from pruning_core.engine.export.bn_folding import folded_state
from pruning_core.engine.export.entropy import order0_entropy
from pruning_core.engine.export.file_writer import FileWriter, FinishedModel, Run, with_weights
from pruning_core.engine.export.sparse_file import (
    contiguous_state,
    metadata,
    sorted_metadata,
    versions_of,
    with_versions,
)
from pruning_core.engine.models.layers import layers

State = dict[str, Tensor]
MAX_FLOAT16 = 65504.0
MAX_INT8 = 127
COMPRESSION_LEVEL = 9


def write_state_dict(source: FinishedModel, path: Path) -> list[str]:
    """Write the state dict with torch.save."""
    torch.save(contiguous_state(source.model), path)
    return []


def open_state_dict(source: FinishedModel, path: Path) -> Run:
    """The network with the weights of a state dict file."""
    return with_weights(source, torch.load(path, map_location="cpu", weights_only=True))


def byte_shuffle(state: State) -> bytes:
    """A safetensors file in which each tensor of n values with B bytes each is uint8 (B, n).

    Row i holds byte i of all values, the lowest first, which compresses better: the exponents of
    a layer lie side by side. The metadata entry `tensors` is a JSON object of name to [dtype,
    shape], `versions` that of a sparse file.
    """
    rows, headers = {}, {}
    for name, value in state.items():
        flat = value.reshape(-1)
        rows[name] = flat.view(torch.uint8).reshape(-1, value.dtype.itemsize).T.contiguous()
        headers[name] = [str(value.dtype).removeprefix("torch."), list(value.shape)]
    return sorted_metadata(save_blob(rows, metadata(json.dumps(headers), state)))


def byte_unshuffle(blob: bytes) -> State:
    """The tensors of a file that `byte_shuffle` wrote."""
    size = int.from_bytes(blob[:8], "little")
    entries = json.loads(blob[8 : 8 + size])["__metadata__"]
    headers, versions = json.loads(entries["tensors"]), json.loads(entries.get("versions", "null"))
    state = {}
    for name, rows in load_blob(blob).items():
        dtype, shape = headers[name]
        flat = rows.T.contiguous().reshape(-1)
        state[name] = flat.view(sparse_loader.DTYPES[dtype]).reshape(shape)
    return with_versions(state, versions)


def _compressed(pack: Callable[[bytes], bytes], unpack: Callable[[bytes], bytes]) -> FileWriter:
    """A format of all tensors, byte-shuffled and compressed."""

    def write(source: FinishedModel, path: Path) -> list[str]:
        path.write_bytes(pack(byte_shuffle(contiguous_state(source.model))))
        return []

    return FileWriter(
        write, lambda source, path: with_weights(source, byte_unshuffle(unpack(path.read_bytes())))
    )


def _bitmask(convert: Callable[[FinishedModel], tuple[State, list[str]]]) -> FileWriter:
    """A sparse format of the tensors and notes that `convert` returns."""

    def write(source: FinishedModel, path: Path) -> list[str]:
        state, notes = convert(source)
        sparse_file.save(state, path)
        return notes

    return FileWriter(
        write,
        lambda source, path: with_weights(source, sparse_loader.weights(path)),
        order0_entropy,
    )


def to_float16(source: FinishedModel) -> tuple[State, list[str]]:
    """The folded state dict in float16; tensors with values above its range stay in float32."""
    state = folded_state(source.model, source.example)
    too_large = _out_of_range(state)
    return _halved(state, too_large), _range_notes(too_large)


def to_int8(source: FinishedModel) -> tuple[State, list[str]]:
    """The folded state dict with layer weights in int8 and all other tensors in float16.

    The scale of a weight is stored under its name with the suffix `sparse_loader.SCALE`.
    """
    state = folded_state(source.model, source.example)
    weight_names = [layer.name for layer in layers(source.model)]
    too_large = [name for name in _out_of_range(state) if name not in weight_names]
    converted = _halved(state, too_large)
    for name in weight_names:
        values, scales = quantize(state[name])
        converted[name], converted[f"{name}{sparse_loader.SCALE}"] = values, scales
    return converted, _range_notes(too_large)


def _out_of_range(state: State) -> list[str]:
    """The names of the floating-point tensors with values that float16 cannot hold."""
    floats = {name: value for name, value in state.items() if value.is_floating_point()}
    # Negated, so that NaN counts as out of range.
    return sorted(n for n, value in floats.items() if not _max_magnitude(value) <= MAX_FLOAT16)


def _halved(state: State, too_large: list[str]) -> State:
    halved = {
        name: value.half() if value.is_floating_point() and name not in too_large else value
        for name, value in state.items()
    }
    return with_versions(halved, versions_of(state))


def _range_notes(too_large: list[str]) -> list[str]:
    if not too_large:
        return []
    return [f"Kept in float32, because float16 cannot hold the values: {', '.join(too_large)}."]


def quantize(weight: Tensor) -> tuple[Tensor, Tensor]:
    """A weight (O, ...) in int8 and the scale (O,) of each output channel; zeros stay zeros.

    Symmetric quantization (Jacob et al. 2018, https://arxiv.org/abs/1712.05877), per channel
    (Krishnamoorthi 2018, https://arxiv.org/abs/1806.08342). The scales are float16 where that is
    exact to a thousandth, else float32.
    """
    exact = weight.abs().reshape(len(weight), -1).amax(1) / MAX_INT8
    half = exact.half().float()
    fits = torch.all((half - exact).abs() <= exact * 1e-3)
    scales = half if fits else exact
    shaped = scales.reshape(-1, *[1] * (weight.ndim - 1))
    steps = torch.where(shaped > 0, weight / shaped, 0.0).round()
    values = steps.clamp(-MAX_INT8, MAX_INT8).to(torch.int8)
    return values, scales.half() if fits else scales


def _max_magnitude(value: Tensor) -> float:
    return float(value.abs().max()) if value.numel() else 0.0


def _unchanged(source: FinishedModel) -> tuple[State, list[str]]:
    return contiguous_state(source.model), []


def state_dict() -> FileWriter:
    """The state_dict as torch.save writes it."""
    return FileWriter(write_state_dict, open_state_dict)


def zlib_file() -> FileWriter:
    """All tensors, byte-shuffled, compressed by zlib."""
    return _compressed(lambda data: zlib.compress(data, COMPRESSION_LEVEL), zlib.decompress)


def lzma_file() -> FileWriter:
    """All tensors, byte-shuffled, compressed by LZMA."""
    return _compressed(lambda data: lzma.compress(data, preset=COMPRESSION_LEVEL), lzma.decompress)


def bitmask_fp32() -> FileWriter:
    """A bit mask and the non-zero values in float32."""
    return _bitmask(_unchanged)


def bitmask_fp16() -> FileWriter:
    """A bit mask and the non-zero values in float16, with batch norm folded."""
    return _bitmask(to_float16)


def bitmask_int8() -> FileWriter:
    """A bit mask and the non-zero values in int8, with batch norm folded."""
    return _bitmask(to_int8)
