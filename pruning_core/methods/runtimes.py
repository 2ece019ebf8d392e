"""Runtimes whose latency can be measured, and kernels for sparse and dense products."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec

from pruning_core.common.errors import one_of
from pruning_core.methods.registry import Method, Registry

ENGINE = "pruning_core.engine.latency"
AS_TRAINED = 0
MAX_PIXELS = 1024


@dataclass(frozen=True)
class Backend(Method):
    """A library that runs models. The rounds of its models are interleaved.

    `package` must be installed. `max_batch` is the largest batch size; 0 means any.
    """

    package: str = ""
    max_batch: int = 0


@dataclass(frozen=True)
class Runtime(Method):
    """A backend that runs one file format; no `format` where it runs the model in memory.

    The implementation returns the `Opener` of a model. A `quantized` runtime is compared with the
    dense fp32 model, a `sparse` one, which skips zeros, also with the dense model in the fastest
    dense runtime. The deployment verdict uses the latency of the runtime with the lowest
    `priority` that was measured; 0 where it uses none.
    """

    backend: str = ""
    format: str = ""
    quantized: bool = False
    sparse: bool = False
    priority: int = 0


@dataclass(frozen=True)
class Kernel(Method):
    """A program for products of weight matrices with one input.

    The implementation takes weights (R, C) of one shape and pixels (C, P), and returns a function
    for the product (R, P) of each weight. `package` must be installed. A sparse kernel skips
    blocks of `block` consecutive rows, the output channels.
    """

    package: str = ""
    block: int = 1


BACKENDS = Registry(
    "backend",
    (
        Backend(
            "torch",
            "PyTorch",
            "Runs the model in memory.",
            url="https://pytorch.org",
            package="torch",
        ),
        Backend(
            "onnxruntime",
            "ONNX Runtime",
            "Runs ONNX files.",
            url="https://onnxruntime.ai",
            package="onnxruntime",
        ),
        Backend(
            "executorch",
            "ExecuTorch",
            "Runs ExecuTorch files.",
            url="https://docs.pytorch.org/executorch/",
            package="executorch",
            max_batch=1,
        ),
        Backend(
            "mnn",
            "MNN",
            "Runs MNN files. It has sparse kernels.",
            "Jiang et al. 2020",
            "https://arxiv.org/abs/2002.12418",
            package="MNN",
        ),
    ),
)
RUNTIMES = Registry(
    "runtime",
    (
        Runtime(
            "eager",
            "PyTorch",
            "Eager mode, channels last, with batch norm folded and without its zero channels.",
            "Paszke et al. 2019",
            "https://arxiv.org/abs/1912.01703",
            f"{ENGINE}.runtimes:eager",
            backend="torch",
            priority=3,
        ),
        Runtime(
            "onnx",
            "ONNX Runtime",
            "The ONNX fp32 file on the CPU.",
            "ONNX Runtime",
            "https://onnxruntime.ai",
            f"{ENGINE}.runtimes:onnx",
            backend="onnxruntime",
            format="onnx",
            priority=1,
        ),
        Runtime(
            "onnx_int8",
            "ONNX Runtime, int8",
            "The ONNX int8 file on the CPU.",
            "ONNX Runtime",
            "https://onnxruntime.ai",
            f"{ENGINE}.runtimes:onnx_int8",
            backend="onnxruntime",
            format="onnx_int8",
            quantized=True,
        ),
        Runtime(
            "executorch",
            "ExecuTorch",
            "The ExecuTorch file with XNNPACK, batch size 1.",
            "ExecuTorch",
            "https://docs.pytorch.org/executorch/",
            f"{ENGINE}.runtimes:executorch",
            backend="executorch",
            format="executorch",
            priority=2,
        ),
        Runtime(
            "mnn",
            "MNN",
            "The MNN file with dense weights.",
            "Jiang et al. 2020",
            "https://arxiv.org/abs/2002.12418",
            f"{ENGINE}.runtimes:mnn",
            backend="mnn",
            format="mnn",
            priority=4,
        ),
        Runtime(
            "mnn_sparse",
            "MNN, sparse",
            "The MNN file whose kernels skip zeros.",
            "Jiang et al. 2020",
            "https://arxiv.org/abs/2002.12418",
            f"{ENGINE}.runtimes:mnn_sparse",
            backend="mnn",
            format="mnn_sparse",
            sparse=True,
        ),
    ),
)
SPARSE_KERNELS = Registry(
    "sparse kernel",
    (
        Kernel(
            "torch_csr",
            "PyTorch CSR",
            "Sparse product in PyTorch; the weight is stored in compressed sparse rows.",
            "PyTorch",
            "https://docs.pytorch.org/docs/stable/sparse.html",
            f"{ENGINE}.kernels:torch_csr",
        ),
        Kernel(
            "scipy_csr",
            "SciPy CSR",
            "Sparse product in SciPy; the weight is stored in compressed sparse rows.",
            "SciPy",
            "https://docs.scipy.org/doc/scipy/reference/sparse.html",
            f"{ENGINE}.kernels:scipy_csr",
            package="scipy",
        ),
        Kernel(
            "mnn_weights",
            "MNN, single weights",
            "Sparse 1x1 convolution of MNN, which skips single weights; dense up to 60 % zeros.",
            "Jiang et al. 2020",
            "https://arxiv.org/abs/2002.12418",
            f"{ENGINE}.mnn_kernels:sparse_weights",
            package="MNN",
        ),
        Kernel(
            "mnn_blocks",
            "MNN, blocks of 4",
            "Sparse 1x1 convolution of MNN, which skips blocks of 4 output channels; dense up to "
            "30 % zeros.",
            "Jiang et al. 2020",
            "https://arxiv.org/abs/2002.12418",
            f"{ENGINE}.mnn_kernels:sparse_blocks",
            package="MNN",
            block=4,
        ),
    ),
)
DENSE_KERNELS = Registry(
    "dense kernel",
    (
        Kernel(
            "torch_mm",
            "PyTorch matrix product",
            "Dense product of weight and input matrix with torch.mm.",
            "PyTorch",
            "https://docs.pytorch.org/docs/stable/generated/torch.mm.html",
            f"{ENGINE}.kernels:torch_mm",
        ),
        Kernel(
            "torch_conv",
            "PyTorch 1x1 convolution",
            "Dense convolution with torch.nn.functional.conv2d.",
            "PyTorch",
            "https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.conv2d.html",
            f"{ENGINE}.kernels:torch_conv",
        ),
        Kernel(
            "mnn_conv",
            "MNN 1x1 convolution",
            "Dense 1x1 convolution of MNN.",
            "Jiang et al. 2020",
            "https://arxiv.org/abs/2002.12418",
            f"{ENGINE}.mnn_kernels:dense",
            package="MNN",
        ),
    ),
)


def missing_packages(names: Iterable[str] = tuple(RUNTIMES)) -> list[str]:
    """Packages that these runtimes need and that are not installed here."""
    needed = (backend.package for backend in backends(names).values())
    return [package for package in needed if not _is_installed(package)]


def installed_kernels() -> tuple[str, ...]:
    """The sparse kernels whose package is installed here."""
    return tuple(name for name, kernel in SPARSE_KERNELS.items() if _is_installed(kernel.package))


def dense_kernels(sparse: Iterable[str]) -> tuple[str, ...]:
    """The dense kernels to compare these sparse ones with: of PyTorch and of their packages."""
    packages = {"", *(SPARSE_KERNELS[name].package for name in sparse)}
    return tuple(name for name, kernel in DENSE_KERNELS.items() if kernel.package in packages)


def _is_installed(package: str) -> bool:
    return not package or find_spec(package) is not None


def dense_runtimes() -> tuple[str, ...]:
    """The runtimes that multiply all weights in float32."""
    return tuple(name for name, run in RUNTIMES.items() if not (run.quantized or run.sparse))


def backends(names: Iterable[str]) -> dict[str, Backend]:
    """The backends of some runtimes. Raises `SpecError` for an unknown runtime."""
    names = list(names)
    for name in names:
        one_of("runtimes", name, tuple(RUNTIMES))
    return {key: BACKENDS[key] for key in dict.fromkeys(RUNTIMES[name].backend for name in names)}
