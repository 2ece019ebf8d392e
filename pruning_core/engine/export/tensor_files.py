"""Files that hold a network's tensors and not its layout: each rung a smaller one.

Values in half precision and whole numbers are those of the network with batch norm folded (see
`folding`), in the layout of the original: what is left of each batch norm adds a bias.
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
from pruning_core.engine.export.entropy import entropy_bound
from pruning_core.engine.export.file_writer import FileWriter, FinishedModel, Run, with_weights
from pruning_core.engine.models.layers import layers

State = dict[str, Tensor]
LARGEST_HALF = 65504.0
LARGEST_INT8 = 127
LEVEL = 9


def plain_state(source: FinishedModel) -> State:
    """The model's tensors, contiguous."""
    return {name: value.detach().contiguous() for name, value in source.model.state_dict().items()}


def write_state_dict(source: FinishedModel, path: Path) -> list[str]:
    torch.save(plain_state(source), path)
    return []


def open_state_dict(source: FinishedModel, path: Path) -> Run:
    return with_weights(source, torch.load(path, map_location="cpu", weights_only=True))


def byte_shuffle(state: State) -> bytes:
    """A safetensors file in which each tensor of n values of S bytes is uint8 (S, n).

    Row i holds byte i of all values, the lowest first. The metadata entry `tensors` is a JSON
    object of name to [dtype, shape].
    """
    rows, about = {}, {}
    for name, value in state.items():
        flat = value.reshape(-1)
        rows[name] = flat.view(torch.uint8).reshape(-1, value.dtype.itemsize).T.contiguous()
        about[name] = [str(value.dtype).removeprefix("torch."), list(value.shape)]
    return save_blob(rows, {"tensors": json.dumps(about)})


def byte_unshuffle(blob: bytes) -> State:
    """The tensors of such a file."""
    size = int.from_bytes(blob[:8], "little")
    about = json.loads(json.loads(blob[8 : 8 + size])["__metadata__"]["tensors"])
    state = {}
    for name, rows in load_blob(blob).items():
        dtype, shape = about[name]
        flat = rows.T.contiguous().reshape(-1)
        state[name] = flat.view(sparse_loader.DTYPES[dtype]).reshape(shape)
    return state


def _compressed(pack: Callable[[bytes], bytes], unpack: Callable[[bytes], bytes]) -> FileWriter:
    def write(source: FinishedModel, path: Path) -> list[str]:
        path.write_bytes(pack(byte_shuffle(plain_state(source))))
        return []

    return FileWriter(
        write, lambda source, path: with_weights(source, byte_unshuffle(unpack(path.read_bytes())))
    )


def _bitmask(convert: Callable[[FinishedModel], tuple[State, list[str]]]) -> FileWriter:
    def write(source: FinishedModel, path: Path) -> list[str]:
        state, notes = convert(source)
        sparse_file.save(state, path)
        return notes

    return FileWriter(
        write, lambda source, path: with_weights(source, sparse_loader.weights(path)), entropy_bound
    )


def to_float16(source: FinishedModel) -> tuple[State, list[str]]:
    """The folded tensors in half precision, but for those with a value too large for it."""
    state = folded_state(source.model, source.example)
    floats = {name: value for name, value in state.items() if value.is_floating_point()}
    fit = {name for name, value in floats.items() if _largest(value) <= LARGEST_HALF}
    halves = {name: value.half() if name in fit else value for name, value in state.items()}
    left = sorted(floats.keys() - fit)
    notes = [f"{', '.join(left)}: too large for half precision, kept as it was."] if left else []
    return halves, notes


def to_int8(source: FinishedModel) -> tuple[State, list[str]]:
    """The same with the layers' weights as whole numbers, symmetric, so that zero stays zero."""
    state, notes = to_float16(source)
    whole = folded_state(source.model, source.example)
    for layer in layers(source.model):
        values, scales = quantize(whole[layer.name])
        state[layer.name] = values
        state[f"{layer.name}{sparse_loader.SCALE}"] = scales
    return state, [note for note in notes if not note.startswith(tuple(_names(source)))]


def quantize(weight: Tensor) -> tuple[Tensor, Tensor]:
    """A weight (O, ...) as int8 and the scale (O,) of each output channel.

    The scale is in half precision where that is exact to a thousandth, else float32. Jacob et
    al. 2018, per channel as Krishnamoorthi 2018.
    """
    wanted = weight.abs().reshape(len(weight), -1).amax(1) / LARGEST_INT8
    half = wanted.half().float()
    fits = torch.all((half - wanted).abs() <= wanted * 1e-3)
    scales = half if fits else wanted
    shaped = scales.reshape(-1, *[1] * (weight.ndim - 1))
    steps = torch.where(shaped > 0, weight / shaped, 0.0).round()
    values = steps.clamp(-LARGEST_INT8, LARGEST_INT8).to(torch.int8)
    return values, scales.half() if fits else scales


def _largest(value: Tensor) -> float:
    return float(value.abs().max()) if value.numel() else 0.0


def _names(source: FinishedModel) -> list[str]:
    return [layer.name for layer in layers(source.model)]


def _unchanged(source: FinishedModel) -> tuple[State, list[str]]:
    return plain_state(source), []


def state_dict() -> FileWriter:
    """The state_dict as torch.save writes it."""
    return FileWriter(write_state_dict, open_state_dict)


def zlib_file() -> FileWriter:
    """All tensors, byte-shuffled, compressed by zlib."""
    return _compressed(lambda data: zlib.compress(data, LEVEL), zlib.decompress)


def lzma_file() -> FileWriter:
    """All tensors, byte-shuffled, compressed by LZMA."""
    return _compressed(lambda data: lzma.compress(data, preset=LEVEL), lzma.decompress)


def bitmask_fp32() -> FileWriter:
    """A bit mask and the non-zero values in float32."""
    return _bitmask(_unchanged)


def bitmask_fp16() -> FileWriter:
    """A bit mask and the non-zero values in float16, batch norm folded."""
    return _bitmask(to_float16)


def bitmask_int8() -> FileWriter:
    """A bit mask and the non-zero values in int8, batch norm folded."""
    return _bitmask(to_int8)
