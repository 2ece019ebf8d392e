"""The device of a stage, and how a model is placed on it."""

from __future__ import annotations

import os

import torch
from torch import nn

from pruning_core.common.errors import SpecError
from pruning_core.common.machine import processor_name
from pruning_core.engine.models.fused_batch_norm import fuse_batch_norms
from pruning_core.engine.models.small_convs import use_small_convs


def available() -> list[str]:
    """The device types of this machine, the fastest first."""
    cuda = ["cuda"] if torch.cuda.is_available() else []
    mps = ["mps"] if torch.backends.mps.is_available() else []
    return [*cuda, *mps, "cpu"]


def resolve(device: str) -> str:
    """The device type; `auto` is the fastest. Raises `SpecError` for one that is missing."""
    devices = available()
    if device == "auto":
        return devices[0]
    if device not in devices:
        raise SpecError(
            "device",
            "{device} is not available; this machine has only {devices}.",
            device=device,
            devices=", ".join(devices),
        )
    return device


def resolve_with_index(device: str) -> str:
    """As `resolve`, also for a device with its number, such as `cuda:1`."""
    kind, colon, index = device.partition(":")
    if not colon or kind not in available():
        return resolve(device)
    number = torch.cuda.device_count() if kind == "cuda" else 1
    if not (index.isdecimal() and int(index) < number):
        raise SpecError(
            "device",
            "{device} is not available; this machine has {kind}:0 to {kind}:{last}.",
            device=device,
            kind=kind,
            last=number - 1,
        )
    return device


def prepare(threads: int) -> None:
    """Set the number of threads, and allow only deterministic algorithms in full float32."""
    torch.set_num_threads(threads)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    _forbid_tf32()


def _forbid_tf32() -> None:
    """Compute float32 in float32: TF32, cuDNN's default for convolutions, keeps 10 of 23 bits."""
    torch.set_float32_matmul_precision("highest")
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    # PyTorch 2.9 has a setting for each kind of operation, which the switches above leave open.
    for backend in (torch.backends.cudnn, torch.backends.mkldnn):
        for name in ("conv", "rnn", "matmul"):
            operation = getattr(backend, name, None)
            if operation is not None and hasattr(operation, "fp32_precision"):
                operation.fp32_precision = "ieee"


def processor(device: str) -> str:
    """What computes on a device, as far as it changes the bits of results.

    A GPU with its architecture, or the processor with the instructions that PyTorch uses there.
    """
    if device == "cuda":
        major, minor = torch.cuda.get_device_capability()
        return f"{torch.cuda.get_device_name()} (sm_{major}{minor})"
    if device == "mps":
        return f"{processor_name()} (GPU)"
    limits = (os.environ.get(f"{name}_MAX_CPU_ISA", "") for name in ("ONEDNN", "DNNL"))
    limit = next(filter(None, limits), "").upper()
    instructions = torch.backends.cpu.get_cpu_capability()
    return f"{processor_name()} ({instructions}{f', oneDNN up to {limit}' if limit else ''})"


def autocast(device: str, precision: str) -> torch.autocast:
    """A context in which a model computes in `fp32`, or in `bf16` where that is safe."""
    return torch.autocast(device, torch.bfloat16, enabled=precision == "bf16")


def place(model: nn.Module, device: str) -> nn.Module:
    """The model on a device, in the memory format and with the functions that are fastest."""
    moved: nn.Module = model.to(device)
    moved = moved.to(memory_format=torch.channels_last)
    return fuse_batch_norms(use_small_convs(moved, device), device)
