"""The device of a stage, and how a model is placed on it."""

from __future__ import annotations

import torch
from torch import nn

from pruning_core.common.errors import SpecError
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


def prepare(threads: int) -> None:
    """Set the number of threads, and allow only deterministic algorithms."""
    torch.set_num_threads(threads)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True


def autocast(device: str, precision: str) -> torch.autocast:
    """A context in which a model computes in `fp32`, or in `bf16` where that is safe."""
    return torch.autocast(device, torch.bfloat16, enabled=precision == "bf16")


def place(model: nn.Module, device: str) -> nn.Module:
    """The model on a device, in the memory format and with the convolutions that are fastest."""
    moved: nn.Module = model.to(device)
    return use_small_convs(moved.to(memory_format=torch.channels_last), device)
