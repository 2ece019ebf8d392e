"""Multiply-accumulates (MACs) of a model for one image, as torch counts them.

They are counted on shapes without values, which takes no time and is the same on every device. On
a CPU or GPU attention may run as one fused operation, which the counter does not know everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.conv import _ConvNd
from torch.utils.flop_counter import FlopCounterMode

from pruning_core.engine.models.modes import evaluation_mode, temporary_hooks
from pruning_core.engine.models.small_convs import standard_convs

Product = _ConvNd | nn.Linear
Hook = Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]


def macs(model: nn.Module, image_size: int) -> int:
    """Multiply-accumulates for one image (1, 3, image_size, image_size) in evaluation mode.

    Counted are the products of convolutions, linear layers and attention, those between tokens
    included, as `torch.utils.flop_counter` counts them, but a multiply-accumulate once, not as two
    operations. Biases, normalization and activations are not counted. A pruned weight counts
    unless its channel was removed. The model keeps its mode.
    """
    with FlopCounterMode(display=False) as counter:
        run_on_shapes(model, (1, 3, image_size, image_size))
    return int(counter.get_total_flops()) // 2


def run_on_shapes(model: nn.Module, shape: tuple[int, ...]) -> None:
    """Run a model in evaluation mode on images of this shape (N, 3, S, S), without values.

    It takes no time and no random numbers. The model is the same afterwards. Raises what the model
    raises for images of this shape.
    """
    state = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    meta = {name: value.detach().to("meta") for name, value in state.items()}
    images = torch.empty(shape, device="meta", dtype=next(iter(state.values())).dtype)
    with _evaluating(model), standard_convs(model), sdpa_kernel(SDPBackend.MATH):
        functional_call(model, meta, (images,))


def weight_uses(model: nn.Module, image_size: int) -> dict[str, int]:
    """How often each weight is used for one image, by the name of the parameter.

    A weight of a convolution is used at each pixel of its output, one of a linear layer or of
    attention for each token. The number times the size of the parameter are its MACs.
    """
    uses: dict[str, int] = {}
    hooks = [
        module.register_forward_hook(_counting_hook(name, uses))
        for name, module in model.named_modules()
        if isinstance(module, Product | nn.MultiheadAttention)
    ]
    with temporary_hooks(hooks):
        run_on_shapes(model, (1, 3, image_size, image_size))
    return uses


def _counting_hook(name: str, uses: dict[str, int]) -> Hook:
    """A hook that adds up how often a module uses its weights."""

    def add(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(module, nn.MultiheadAttention):
            tokens = inputs[0].shape[1] if module.batch_first else inputs[0].shape[0]
            uses[f"{name}.in_proj_weight"] = uses[f"{name}.out_proj.weight"] = tokens
            return
        dimension = 1 if isinstance(module, _ConvNd) else -1
        positions = output.numel() // output.shape[dimension]
        uses[f"{name}.weight"] = uses.get(f"{name}.weight", 0) + positions

    return add


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """The model in evaluation mode without gradients; afterwards as before.

    Attention's fused path is off, because neither hooks nor the counter reach inside it.
    """
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with evaluation_mode(model), torch.no_grad():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
