"""A network for inference in other runtimes: without zero channels, with batch norm folded.

A batch norm is folded into the layer before it, where nothing lies between the two. With the
layer's weight w and bias c, and the norm's weight g, bias b, mean m and deviation s, the folded
layer has the weight w g / s and the bias b + (c - m) g / s, computed in double precision (Jacob et
al. 2018, section 3.2, https://arxiv.org/abs/1712.05877).

Shapes: O output channels, N images of S x S pixels.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pruning_core.engine.models.traced_layers import TracedLayer, traced_layers
from pruning_core.engine.structured import fold as channels

# A channel with a smaller variance over the training images counts as constant: with the usual
# epsilon of 1e-5, batch norm scales its deviation to at most a hundredth.
CONSTANT_VARIANCE = 1e-9
# Runtimes compute channels in blocks of 8 or 16. With other widths, ONNX Runtime took about twice
# as long as for the dense network, although a quarter of the channels was removed.
ROUND_TO = 8


@dataclass(frozen=True)
class FoldedLayer:
    """The weight (O, ...) and bias (O,) of a layer that contains the batch norm after it."""

    weight: Tensor
    bias: Tensor


@torch.no_grad()
def fold_layer(site: TracedLayer, zero_constant: bool = False) -> FoldedLayer:
    """The layer and the batch norm of a site as one layer. The site has a norm.

    `zero_constant` sets the weights of constant channels to 0 and keeps the constant as bias.
    Folding divides these weights and the mean by a deviation near 0; exactly, their contributions
    cancel, but after rounding to fewer bits they would not.
    """
    module, norm = site.module, site.norm
    assert norm is not None
    assert norm.running_mean is not None
    assert norm.running_var is not None
    gain, shift = (
        _affine(norm.weight, 1.0, norm.running_var),
        _affine(norm.bias, 0.0, norm.running_var),
    )
    scale = gain / torch.sqrt(norm.running_var.double() + norm.eps)
    layer_bias = module.bias.double() if module.bias is not None else 0.0
    weight = module.weight.double() * scale.reshape(-1, *[1] * (module.weight.ndim - 1))
    bias = shift + (layer_bias - norm.running_mean.double()) * scale
    if zero_constant:
        constant = norm.running_var < CONSTANT_VARIANCE
        weight[constant], bias[constant] = 0.0, shift[constant]
    return FoldedLayer(weight.to(module.weight.dtype), bias.to(module.weight.dtype))


def _affine(values: Tensor | None, default: float, like: Tensor) -> Tensor:
    """The norm's weight or bias (O,) in double precision; `default` where it has none."""
    return (
        torch.full_like(like, default, dtype=torch.float64) if values is None else values.double()
    )


def inference_model(
    model: nn.Module, example: Tensor, zero_constant: bool = False, block: int = 1
) -> tuple[nn.Module, list[str]]:
    """A copy without zero channels and with batch norm folded, and notes on it.

    Zero channels are removed only as far as widths stay multiples of 8, in whole blocks of `block`
    channels (see `structured.fold`). `example` are images (N, 3, S, S). `zero_constant` is for
    weights that will be rounded (see `fold_layer`).
    """
    copied, notes = copy.deepcopy(model).eval(), tuple[str, ...]()
    if channels.zero_filters(copied):
        folded = channels.fold(copied, example.shape[-1], ROUND_TO, block)
        notes = folded.notes if folded.removed else ()
    return fold_model(copied, example, zero_constant), list(notes)


@torch.no_grad()
def fold_model(model: nn.Module, example: Tensor, zero_constant: bool = False) -> nn.Module:
    """A copy with batch norm folded where possible; `example` are images (N, 3, S, S)."""
    copied = copy.deepcopy(model).eval()
    names = {module: name for name, module in copied.named_modules()}
    for site in traced_layers(copied, example):
        if site.norm is None:
            continue
        folded = fold_layer(site, zero_constant)
        site.module.weight.copy_(folded.weight)
        site.module.bias = nn.Parameter(folded.bias, requires_grad=False)
        copied.set_submodule(names[site.norm], nn.Identity())
    return copied


@torch.no_grad()
def folded_state(model: nn.Module, example: Tensor) -> dict[str, Tensor]:
    """A state dict with batch norm folded that the original architecture loads.

    Each folded batch norm is set to add the bias and nothing else. Constant channels get zero
    weights (see `fold_layer`). `example` are images (N, 3, S, S).
    """
    state = copy.deepcopy(model.state_dict())
    names = {module: name for name, module in model.named_modules()}
    for site in traced_layers(model, example):
        if (norm := site.norm) is None or norm.weight is None:
            continue
        folded, prefix = fold_layer(site, zero_constant=True), names[norm]
        state[site.weight_name] = folded.weight
        state[f"{prefix}.bias"] = folded.bias
        if site.module.bias is not None:
            state[f"{site.name}.bias"].zero_()
        # A weight of sqrt(1 + eps) over a variance of 1 is a factor of 1.
        state[f"{prefix}.weight"].fill_(math.sqrt(1 + norm.eps))
        state[f"{prefix}.running_mean"].zero_()
        state[f"{prefix}.running_var"].fill_(1.0)
    return state
