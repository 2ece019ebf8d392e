"""Files that hold the graph of the network, for other runtimes: ONNX, torch.export, ExecuTorch."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pruning_core.engine.export.bn_folding import inference_model
from pruning_core.engine.export.file_writer import FileWriter, FinishedModel, Run

INPUT, OUTPUT = "images", "scores"


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """What exporters tell of their inner works stays out of a stage's log."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


Exported = tuple[torch.export.ExportedProgram, list[str]]


def exported(source: FinishedModel, several: bool = True, settle: bool = False) -> Exported:
    """The lightened network as a graph, and notes; the number of images free or 1."""
    model, notes = inference_model(source.model, source.example, settle)
    images = source.example[:2] if several else source.example[:1]
    free = ({0: torch.export.Dim("batch", min=1, max=4096)},) if several else None
    with quiet(), torch.no_grad():
        return torch.export.export(model, (images,), dynamic_shapes=free), notes


def write_onnx(source: FinishedModel, path: Path, settle: bool = False) -> list[str]:
    program, notes = exported(source, settle=settle)
    with quiet(), torch.no_grad():
        torch.onnx.export(
            program,
            (),
            path,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    return notes


def open_onnx(source: FinishedModel, path: Path) -> Run:
    session = onnx_session(path, source.settings["threads"])

    def run(images: Tensor) -> Tensor:
        (scores,) = session.run(None, {INPUT: images.contiguous().numpy()})
        return torch.from_numpy(scores)

    return run


def onnx_session(path: Path, threads: int) -> Any:
    """An ONNX Runtime session on the CPU with so many threads.

    Between two runs its threads sleep: they would take the cores from whatever comes next.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def write_torch_export(source: FinishedModel, path: Path) -> list[str]:
    program, notes = exported(source)
    with quiet():
        torch.export.save(program, path)
    return notes


def open_torch_export(source: FinishedModel, path: Path) -> Run:
    module: nn.Module = torch.export.load(path).module()
    return module.forward


def write_executorch(source: FinishedModel, path: Path) -> list[str]:
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    graph, notes = exported(source, several=False)
    with quiet():
        lowered = to_edge_transform_and_lower(graph, partitioner=[XnnpackPartitioner()])
        path.write_bytes(lowered.to_executorch().buffer)
    return notes


def open_executorch(source: FinishedModel, path: Path) -> Run:
    from executorch.runtime import Runtime

    method = Runtime.get().load_program(path).load_method("forward")

    def run(images: Tensor) -> Tensor:
        return torch.cat(
            [method.execute([image[None].contiguous()])[0].clone() for image in images]
        )

    return run


def onnx() -> FileWriter:
    """An ONNX file in float32."""
    return FileWriter(write_onnx, open_onnx)


def torch_export() -> FileWriter:
    """A program of torch.export."""
    return FileWriter(write_torch_export, open_torch_export)


def executorch() -> FileWriter:
    """An ExecuTorch program with XNNPACK."""
    return FileWriter(write_executorch, open_executorch)


def write_int8(source: FinishedModel, path: Path) -> list[str]:
    """Weights symmetric with a scale for each output channel, activations with one each.

    The ranges of the activations are those met on the calibration images. Channels that were
    constant are settled before: rounded, their weights and their mean would not cancel out.
    """
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(quantization.CalibrationDataReader):
        """Gives the calibration images to ONNX Runtime, batch by batch."""

        def __init__(self) -> None:
            self.batches = iter(source.calibration())

        def get_next(self) -> dict[str, Any] | None:
            images = next(self.batches, None)
            return None if images is None else {INPUT: images.contiguous().numpy()}

    with tempfile.TemporaryDirectory(dir=path.parent) as folder, quiet():
        plain, ready = Path(folder) / "plain.onnx", Path(folder) / "ready.onnx"
        notes = write_onnx(source, plain, settle=True)
        quant_pre_process(plain, ready, skip_symbolic_shape=True)
        quantization.quantize_static(
            ready,
            path,
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            calibrate_method=quantization.CalibrationMethod.MinMax,
        )
    return notes


def onnx_int8() -> FileWriter:
    """An ONNX file with weights and activations in int8."""
    return FileWriter(write_int8, open_onnx)
