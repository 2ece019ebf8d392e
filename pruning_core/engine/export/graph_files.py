"""File formats that hold the graph of the network: ONNX, torch.export, ExecuTorch."""

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
    """Suppress warnings and output of the exporters."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


Exported = tuple[torch.export.ExportedProgram, list[str]]


def exported(
    source: FinishedModel, any_batch: bool = True, zero_constant: bool = False, block: int = 1
) -> Exported:
    """The graph of the inference model, and notes. The batch size is free, or 1.

    For `zero_constant` and `block` see `bn_folding.inference_model`.
    """
    model, notes = inference_model(source.model, source.example, zero_constant, block)
    # ONNX has no operations in place; their translation took half of the time of an export.
    for module in model.modules():
        if getattr(module, "inplace", False):
            module.inplace = False  # type: ignore[assignment]
    images = source.example[:2] if any_batch else source.example[:1]
    shapes = ({0: torch.export.Dim("batch", min=1, max=4096)},) if any_batch else None
    with quiet(), torch.no_grad():
        return torch.export.export(model, (images,), dynamic_shapes=shapes), notes


def write_onnx(
    source: FinishedModel, path: Path, zero_constant: bool = False, block: int = 1
) -> list[str]:
    """Write an ONNX file in float32 with a free batch size. Returns notes.

    For `zero_constant` and `block` see `bn_folding.inference_model`.
    """
    program, notes = exported(source, zero_constant=zero_constant, block=block)
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
    """Run an ONNX file in ONNX Runtime with the threads of the settings."""
    session = onnx_session(path, source.threads)

    def run(images: Tensor) -> Tensor:
        (scores,) = session.run(None, {INPUT: images.contiguous().numpy()})
        return torch.from_numpy(scores)

    return run


def onnx_session(path: Path, threads: int) -> Any:
    """An ONNX Runtime session on the CPU with this number of threads.

    Its threads sleep between two runs; spinning, they would take the cores from other work.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def write_torch_export(source: FinishedModel, path: Path) -> list[str]:
    """Write a torch.export program. Returns notes."""
    program, notes = exported(source)
    with quiet():
        torch.export.save(program, path)
    return notes


def open_torch_export(source: FinishedModel, path: Path) -> Run:
    """Run a torch.export program in PyTorch."""
    module: nn.Module = torch.export.load(path).module()
    return module.forward


def write_executorch(source: FinishedModel, path: Path) -> list[str]:
    """Write an ExecuTorch program for XNNPACK with batch size 1. Returns notes."""
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    graph, notes = exported(source, any_batch=False)
    with quiet():
        lowered = to_edge_transform_and_lower(graph, partitioner=[XnnpackPartitioner()])
        path.write_bytes(lowered.to_executorch().buffer)
    return notes


def open_executorch(source: FinishedModel, path: Path) -> Run:
    """Run an ExecuTorch program, one image at a time."""
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
    """A torch.export program."""
    return FileWriter(write_torch_export, open_torch_export)


def executorch() -> FileWriter:
    """An ExecuTorch program for XNNPACK."""
    return FileWriter(write_executorch, open_executorch)


def write_onnx_int8(source: FinishedModel, path: Path) -> list[str]:
    """Write an ONNX file with weights and activations in int8 (static quantization).

    Weights are symmetric with one scale for each output channel, from -64 to 64. Activations have
    8 bits and one scale for each tensor, from their range on the calibration images (Jacob et al.
    2018, https://arxiv.org/abs/1712.05877). Constant channels get zero weights before the rounding
    (see `bn_folding.fold_layer`). Returns notes.
    """
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(quantization.CalibrationDataReader):
        """Passes the calibration images to ONNX Runtime, batch by batch."""

        def __init__(self) -> None:
            self.batches = iter(source.calibration())

        def get_next(self) -> dict[str, Any] | None:
            images = next(self.batches, None)
            return None if images is None else {INPUT: images.contiguous().numpy()}

    with tempfile.TemporaryDirectory(dir=path.parent) as folder, quiet():
        float_file, prepared = Path(folder) / "float.onnx", Path(folder) / "prepared.onnx"
        notes = write_onnx(source, float_file, zero_constant=True)
        quant_pre_process(float_file, prepared, skip_symbolic_shape=True)
        quantization.quantize_static(
            prepared,
            path,
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            # Processors without VNNI add two products in 16 bits. With weights of 8 bits this
            # overflows, and the file would have other scores there.
            reduce_range=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            calibrate_method=quantization.CalibrationMethod.MinMax,
        )
    return notes


def onnx_int8() -> FileWriter:
    """An ONNX file with weights and activations in int8."""
    return FileWriter(write_onnx_int8, open_onnx)
