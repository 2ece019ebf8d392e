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
def fine_tuning_mode(model: nn.Module) -> Iterator[nn.Module]:
    """A context with the model in training mode and with gradients; restores all modes.

    A batch norm that was in evaluation mode stays in it if its parameters are frozen too.
    """
    frozen = [module for module in model.modules() if _is_frozen_norm(module)]
    with restored_modes(model), torch.inference_mode(False), torch.enable_grad():
        model.train()
        for module in frozen:
            module.eval()
        yield model


def _is_frozen_norm(module: nn.Module) -> bool:
    parameters = list(module.parameters())
    return (
        isinstance(module, nn.modules.batchnorm._NormBase)
        and not module.training
        and bool(parameters)
        and not any(parameter.requires_grad for parameter in parameters)
    )


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
