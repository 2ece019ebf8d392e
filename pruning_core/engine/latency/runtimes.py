"""Runtimes: how each opens a model, and how its number of threads is set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from pruning_core.engine.export.bn_folding import inference_model
from pruning_core.engine.export.file_writer import FinishedModel, Run
from pruning_core.methods.file_formats import FILE_FORMATS
from pruning_core.methods.runtimes import RUNTIMES


@dataclass(frozen=True)
class Opener:
    """Opens a model in a runtime: `open` takes the model and its file, if the runtime needs one.

    `layout` returns images (N, 3, S, S) in the memory layout of the runtime. `use_threads` sets
    the threads that all models of the process share.
    """

    open: Callable[[FinishedModel, Path | None], Run]
    layout: Callable[[Tensor], Tensor]
    use_threads: Callable[[int], None] = lambda threads: None


def opener_of(runtime: str) -> Opener:
    """The opener of a runtime."""
    opener: Opener = RUNTIMES.load(runtime)()
    return opener


def open_eager(source: FinishedModel, path: Path | None) -> Run:
    """PyTorch in eager mode: without zero channels, batch norm folded, channels last."""
    model, _ = inference_model(source.model, source.example)
    ready: nn.Module = model.to(memory_format=torch.channels_last).eval()
    return ready.forward


def channels_last(images: Tensor) -> Tensor:
    """Images (N, 3, S, S) in channels_last memory."""
    return images.contiguous(memory_format=torch.channels_last)


def file_opener(name: str) -> Callable[[FinishedModel, Path | None], Run]:
    """The function that opens a file of a format."""

    def open_file(source: FinishedModel, path: Path | None) -> Run:
        assert path is not None
        run: Run = FILE_FORMATS.load(name)().open(source, path)
        return run

    return open_file


def executorch_threads(threads: int) -> None:
    """Set the threads that all ExecuTorch programs share. Call it before a program is opened."""
    from executorch.extension.pybindings import portable_lib

    portable_lib._unsafe_reset_threadpool(threads)


def eager() -> Opener:
    """PyTorch in eager mode."""
    return Opener(open_eager, channels_last)


def onnx() -> Opener:
    """ONNX Runtime with a float32 file."""
    return Opener(file_opener("onnx"), Tensor.contiguous)


def onnx_int8() -> Opener:
    """ONNX Runtime with an int8 file."""
    return Opener(file_opener("onnx_int8"), Tensor.contiguous)


def executorch() -> Opener:
    """ExecuTorch with its file."""
    return Opener(file_opener("executorch"), Tensor.contiguous, executorch_threads)


def mnn() -> Opener:
    """MNN with a file of dense weights."""
    return Opener(file_opener("mnn"), Tensor.contiguous)


def mnn_sparse() -> Opener:
    """MNN with a file of sparse weights."""
    return Opener(file_opener("mnn_sparse"), Tensor.contiguous)


def with_threads(source: FinishedModel, threads: int) -> FinishedModel:
    """The same model, to be opened with this number of threads."""
    return replace(source, threads=threads)
