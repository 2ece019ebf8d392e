"""The modes in which a model runs; each context restores the mode of every module at its end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.dropout import _DropoutNd


@contextmanager
def restored_modes(model: nn.Module) -> Iterator[nn.Module]:
    """A context in which modes may change; at its end, also after an error, they are as before."""
    # Frozen TorchScript modules have no mode.
    modes = {m: m.training for m in model.modules() if hasattr(m, "training")}
    try:
        yield model
    finally:
        for module, mode in modes.items():
            module.training = mode


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[nn.Module]:
    """A context with the model in evaluation mode; restores the mode of each module."""
    with restored_modes(model):
        yield model.eval()


@contextmanager
def training_mode(model: nn.Module) -> Iterator[nn.Module]:
    """A context with the model in training mode, without dropout; restores modes and buffers."""
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    with restored_modes(model):
        model.train()
        for module in model.modules():
            if isinstance(module, _DropoutNd):
                module.eval()
        try:
            yield model
        finally:
            with torch.no_grad():
                for buffer, value in buffers:
                    buffer.copy_(value)
