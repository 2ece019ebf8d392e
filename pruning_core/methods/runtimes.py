"""Runtimes whose latency can be measured, and kernels for sparse and dense products."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec

from pruning_core.common.errors import one_of

AS_TRAINED = 0


MOST_PIXELS = 1024
# A new product is one entry here, and one in `engine.speed.products.SPARSE` or `DENSE`.
SPARSE_KERNELS = {"torch_csr": "torch, CSR", "scipy_csr": "SciPy, CSR"}
DENSE_KERNELS = {
    "torch_mm": "torch, matrix product",
    "torch_conv": "torch, 1x1 convolution",
}


@dataclass(frozen=True)
class Family:
    """A program that runs models. Its models are timed in turn with each other.

    `package` is what has to be installed; `most_images` the most that it takes at a time, 0
    where any number will do.
    """

    title: str
    package: str
    most_images: int = 0


@dataclass(frozen=True)
class Runtime:
    """A family running one kind of file; no `format` where it runs what is in memory."""

    title: str
    family: str
    format: str = ""


FAMILIES: dict[str, Family] = {
    "torch": Family("PyTorch", "torch"),
    "onnxruntime": Family("ONNX Runtime", "onnxruntime"),
    "executorch": Family("ExecuTorch", "executorch", most_images=1),
}


RUNTIMES: dict[str, Runtime] = {
    "eager": Runtime("PyTorch, batch norm folded", "torch"),
    "onnx": Runtime("ONNX Runtime", "onnxruntime", "onnx"),
    "onnx_int8": Runtime("ONNX Runtime, int8", "onnxruntime", "onnx_int8"),
    "executorch": Runtime("ExecuTorch", "executorch", "executorch"),
}


def missing_packages(names: Iterable[str] = tuple(RUNTIMES)) -> list[str]:
    """Packages that these runtimes need and that are not installed here."""
    needed = (family.package for family in families(names).values())
    return [package for package in needed if find_spec(package) is None]


def families(names: Iterable[str]) -> dict[str, Family]:
    """The families of some runtimes. Raises `SpecError` for a runtime that there is not."""
    names = list(names)
    for name in names:
        one_of("runtimes", name, tuple(RUNTIMES))
    return {key: FAMILIES[key] for key in dict.fromkeys(RUNTIMES[name].family for name in names)}
