"""Which device a stage runs on."""

from __future__ import annotations

import torch
from torch import nn

from pruning_core.common.errors import SpecError
from pruning_core.engine.models.small_convs import quicken


def available() -> list[str]:
    """The device types of this machine, the quickest first."""
    found = ["cuda"] if torch.cuda.is_available() else []
    found += ["mps"] if torch.backends.mps.is_available() else []
    return [*found, "cpu"]


def resolve(asked: str) -> str:
    """`auto` becomes the quickest device. Raises `SpecError` where the asked one is missing."""
    found = available()
    if asked == "auto":
        return found[0]
    if asked not in found:
        message = f"{asked} was asked for, but this machine has only {', '.join(found)}."
        raise SpecError("device", message)
    return asked


def prepare(threads: int) -> None:
    """Have torch use so many threads and only algorithms that repeat their bits."""
    torch.set_num_threads(threads)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True


def computing(device: str, precision: str) -> torch.autocast:
    """A context in which a model computes in `fp32`, or in `bf16` where that is safe."""
    return torch.autocast(device, torch.bfloat16, enabled=precision == "bf16")


def place(model: nn.Module, device: str) -> nn.Module:
    """The model on a device, laid out and computed in the way that is quickest there."""
    moved: nn.Module = model.to(device)
    return quicken(moved.to(memory_format=torch.channels_last), device)
