"""Static quantization to 8 bits by ONNX Runtime (Jacob et al. 2018; Krishnamoorthi 2018)."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from pruning_core.engine.export.networks import INPUT, open_onnx, quiet, write_onnx
from pruning_core.engine.export.source import Maker, Source


def write_int8(source: Source, path: Path) -> list[str]:
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


MAKERS: dict[str, Maker] = {"onnx_int8": Maker(write_int8, open_onnx)}
