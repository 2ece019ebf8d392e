"""What runs a model of each kind, with a number of threads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from pruning_core.engine.export.bn_folding import inference_model
from pruning_core.engine.export.file_writer import FinishedModel, Run
from pruning_core.methods.file_formats import FILE_FORMATS


@dataclass(frozen=True)
class Opener:
    """Opens a model in a runtime: `open` the source's own, or its file where there is one.

    `layout` gives images in the order in which the runtime wants them. `use_threads` sets what
    belongs to the process and not to the model.
    """

    open: Callable[[FinishedModel, Path | None], Run]
    layout: Callable[[Tensor], Tensor]
    use_threads: Callable[[int], None] = lambda threads: None


def open_eager(source: FinishedModel, path: Path | None) -> Run:
    """torch's own layers, dead channels out, batch norm folded, channels last."""
    model, _ = inference_model(source.model, source.example)
    ready: nn.Module = model.to(memory_format=torch.channels_last).eval()
    return ready.forward


def channels_last(images: Tensor) -> Tensor:
    return images.contiguous(memory_format=torch.channels_last)


def file_opener(name: str) -> Callable[[FinishedModel, Path | None], Run]:
    """What opens the file of a format."""

    def opened(source: FinishedModel, path: Path | None) -> Run:
        assert path is not None
        run: Run = FILE_FORMATS.load(name)().open(source, path)
        return run

    return opened


def executorch_threads(threads: int) -> None:
    """Set ExecuTorch's threads, before a program is opened: all programs share them."""
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
    """ExecuTorch with its own file."""
    return Opener(file_opener("executorch"), Tensor.contiguous, executorch_threads)


def with_threads(source: FinishedModel, threads: int) -> FinishedModel:
    """The same model, to be opened with so many threads."""
    return replace(source, settings={**source.settings, "threads": threads})
