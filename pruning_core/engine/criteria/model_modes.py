"""The state in which a model is looked at, and afterwards as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.dropout import _DropoutNd


@contextmanager
def at_rest(model: nn.Module) -> Iterator[nn.Module]:
    """The model without dropout and with batch norm's own statistics, which stay as they are."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield model
    finally:
        for module, mode in modes.items():
            module.training = mode


@contextmanager
def in_training(model: nn.Module) -> Iterator[nn.Module]:
    """The model as a training step sees it, with each batch's own statistics, but no dropout."""
    before = [(buffer, buffer.clone()) for buffer in model.buffers()]
    with at_rest(model):
        model.train()
        for module in model.modules():
            if isinstance(module, _DropoutNd):
                module.eval()
        try:
            yield model
        finally:
            with torch.no_grad():
                for buffer, value in before:
                    buffer.copy_(value)
