"""What a network does without when it is run elsewhere: dead channels, and batch norm.

Batch norm is folded into the layer before it, where it takes that layer's output as it is.

Jacob et al. 2018 ("Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-
Only Inference"), section 3.2: w g / s and b + (c - m) g / s, in double precision.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pruning_core.engine.models.sites import Site, sites
from pruning_core.engine.structured import fold as channels

# A channel whose output varied by less than this over the training images is constant: batch
# norm with its usual epsilon of 1e-5 makes at most a hundredth of it.
CONSTANT = 1e-9
# Programs compute channels in blocks of 8 or 16. Measured: at widths that are no multiples ONNX
# Runtime took about twice as long as for the whole network, though a quarter of it was gone.
ROUND_TO = 8


@dataclass(frozen=True)
class FoldedLayer:
    """A layer's weight and bias (O,) with the batch norm after it inside."""

    weight: Tensor
    bias: Tensor


@torch.no_grad()
def fold_layer(site: Site, settle: bool = False) -> FoldedLayer:
    """A site's layer and norm as one. The site has a norm.

    With `settle` a channel that was constant becomes that constant, its weights 0: they and the
    mean would cancel out after having been divided by next to nothing, which rounded numbers
    do not.
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
    own = module.bias.double() if module.bias is not None else 0.0
    weight = module.weight.double() * scale.reshape(-1, *[1] * (module.weight.ndim - 1))
    bias = shift + (own - norm.running_mean.double()) * scale
    if settle:
        constant = norm.running_var < CONSTANT
        weight[constant], bias[constant] = 0.0, shift[constant]
    return FoldedLayer(weight.to(module.weight.dtype), bias.to(module.weight.dtype))


def _affine(values: Tensor | None, default: float, like: Tensor) -> Tensor:
    return (
        torch.full_like(like, default, dtype=torch.float64) if values is None else values.double()
    )


def inference_model(
    model: nn.Module, example: Tensor, settle: bool = False
) -> tuple[nn.Module, list[str]]:
    """A copy as other programs run it, and notes on it: fewer channels, no batch norm.

    Channels that are zero wherever they are read are taken out (see `structured.fold`), but for
    so many that the widths stay multiples of 8. `settle`, for numbers that will be rounded, is
    that of `fold`.
    """
    made, notes = copy.deepcopy(model).eval(), tuple[str, ...]()
    if channels.dead_filters(made):
        folded = channels.fold(made, example.shape[-1], ROUND_TO)
        notes = folded.notes if folded.removed else ()
    return fold_model(made, example, settle), list(notes)


@torch.no_grad()
def fold_model(model: nn.Module, example: Tensor, settle: bool = False) -> nn.Module:
    """A copy in which each such batch norm is gone, its layer with a bias; see `fold`."""
    made = copy.deepcopy(model).eval()
    names = {module: name for name, module in made.named_modules()}
    for site in sites(made, example):
        if site.norm is None:
            continue
        folded = fold_layer(site, settle)
        site.module.weight.copy_(folded.weight)
        site.module.bias = nn.Parameter(folded.bias, requires_grad=False)
        made.set_submodule(names[site.norm], nn.Identity())
    return made


@torch.no_grad()
def folded_state(model: nn.Module, example: Tensor) -> dict[str, Tensor]:
    """A state dict for the same network: what is left of each such batch norm adds the bias.

    Constant channels are settled (see `fold`).
    """
    state = {name: value.clone() for name, value in model.state_dict().items()}
    names = {module: name for name, module in model.named_modules()}
    for site in sites(model, example):
        if (norm := site.norm) is None or norm.weight is None:
            continue
        folded, prefix = fold_layer(site, settle=True), names[norm]
        state[site.weight_name] = folded.weight
        state[f"{prefix}.bias"] = folded.bias
        if site.module.bias is not None:
            state[f"{site.name}.bias"].zero_()
        state[f"{prefix}.weight"].fill_(math.sqrt(1 + norm.eps))
        state[f"{prefix}.running_mean"].zero_()
        state[f"{prefix}.running_var"].fill_(1.0)
    return state
