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
    dense fp32 model. The deployment verdict uses the latency of the runtime with the lowest
    `priority` that was measured; 0 where it uses none.
    """

    backend: str = ""
    format: str = ""
    quantized: bool = False
    priority: int = 0


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
    ),
)
SPARSE_KERNELS = Registry(
    "sparse kernel",
    (
        Method(
            "torch_csr",
            "PyTorch CSR",
            "Sparse product in PyTorch; the weight is stored in compressed sparse rows.",
            "PyTorch",
            "https://docs.pytorch.org/docs/stable/sparse.html",
            f"{ENGINE}.kernels:torch_csr",
        ),
        Method(
            "scipy_csr",
            "SciPy CSR",
            "Sparse product in SciPy; the weight is stored in compressed sparse rows.",
            "SciPy",
            "https://docs.scipy.org/doc/scipy/reference/sparse.html",
            f"{ENGINE}.kernels:scipy_csr",
        ),
    ),
)
DENSE_KERNELS = Registry(
    "dense kernel",
    (
        Method(
            "torch_mm",
            "PyTorch matrix product",
            "Dense product of weight and input matrix with torch.mm.",
            "PyTorch",
            "https://docs.pytorch.org/docs/stable/generated/torch.mm.html",
            f"{ENGINE}.kernels:torch_mm",
        ),
        Method(
            "torch_conv",
            "PyTorch 1x1 convolution",
            "Dense convolution with torch.nn.functional.conv2d.",
            "PyTorch",
            "https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.conv2d.html",
            f"{ENGINE}.kernels:torch_conv",
        ),
    ),
)


def missing_packages(names: Iterable[str] = tuple(RUNTIMES)) -> list[str]:
    """Packages that these runtimes need and that are not installed here."""
    needed = (backend.package for backend in backends(names).values())
    return [package for package in needed if find_spec(package) is None]


def backends(names: Iterable[str]) -> dict[str, Backend]:
    """The backends of some runtimes. Raises `SpecError` for an unknown runtime."""
    names = list(names)
    for name in names:
        one_of("runtimes", name, tuple(RUNTIMES))
    return {key: BACKENDS[key] for key in dict.fromkeys(RUNTIMES[name].backend for name in names)}
