"""MNN's 1x1 convolutions as kernels for the product of a layer's weight and the pixels of an image.

A weight (R, C) becomes an MNN file with one convolution, of an image that is one pixel high.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from pruning_core.engine.export.graph_files import INPUT, OUTPUT
from pruning_core.engine.export.mnn_files import BLOCK, SPARSE, Conversion, convert, open_network
from pruning_core.engine.latency.interleaved import Call

# The newest versions that onnx writes may be too new for the converter.
OPSET, IR_VERSION = 17, 8


def dense(weights: list[Tensor], pixels: Tensor) -> list[Call]:
    """The dense convolution."""
    return _convolutions(weights, pixels, ())


def sparse_weights(weights: list[Tensor], pixels: Tensor) -> list[Call]:
    """The sparse convolution that skips single weights."""
    return _convolutions(weights, pixels, (SPARSE,))


def sparse_blocks(weights: list[Tensor], pixels: Tensor) -> list[Call]:
    """The sparse convolution that skips blocks of output channels."""
    return _convolutions(weights, pixels, (SPARSE,), BLOCK)


def _convolutions(
    weights: list[Tensor], pixels: Tensor, flags: tuple[str, ...], block: int = 1
) -> list[Call]:
    import MNN

    shape = [1, len(pixels), 1, pixels.shape[1]]
    images = MNN.expr.const(pixels.contiguous().numpy(), shape, MNN.expr.NCHW)
    calls: list[Call] = []
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{i}.onnx" for i in range(len(weights))]
        for file, weight in zip(files, weights, strict=True):
            _write_convolution(file, weight, pixels.shape[1])
        convert([Conversion(file, file.with_suffix(".mnn"), flags, block) for file in files])
        for file in files:
            network = open_network(file.with_suffix(".mnn"), threads=1)
            calls.append(partial(_product, network.onForward, images))
    return calls


def _product(forward: Callable[[list[Any]], list[Any]], images: Any) -> Any:
    (product,) = forward([images])
    return product.read()


def _write_convolution(path: Path, weight: Tensor, pixels: int) -> None:
    """Write a 1x1 convolution with this weight (R, C) as an ONNX file."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rows, columns = weight.shape
    kernel = numpy_helper.from_array(weight.reshape(rows, columns, 1, 1).numpy(), "weight")
    shapes = {INPUT: [1, columns, 1, pixels], OUTPUT: [1, rows, 1, pixels]}
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in shapes.items()]
    node = helper.make_node("Conv", [INPUT, "weight"], [OUTPUT])
    graph = helper.make_graph([node], "convolution", values[:1], values[1:], [kernel])
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
    )
    onnx.save(model, path)
