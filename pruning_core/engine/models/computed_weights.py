"""The weights of any model: which are computed, which were pruned, and which stay dense.

`weight_norm`, `spectral_norm` (old and new) and every other parametrization compute the weight of
a layer in each forward pass. Zeros in the parameters behind it need not be zeros of the weight, so
such a weight is pruned after it has become a plain parameter with its current values.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter
from torch.nn.utils import parametrize, remove_spectral_norm, remove_weight_norm
from torch.nn.utils import prune as torch_prune
from torch.nn.utils.spectral_norm import SpectralNorm, SpectralNormLoadStateDictPreHook
from torch.nn.utils.weight_norm import WeightNorm

from pruning_core.common.errors import SpecError
from pruning_core.common.formatting import join_words
from pruning_core.engine.models.layers import plain_name, weight_names, weights
from pruning_core.engine.models.modes import evaluation_mode

Tensors = dict[str, Tensor]
# The types in which weights can be pruned.
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
# With up to this share of exact zeros, a weight counts as not pruned.
CHANCE_ZEROS = 0.01
Remove = Callable[[nn.Module, str], object]


@torch.no_grad()
def make_plain(model: nn.Module) -> dict[str, str]:
    """Make each prunable weight that is computed a plain parameter, in place.

    The outputs in evaluation mode stay the same. Parameters that were frozen stay frozen. Returns
    what computed the weight, such as `weight_norm`, by the name of the weight.
    """
    computed = {}
    with evaluation_mode(model):  # In training mode spectral norm would change the weight.
        for prefix, module in model.named_modules():
            for name in weight_names(module):
                title = _make_plain(module, name)
                if title:
                    computed[f"{prefix}.{name}".removeprefix(".")] = title
        _flatten(model)
    return computed


def _make_plain(module: nn.Module, name: str) -> str:
    """Make a computed weight a plain parameter. Returns what computed it; empty where nothing."""
    if parametrize.is_parametrized(module, name):
        parts: nn.ModuleList = module.get_submodule(f"parametrizations.{name}")  # type: ignore[assignment]
        trainable = any(part.requires_grad for part in parts.parameters())
        title = " and ".join(type(part).__name__.strip("_") for part in parts)
        parametrize.remove_parametrizations(module, name, leave_parametrized=True)
    else:
        hook, remove = _old_hook(module, name)
        if hook is None:
            return ""
        title = "weight_norm" if isinstance(hook, WeightNorm) else "spectral_norm"
        sources = (f"{name}_{suffix}" for suffix in ("orig", "g", "v"))
        trainable = any(
            parameter.requires_grad
            for parameter in (module._parameters.get(source) for source in sources)
            if parameter is not None
        )
        remove(module, name)
        _remove_loading_hook(module, hook)
    value = getattr(module, name)
    if not isinstance(value, nn.Parameter):  # Torch leaves a tensor where nothing was trainable.
        module._buffers.pop(name, None)
        vars(module).pop(name, None)
        setattr(module, name, nn.Parameter(value.detach().clone()))
    getattr(module, name).requires_grad_(trainable)
    return title


@torch.no_grad()
def has_pruned_computed_weight(model: nn.Module) -> bool:
    """Whether a weight that is computed has zeros of an earlier pruning, which no hook masks.

    Training the parameters behind it would change these zeros.
    """
    with evaluation_mode(model):
        return any(
            0 < int(torch.count_nonzero(value)) < (1 - CHANCE_ZEROS) * value.numel()
            for module in model.modules()
            if not any(name.endswith("_mask") for name, _ in module.named_buffers(recurse=False))
            for name in weight_names(module)
            if parametrize.is_parametrized(module, name) or _old_hook(module, name)[0]
            for value in (getattr(module, name),)
        )


def _old_hook(module: nn.Module, name: str) -> tuple[object | None, Remove]:
    for hook in module._forward_pre_hooks.values():
        if isinstance(hook, WeightNorm) and hook.name == name:
            return hook, remove_weight_norm
        if isinstance(hook, SpectralNorm) and hook.name == name:
            return hook, remove_spectral_norm
    return None, remove_weight_norm


def _remove_loading_hook(module: nn.Module, hook: object) -> None:
    """Remove what `remove_spectral_norm` of torch 2 forgets; it would refuse every state dict."""
    for key, loading in list(module._load_state_dict_pre_hooks.items()):
        function = getattr(loading, "hook", loading)
        if isinstance(function, SpectralNormLoadStateDictPreHook) and function.fn is hook:
            del module._load_state_dict_pre_hooks[key]


def remove_hooks(model: nn.Module) -> Tensors:
    """Make the pruning of `torch.nn.utils.prune` permanent, in place.

    Returns the masks (True: stays) by name of the parameter, each of its shape.
    """
    masks = {}
    for prefix, module in model.named_modules():
        buffers = [name.removesuffix("_mask") for name, _ in module.named_buffers(recurse=False)]
        for name in buffers:
            if f"{name}_orig" in module._parameters:
                mask = module.get_buffer(f"{name}_mask") != 0
                masks[f"{prefix}.{name}".removeprefix(".")] = mask
                torch_prune.remove(module, name)
    _flatten(model)
    return masks


def _flatten(model: nn.Module) -> None:
    """Put the parameters of recurrent layers in one piece of memory, as cuDNN needs them."""
    for module in model.modules():
        if isinstance(module, nn.RNNBase):
            module.flatten_parameters()


def unprunable_weights(model: nn.Module) -> list[str]:
    """The names of the weights, of at least two dimensions above 1, that are not prunable.

    These are weights of layers other than convolutions, linear, recurrent and attention layers,
    and weights that are no parameters: computed in the forward pass, buffers, quantized.
    """
    prunable = {id(weight) for weight in weights(model, "all").values()}
    others = [
        plain_name(name)
        for name, parameter in model.named_parameters()
        if id(parameter) not in prunable and sum(size > 1 for size in parameter.shape) > 1
    ]
    return [*others, *_no_parameters(model)]


def _no_parameters(model: nn.Module) -> Iterator[str]:
    """The weights of layers that are tensors but no parameters, and those of quantized layers."""
    for prefix, module in model.named_modules():
        packed = getattr(module, "weight", None)
        parameters = dict(module.named_parameters(recurse=False))
        if callable(packed) and not isinstance(packed, nn.Module | Tensor):
            yield f"{prefix}.weight".removeprefix(".")
        for name in weight_names(module):
            if not {name, f"{name}_orig"} & set(parameters) and isinstance(
                getattr(module, name, None), Tensor
            ):
                yield f"{prefix}.{name}".removeprefix(".")


def check_model(model: nn.Module) -> None:
    """Refuse what is no module, and a model whose weights have no values that can be pruned."""
    if not isinstance(model, nn.Module):
        raise SpecError("model", f"It is of type {type(model).__name__}, not a torch.nn.Module.")
    for name, value in (*model.named_parameters(), *model.named_buffers()):
        if isinstance(value, UninitializedParameter | UninitializedBuffer):
            raise SpecError("model", f"{name} has no shape yet. Run the model on a batch first.")
        if value.is_meta:
            raise SpecError("model", f"{name} has no values (device meta). Load its weights first.")
        if value.layout is not torch.strided:
            raise SpecError("model", f"{name} is a sparse tensor. Use its to_dense() first.")
    for name, weight in weights(model, "all").items():
        if weight.dtype not in FLOATS:
            kind = str(weight.dtype).removeprefix("torch.")
            known = join_words(str(dtype).removeprefix("torch.") for dtype in FLOATS)
            raise SpecError("model", f"{name} is of type {kind}. Only {known} can be pruned.")


def copied(model: nn.Module) -> nn.Module:
    """A deep copy. `deepcopy` alone refuses the non-leaf tensors that hooks compute.

    Raises `SpecError` for a model that cannot be copied.
    """
    seen: set[int] = set()
    computed = {
        id(value): value.detach().clone()
        for module in model.modules()
        for value in _tensors_in(vars(module), seen)
        if not value.is_leaf
    }
    try:
        with torch.no_grad():  # Else copies of TorchScript modules hold no leaf tensors.
            replica = copy.deepcopy(model, memo=dict(computed))
    except (AttributeError, TypeError, RuntimeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise SpecError(
            "model",
            f"It cannot be copied: {reason}. Remove the attribute that holds this object from "
            "the model, or build a new model and load its state_dict.",
        ) from error
    for original, parameter in zip(model.parameters(), replica.parameters(), strict=True):
        parameter.requires_grad_(original.requires_grad)
    _separate_classes(replica)
    return replica


def _tensors_in(value: object, seen: set[int]) -> Iterator[Tensor]:
    """The tensors in an attribute of a module, also inside dicts, lists and tuples.

    `seen` holds the containers that were read: one may contain itself.
    """
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict | list | tuple) and id(value) not in seen:
        seen.add(id(value))
        for item in list(value.values() if isinstance(value, dict) else value):
            yield from _tensors_in(item, seen)


def _separate_classes(model: nn.Module) -> None:
    """Give each parametrized module a class that no other module has.

    A parametrization is a property of a class that torch makes for one module. A deep copy shares
    that class, so to remove the parametrization of the copy would remove the original's too.
    """
    for module in model.modules():
        if parametrize.is_parametrized(module):
            shared = type(module)
            contents = {
                name: value
                for name, value in vars(shared).items()
                if name not in ("__dict__", "__weakref__")
            }
            module.__class__ = type(shared.__name__, shared.__bases__, contents)
