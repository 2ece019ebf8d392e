"""The prunable weights of a model and their names.

Names are those of the plain model: while hooks of `torch.nn.utils.prune` are on, the parameter
`conv.weight_orig` and the buffer `conv.weight_mask` count as `conv.weight`, their product, which is
what the model computes with.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from pruning_core.methods.layers import Layer, prunable

ATTENTION = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")
SCRIPTED = ("Linear", *(f"Conv{kind}{n}d" for kind in ("", "Transpose") for n in (1, 2, 3)))
RECURRENT_CELL = ("weight_ih", "weight_hh")


def layers(model: nn.Module) -> list[Layer]:
    """Every weight of convolutions, linear, recurrent and attention layers, in the modules' order.

    A weight that several modules share is listed once. The first convolution is the stem; the
    last linear layer, or the last convolution where there is none, is the classifier.
    """
    named = _by_name(model)
    by_identity: dict[int, Layer] = {}
    for name, module in _candidates(model):
        if name in named:
            shape, size = tuple(named[name].shape), named[name].numel()
            groups = int(getattr(module, "groups", 1)) if len(shape) > 2 else 1
            layer = Layer(name, _kind(module), "", shape, size, groups)
            by_identity.setdefault(id(named[name]), layer)
    roles = _roles(list(by_identity.values()))
    return [replace(layer, role=roles.get(layer.name, "")) for layer in by_identity.values()]


def weights(model: nn.Module, choice: str, exclude: Sequence[str] = ()) -> dict[str, Tensor]:
    """The prunable parameters (O, I, *K) by name: those of a layer choice without `exclude`.

    Under hooks these are the parameters that the hooks mask.
    """
    named = _by_name(model)
    return {layer.name: named[layer.name] for layer in prunable(layers(model), choice, exclude)}


def convolution_groups(model: nn.Module) -> dict[str, int]:
    """The groups of each layer by the name of its weight; 1 where it is no grouped convolution."""
    return {layer.name: layer.groups for layer in layers(model)}


def parameters(model: nn.Module, repeat_shared: bool = False) -> dict[str, Tensor]:
    """The parameters, of any shape, as the model computes with them: hooks applied, detached.

    A parameter that several modules share is listed once, or under each of its names.
    """
    named = model.named_parameters(remove_duplicate=not repeat_shared)
    masks = {name: value for name, value in model.named_buffers() if name.endswith("_mask")}
    folded = fold_hooks({**{name: value.detach() for name, value in named}, **masks})
    return {name: value for name, value in folded.items() if name not in masks}


def _by_name(model: nn.Module) -> dict[str, Tensor]:
    named = dict(model.named_parameters(remove_duplicate=False))
    masks = {name for name, _ in model.named_buffers(remove_duplicate=False)}
    return {
        # Other hooks too compute a weight from a parameter that ends in `_orig`.
        plain_name(name) if f"{plain_name(name)}_mask" in masks else name: parameter
        for name, parameter in named.items()
    }


def fold_hooks(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state dict in which each pair `<name>_orig`, `<name>_mask` became `<name>`.

    `torch.nn.utils.prune` adds such pairs, both of the shape (O, I, *K), until `prune.remove`.
    Adding 0 turns the -0.0 of a product into 0.0.
    """
    pairs = {
        name for name in map(plain_name, state) if {f"{name}_orig", f"{name}_mask"} <= set(state)
    }
    folded = {}
    for name, value in state.items():
        plain = plain_name(name)
        if plain in pairs and plain != name:
            folded[plain] = value * state[f"{plain}_mask"] + 0.0
        elif name.removesuffix("_mask") not in pairs:
            folded[name] = value
    return folded


def plain_name(name: str) -> str:
    """The name of a parameter without what a hook of `torch.nn.utils.prune` adds to it."""
    return name.removesuffix("_orig")


def _candidates(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The names that prunable weights can have, with their modules."""
    for prefix, module in model.named_modules():
        for name in weight_names(module):
            yield f"{prefix}.{name}".removeprefix("."), module


def weight_names(module: nn.Module) -> tuple[str, ...]:
    """The names of the prunable weights that a module can have; empty for other modules."""
    if isinstance(module, nn.MultiheadAttention):
        return ATTENTION
    if isinstance(module, nn.RNNBase):
        names = (name for of_layer in module._all_weights for name in of_layer)
        return tuple(name for name in names if name.startswith("weight"))
    if isinstance(module, nn.RNNCellBase):
        return RECURRENT_CELL
    plain = isinstance(module, _ConvNd | nn.Linear) or _scripted_class(module) in SCRIPTED
    return ("weight",) if plain else ()


def _scripted_class(module: nn.Module) -> str:
    """The name of the class that a TorchScript module was compiled from; empty for others."""
    return str(module.original_name) if isinstance(module, torch.jit.ScriptModule) else ""


def _kind(module: nn.Module) -> str:
    if isinstance(module, _ConvNd):
        return "depthwise" if module.groups == module.in_channels > 1 else "conv"
    if isinstance(module, nn.RNNBase | nn.RNNCellBase):
        return "recurrent"
    if scripted := _scripted_class(module):
        return "linear" if scripted == "Linear" else "conv"
    return "linear" if isinstance(module, nn.Linear) else "attention"


def _roles(layers: list[Layer]) -> dict[str, str]:
    convs = [layer.name for layer in layers if layer.kind in ("conv", "depthwise")]
    linears = [layer.name for layer in layers if layer.kind == "linear"]
    last = (linears or convs)[-1:]
    return dict.fromkeys(last, "classifier") | dict.fromkeys(convs[:1], "stem")


def count_zeros(tensors: dict[str, Tensor]) -> int:
    """The number of zeros in all tensors, of any shape."""
    return sum(value.numel() - int(torch.count_nonzero(value)) for value in tensors.values())


def sparsities(model: nn.Module, choice: str, exclude: Sequence[str] = ()) -> dict[str, int]:
    """The counts behind the measured sparsities, of zeros in the tensors themselves.

    `prunable` and `prunable_zeros` count the weights of a layer choice without `exclude`;
    `weights` and `weights_zeros` all convolution, linear and attention weights; `parameters` and
    `nonzero` everything, biases and normalization included.
    """
    values, all_layers = parameters(model), layers(model)
    chosen = prunable(all_layers, choice, exclude)
    zeros = {
        name: count_zeros({name: value})
        for name, value in parameters(model, repeat_shared=True).items()
    }
    total = sum(value.numel() for value in values.values())
    return {
        "prunable": sum(layer.size for layer in chosen),
        "prunable_zeros": sum(zeros[layer.name] for layer in chosen),
        "weights": sum(layer.size for layer in all_layers),
        "weights_zeros": sum(zeros[layer.name] for layer in all_layers),
        "parameters": total,
        "nonzero": total - sum(zeros[name] for name in values),
    }
