"""Multiply-accumulates of a model for one image, as torch counts them, groups respected."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.utils.flop_counter import FlopCounterMode

from pruning_core.engine.models.small_convs import plain

Product = _ConvNd | nn.Linear
Hook = Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]


def macs(model: nn.Module, image_size: int) -> int:
    """Multiply-accumulates for one image (1, 3, image_size, image_size) in evaluation mode.

    Counted are the products of convolutions, linear layers and attention, as
    `torch.utils.flop_counter` counts them (it calls a multiply-accumulate two operations):
    biases, normalization and activations are not. The model keeps its mode.
    """
    with _looking(model), plain(model), FlopCounterMode(display=False) as counter:
        model(_image(model, image_size))
    return int(counter.get_total_flops()) // 2


def positions(model: nn.Module, image_size: int) -> dict[str, int]:
    """At how many places of one image each weight is used: its multiply-accumulates over its size.

    By parameter name. A convolution's weight is used at each pixel of its output, a linear
    layer's for each token, those of attention for each token too.
    """
    found: dict[str, int] = {}
    hooks = [
        module.register_forward_hook(_counted(name, found))
        for name, module in model.named_modules()
        if isinstance(module, Product | nn.MultiheadAttention)
    ]
    try:
        with _looking(model), plain(model):
            model(_image(model, image_size))
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _counted(name: str, found: dict[str, int]) -> Hook:
    """A hook that adds up the places at which a module uses its weights."""

    def add(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(module, nn.MultiheadAttention):
            tokens = inputs[0].shape[1] if module.batch_first else inputs[0].shape[0]
            found[f"{name}.in_proj_weight"] = found[f"{name}.out_proj.weight"] = tokens
            return
        channels = 1 if isinstance(module, _ConvNd) else -1
        places = output.numel() // output.shape[channels]
        found[f"{name}.weight"] = found.get(f"{name}.weight", 0) + places

    return add


@contextmanager
def _looking(model: nn.Module) -> Iterator[None]:
    """The model in evaluation mode, without gradients or attention's fused way; then as it was."""
    training, fused = model.training, torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
        model.train(training)


def _image(model: nn.Module, image_size: int) -> Tensor:
    like = next(model.parameters())
    return torch.zeros(1, 3, image_size, image_size, device=like.device, dtype=like.dtype)
