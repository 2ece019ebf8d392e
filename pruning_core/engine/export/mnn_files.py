"""Files for MNN: a dense one, and one whose convolutions and linear layers skip zeros.

MNN (Jiang et al. 2020, https://arxiv.org/abs/2002.12418) stores a layer as sparse where enough of
its weights are zeros: above 60 % single weights, above 30 % in blocks of four output channels
(tools/converter/source/common/AddSparseInfo.cpp of https://github.com/alibaba/MNN).
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from pruning_core.common.formatting import format_count
from pruning_core.engine.export.file_writer import FileWriter, FinishedModel, Run
from pruning_core.engine.export.graph_files import INPUT, OUTPUT, write_onnx
from pruning_core.storage.stage_context import StageError

# The command `mnnconvert` of the package sends data about the machine and the model to a server,
# so the converter is called without it.
CONVERT = "import json, sys, _tools; [*map(_tools.mnnconvert, json.load(sys.stdin))]"
CONVERT_SECONDS = 600
SPARSE = "--detectSparseSpeedUp"
SPARSE_LAYER = b"NNZElement"  # an attribute of each sparse layer in the file
# MNN has kernels for single weights and for blocks of so many consecutive output channels.
BLOCK = 4
# Blocks are used where they hold at most so many values for each non-zero weight.
MAX_VALUES = 1.1


def write_mnn(source: FinishedModel, path: Path) -> list[str]:
    """Write an MNN file with dense weights in float32 and a free batch size. Returns notes."""
    return _write(source, path, ())


def write_mnn_sparse(source: FinishedModel, path: Path) -> list[str]:
    """Write an MNN file whose layers with many zeros are sparse. Returns notes."""
    block = zero_block(source.model)
    notes = _write(source, path, (SPARSE,), block)
    count = path.read_bytes().count(SPARSE_LAYER)
    if not count:
        return [*notes, "No layer has enough zeros for MNN's sparse kernels: all are dense."]
    layers, blocks = format_count(count, "layer"), f", in blocks of {block} output channels"
    return [*notes, f"MNN skips the zeros of {layers}{blocks if block > 1 else ''}."]


def _write(source: FinishedModel, path: Path, flags: tuple[str, ...], block: int = 1) -> list[str]:
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        onnx = Path(folder) / "model.onnx"
        notes = write_onnx(source, onnx, block=block)
        convert([Conversion(onnx, path, flags, block)])
    return notes


@dataclass(frozen=True)
class Conversion:
    """An ONNX file and the MNN file to make of it, with the flags of the converter.

    `block` is the number of consecutive output channels whose zeros are skipped together.
    """

    onnx: Path
    path: Path
    flags: tuple[str, ...] = ()
    block: int = 1

    def arguments(self) -> list[str]:
        """The arguments of the converter. A size of blocks is written to a file beside the ONNX."""
        files = ["--modelFile", str(self.onnx), "--MNNModel", str(self.path)]
        arguments = ["mnnconvert", "-f", "ONNX", *files, "--bizCode", "model", *self.flags]
        if self.block > 1:
            parameters = self.onnx.with_suffix(".blocks")
            parameters.write_bytes(block_parameters(self.block))
            arguments += ["--compressionParamsFile", str(parameters)]
        return arguments


def convert(conversions: Sequence[Conversion]) -> None:
    """Convert ONNX files to MNN files, in a process of its own, which may crash.

    Raises `StageError` where a file could not be converted.
    """
    command = [sys.executable, "-c", CONVERT]
    try:
        done = subprocess.run(
            command,
            input=json.dumps([conversion.arguments() for conversion in conversions]),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=CONVERT_SECONDS,
            cwd=conversions[0].path.parent,
        )
    except subprocess.TimeoutExpired as error:
        raise StageError(
            f"MNN's converter did not end within {CONVERT_SECONDS // 60} min, so it was stopped. "
            "Use another format."
        ) from error
    written = all(one.path.is_file() and one.path.stat().st_size for one in conversions)
    if done.returncode or not written:
        lines = done.stdout.strip().splitlines()
        reason = f": {lines[-1]}" if lines else ""
        crashed = f"crashed with signal {-done.returncode}" if done.returncode < 0 else "failed"
        raise StageError(f"MNN's converter {crashed}{reason}. Use another format.")


def block_parameters(block: int) -> bytes:
    """The file that declares blocks of output channels to the converter (MNN_compression.proto).

    A message of protocol buffers: version "0.0.0", one algorithm of type PRUNE, whose parameters
    have the type SIMD_OC and these `oc_blocks`.
    """
    blocks = bytes([4 << 3, block])
    pruning = bytes([1 << 3, 1]) + _message(3, blocks)
    algorithm = bytes([1 << 3, 1]) + _message(3, pruning)
    return _message(1, b"0.0.0") + _message(2, algorithm)


def _message(field: int, content: bytes) -> bytes:
    return bytes([field << 3 | 2, len(content)]) + content


def zero_block(model: nn.Module) -> int:
    """4 where the zeros of the model lie in blocks of 4 output channels, else 1.

    A file has one size of blocks. A layer whose outputs do not divide by 4 ends with a smaller
    block. Zero channels are removed in whole blocks later.
    """
    nonzero = values = 0
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            weight = module.weight.detach().flatten(1) != 0
            padded = functional.pad(weight, (0, 0, 0, -len(weight) % BLOCK))
            blocks = padded.unflatten(0, (-1, BLOCK)).any(dim=1)
            nonzero += int(weight.sum())
            values += BLOCK * int(blocks.sum())
    return BLOCK if values <= MAX_VALUES * nonzero else 1


def open_mnn(source: FinishedModel, path: Path) -> Run:
    """Run an MNN file in float32 with the threads of the settings."""
    import MNN

    network = open_network(path, source.threads)

    def run(images: Tensor) -> Tensor:
        pixels = MNN.expr.const(images.contiguous().numpy(), list(images.shape), MNN.expr.NCHW)
        (scores,) = network.onForward([pixels])
        # The memory belongs to the network, which uses it again.
        values = MNN.expr.convert(scores, MNN.expr.NCHW).read()
        return torch.tensor(values).reshape(len(images), -1)

    return run


def open_network(path: Path, threads: int) -> Any:
    """The network of an MNN file on the CPU in float32, with this number of threads."""
    import MNN

    settings = {"backend": "CPU", "numThread": threads, "precision": "high"}
    runtime = MNN.nn.create_runtime_manager((settings,))
    return MNN.nn.load_module_from_file(str(path), [INPUT], [OUTPUT], runtime_manager=runtime)


def mnn() -> FileWriter:
    """An MNN file with dense weights."""
    return FileWriter(write_mnn, open_mnn)


def mnn_sparse() -> FileWriter:
    """An MNN file whose layers with many zeros are sparse."""
    return FileWriter(write_mnn_sparse, open_mnn)
