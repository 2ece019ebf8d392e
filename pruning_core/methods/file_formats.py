"""Files that a finished model can leave as: which there are, and the stages that make them.

A new format is one entry here, and one in `engine.artifacts.MAKERS` that writes and opens it.
"""

from __future__ import annotations

from dataclasses import dataclass

from pruning_core.methods.strategies import INT8_ONNX, INT8_SPARSE

FORMAT_OF = {INT8_SPARSE: "bitmask_int8", INT8_ONNX: "onnx_int8"}


@dataclass(frozen=True)
class Format:
    """A kind of file.

    `exact` files give the model's own answers, but for rounding; of others the accuracy tells what
    they lose. Those that are `offered` can be downloaded; others are rungs of the ladder only.
    `package` is what must be installed beside the requirements.
    """

    title: str
    suffix: str
    text: str
    exact: bool = True
    offered: bool = True
    package: str = ""
    calibrated: bool = False


FORMATS: dict[str, Format] = {
    "state_dict": Format(
        "Dense .pth",
        "pth",
        "The state_dict with every weight as 4 bytes, zeros too; what torch.save writes. Load it "
        "with torch.load(weights_only=True).",
    ),
    "deflate": Format(
        "Dense, deflate",
        "safetensors.zz",
        "Every weight, the bytes of the values sorted by place and compressed by zlib, level 9.",
        offered=False,
    ),
    "lzma": Format(
        "Dense, lzma",
        "safetensors.xz",
        "Every weight, the bytes of the values sorted by place and compressed by lzma, level 9.",
        offered=False,
    ),
    "bitmask_fp32": Format(
        "Bit mask + fp32",
        "sparse",
        "A bit for each weight, and the remaining weights as they are. The same bits come back.",
    ),
    "bitmask_fp16": Format(
        "Bit mask + fp16",
        "fp16.sparse",
        "The same with the remaining weights in half precision, batch norm folded into them.",
        exact=False,
    ),
    "bitmask_int8": Format(
        "Bit mask + int8",
        "int8.sparse",
        "The same with the remaining weights as whole numbers from -127 to 127 and a scale for "
        "each output channel, batch norm folded into them.",
        exact=False,
    ),
    "smaller": Format(
        "Smaller network",
        "smaller.safetensors",
        "The network without the channels that are zero wherever they are read, every other weight "
        "as 4 bytes. Its widths stand in the file's header; safetensors opens it.",
    ),
    "onnx": Format(
        "ONNX fp32",
        "onnx",
        "The network with its weights, dead channels taken out and batch norm folded, for ONNX "
        "Runtime and others. The number of images at a time is free.",
    ),
    "onnx_int8": Format(
        "ONNX int8",
        "int8.onnx",
        "Weights and activations in 8 bits, weights with a scale for each output channel. The "
        "ranges of the activations come from training images.",
        exact=False,
        calibrated=True,
    ),
    "torch_export": Format(
        "torch.export",
        "pt2",
        "The network with its weights as torch.export saves it; torch.export.load opens it.",
    ),
    "executorch": Format(
        "ExecuTorch",
        "pte",
        "The network for phones and small devices (XNNPACK, one image at a time). It takes the "
        "place of optimize_for_mobile, which no longer works in the torch that pip installs.",
        package="executorch",
    ),
}
