"""Devices and precisions of training."""

from __future__ import annotations

from pruning_core.methods.registry import Method, Registry

DEVICES = Registry(
    "device",
    (
        Method("auto", "Automatic", "A GPU if there is one, otherwise the CPU."),
        Method("cpu", "CPU", "The processor."),
        Method("cuda", "NVIDIA GPU (CUDA)", "An NVIDIA GPU."),
        Method("mps", "Apple GPU (MPS)", "The GPU of an Apple computer."),
    ),
)
PRECISIONS = Registry(
    "precision",
    (
        Method("fp32", "float32", "Full precision."),
        Method(
            "bf16",
            "bfloat16",
            "Matrix products and convolutions in bfloat16.",
            "Kalamkar et al. 2019",
            "https://arxiv.org/abs/1905.12322",
        ),
        Method(
            "auto",
            "Automatic",
            "Uses bfloat16 if it is faster in a short trial on this machine, otherwise float32.",
        ),
    ),
)
