"""File formats that a finished model can be exported to."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pruning_core.methods.registry import Method, Registry

ENGINE = "pruning_core.engine.export"


@dataclass(frozen=True)
class FileFormat(Method):
    """A file format. The implementation returns the `FileWriter` that writes and opens it.

    `exact` files give the outputs of the model up to rounding; for others the accuracy is
    measured. `download` is false for formats that are only measured for comparison. `opens_in`
    names the programs that open a file, the one to try first at the beginning. `package` must be
    installed besides the requirements. `calibrated` formats need calibration images.

    A reproducibility bundle may hold a format that has an `opener`: the function of `verify.py`
    that opens the file, for which it needs the packages `needs` and these `modules` of this
    project. `has_widths` is true where the header of the file holds the widths of the network.
    """

    suffix: str = ""
    exact: bool = True
    download: bool = True
    opens_in: str = ""
    package: str = ""
    calibrated: bool = False
    opener: str = ""
    needs: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    has_widths: bool = False


WIDTHS = "pruning_core.engine.structured.widths"
SPARSE_LOADER = f"{ENGINE}.sparse_loader"
NETWORK = ("torch", "torchvision")

# The first format of a family; the others are the same but for what `replace` gives.
BITMASK = FileFormat(
    "bitmask_fp32",
    "Sparse (bitmask) fp32",
    "One bit for each weight, and the non-zero weights in float32. Lossless.",
    "Han et al. 2016",
    "https://arxiv.org/abs/1510.00149",
    f"{ENGINE}.tensor_files:bitmask_fp32",
    suffix="sparse",
    opens_in="PyTorch with sparse_loader.py",
    opener="open_weights",
    needs=(*NETWORK, "safetensors"),
    modules=(SPARSE_LOADER, WIDTHS),
)
MNN = FileFormat(
    "mnn",
    "MNN fp32",
    "The network for MNN, with dense weights. The batch size is free.",
    "Jiang et al. 2020",
    "https://arxiv.org/abs/2002.12418",
    f"{ENGINE}.mnn_files:mnn",
    suffix="mnn",
    opens_in="MNN",
    package="MNN",
    opener="open_mnn",
    needs=("MNN",),
)

FILE_FORMATS = Registry(
    "file format",
    (
        FileFormat(
            "state_dict",
            "Dense .pth",
            "The state_dict with every weight in 4 bytes, as torch.save writes it. Load it with "
            "torch.load(weights_only=True).",
            "PyTorch",
            "https://docs.pytorch.org/tutorials/beginner/saving_loading_models.html",
            f"{ENGINE}.tensor_files:state_dict",
            suffix="pth",
            opens_in="PyTorch (torch.load)",
            opener="open_weights",
            needs=NETWORK,
            modules=(WIDTHS,),
        ),
        FileFormat(
            "zlib",
            "Dense + zlib",
            "Every weight, byte-shuffled and compressed by zlib, level 9.",
            "zlib",
            "https://www.zlib.net",
            f"{ENGINE}.tensor_files:zlib_file",
            suffix="safetensors.zz",
            download=False,
        ),
        FileFormat(
            "lzma",
            "Dense + LZMA",
            "Every weight, byte-shuffled and compressed by LZMA, level 9.",
            "LZMA",
            "https://tukaani.org/xz/",
            f"{ENGINE}.tensor_files:lzma_file",
            suffix="safetensors.xz",
            download=False,
        ),
        BITMASK,
        replace(
            BITMASK,
            name="bitmask_fp16",
            title="Sparse (bitmask) fp16",
            help="One bit for each weight, and the non-zero weights in float16, with batch norm "
            "folded.",
            implementation=f"{ENGINE}.tensor_files:bitmask_fp16",
            suffix="fp16.sparse",
            exact=False,
        ),
        replace(
            BITMASK,
            name="bitmask_int8",
            title="Sparse (bitmask) int8",
            help="One bit for each weight, and the non-zero weights in int8 with one scale for "
            "each output channel, with batch norm folded.",
            paper="Jacob et al. 2018",
            url="https://arxiv.org/abs/1712.05877",
            implementation=f"{ENGINE}.tensor_files:bitmask_int8",
            suffix="int8.sparse",
            exact=False,
        ),
        FileFormat(
            "compact",
            "Compact dense (safetensors)",
            "The dense network without its zero channels. The header holds its widths; "
            "safetensors opens it.",
            "safetensors",
            "https://github.com/huggingface/safetensors",
            f"{ENGINE}.compact_file:compact",
            suffix="compact.safetensors",
            opens_in="PyTorch with safetensors",
            opener="open_weights",
            needs=(*NETWORK, "safetensors"),
            modules=(WIDTHS,),
            has_widths=True,
        ),
        FileFormat(
            "onnx",
            "ONNX fp32",
            "The network with its weights, without zero channels and with batch norm folded, for "
            "ONNX Runtime and others. The batch size is free.",
            "ONNX",
            "https://onnx.ai",
            f"{ENGINE}.graph_files:onnx",
            suffix="onnx",
            opens_in="ONNX Runtime, Netron",
            opener="open_onnx",
            needs=("onnxruntime",),
        ),
        FileFormat(
            "onnx_int8",
            "ONNX int8",
            "Static quantization: weights and activations in int8 (weights use 7 bits), with one "
            "weight scale for each output channel and activation ranges from calibration images.",
            "Jacob et al. 2018",
            "https://arxiv.org/abs/1712.05877",
            f"{ENGINE}.graph_files:onnx_int8",
            suffix="int8.onnx",
            opens_in="ONNX Runtime, Netron",
            exact=False,
            calibrated=True,
            opener="open_onnx",
            needs=("onnxruntime",),
        ),
        FileFormat(
            "torch_export",
            "torch.export",
            "The network with its weights as torch.export saves it; torch.export.load opens it.",
            "PyTorch",
            "https://docs.pytorch.org/docs/stable/export.html",
            f"{ENGINE}.graph_files:torch_export",
            suffix="pt2",
            opens_in="PyTorch (torch.export.load)",
            opener="open_torch_export",
            needs=("torch",),
        ),
        FileFormat(
            "executorch",
            "ExecuTorch",
            "The network for phones and small devices (XNNPACK, batch size 1). It replaces "
            "optimize_for_mobile, which no longer works in the torch that pip installs.",
            "ExecuTorch",
            "https://docs.pytorch.org/executorch/",
            f"{ENGINE}.graph_files:executorch",
            suffix="pte",
            opens_in="ExecuTorch (phones)",
            package="executorch",
            opener="open_executorch",
            needs=("torch", "executorch"),
        ),
        MNN,
        replace(
            MNN,
            name="mnn_sparse",
            title="MNN sparse fp32",
            help="The network for MNN, whose sparse kernels skip the zeros of layers with more "
            "than about 60 % zeros, or 30 % in blocks of 4 output channels.",
            implementation=f"{ENGINE}.mnn_files:mnn_sparse",
            suffix="sparse.mnn",
        ),
    ),
)
