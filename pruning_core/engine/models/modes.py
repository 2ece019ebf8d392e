"""Modes and hooks of a model for a time; each context restores the model at its end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import nn
from torch.nn.modules.dropout import _DropoutNd
from torch.utils.hooks import RemovableHandle


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
def temporary_hooks(hooks: Iterable[RemovableHandle]) -> Iterator[None]:
    """A context with these hooks of modules; removes them afterwards, also after an error."""
    with ExitStack() as stack:
        for hook in hooks:
            stack.enter_context(hook)
        yield


@contextmanager
def restored_hooks(model: nn.Module) -> Iterator[None]:
    """A context at whose end the forward hooks of all modules are as before, also after an error.

    For the code of others that registers hooks and does not remove them after an error.
    """
    before = {module: set(module._forward_hooks) for module in model.modules()}
    try:
        yield
    finally:
        for module, known in before.items():
            for key in module._forward_hooks.keys() - known:
                del module._forward_hooks[key]


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
