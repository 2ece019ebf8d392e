"""Devices and precisions of training.

The implementation of a device takes its name and returns what computes on it here: the processor or
GPU, with what changes the bits of results.
"""

from __future__ import annotations

from pruning_core.methods.registry import Method, Registry

PROCESSOR = "pruning_core.engine.models.devices:processor"
AUTO, CPU, CUDA, MPS = "auto", "cpu", "cuda", "mps"
GPUS = (CUDA, MPS)
NO_GPUS = (CPU, AUTO)  # what runs where there is no GPU
BENCHMARKED = (CPU, CUDA)
DEVICES = Registry(
    "device",
    (
        Method(AUTO, "Automatic", "A GPU if there is one, otherwise the CPU."),
        Method(CPU, "CPU", "The processor.", implementation=PROCESSOR),
        Method(CUDA, "NVIDIA GPU (CUDA)", "An NVIDIA GPU.", implementation=PROCESSOR),
        Method(MPS, "Apple GPU (MPS)", "The GPU of an Apple computer.", implementation=PROCESSOR),
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
