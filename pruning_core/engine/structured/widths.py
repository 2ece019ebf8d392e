"""The widths of a model as JSON, and a model of such widths, so that no pickle is needed.

A structure is {"format": 1, "modules": {name: {attribute: value}}, "parameters": {name: shape}}:
the attributes from which the shapes of a module's tensors follow, and the shapes of parameters
that belong to no such module (ViT's class token, ConvNeXt's layer scale). With the name of the
architecture and a file of tensors it makes the model again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torchvision.models import VisionTransformer

FORMAT = 1
FILE = "structure.json"
LARGEST = 2**20
Shape = tuple[int, ...]
Structure = dict[str, Any]


class StructureError(Exception):
    """A structure does not fit the model, or the tensors do not fit the structure."""


def _vector(size: int) -> dict[str, Shape]:
    return dict.fromkeys(("weight", "bias", "running_mean", "running_var"), (size,))


def _conv(module: nn.Module, width: Mapping[str, Any]) -> dict[str, Shape]:
    inputs = width["in_channels"] // width["groups"]
    return {
        "weight": (width["out_channels"], inputs, *module.kernel_size),  # type: ignore[misc]
        "bias": (width["out_channels"],),
    }


def _linear(module: nn.Module, width: Mapping[str, Any]) -> dict[str, Shape]:
    outputs = width["out_features"]
    return {"weight": (outputs, width["in_features"]), "bias": (outputs,)}


def _attention(module: nn.Module, width: Mapping[str, Any]) -> dict[str, Shape]:
    size = width["embed_dim"]
    return {"in_proj_weight": (3 * size, size), "in_proj_bias": (3 * size,)}


@dataclass(frozen=True)
class Kind:
    """The attributes that hold a module's widths, and the shapes of its own tensors by them."""

    attributes: tuple[str, ...]
    shapes: Callable[[nn.Module, Mapping[str, Any]], dict[str, Shape]]


KINDS: dict[type[nn.Module], Kind] = {
    _ConvNd: Kind(("in_channels", "out_channels", "groups"), _conv),
    nn.Linear: Kind(("in_features", "out_features"), _linear),
    _BatchNorm: Kind(("num_features",), lambda _, width: _vector(width["num_features"])),
    nn.LayerNorm: Kind(
        ("normalized_shape",),
        lambda _, width: dict.fromkeys(("weight", "bias"), tuple(width["normalized_shape"])),
    ),
    nn.GroupNorm: Kind(
        ("num_channels", "num_groups"), lambda _, width: _vector(width["num_channels"])
    ),
    nn.MultiheadAttention: Kind(("embed_dim", "kdim", "vdim", "num_heads", "head_dim"), _attention),
    VisionTransformer: Kind(("hidden_dim",), lambda _, width: {}),
}


def kind_of(module: nn.Module) -> Kind | None:
    """How a module holds its widths; None where it has none of its own."""
    return next((kind for base, kind in KINDS.items() if isinstance(module, base)), None)


def structure(model: nn.Module) -> Structure:
    """The widths of a model as JSON values."""
    modules, loose = {}, dict(model.named_parameters())
    for name, module in model.named_modules():
        if (kind := kind_of(module)) is None:
            continue
        width = {attribute: _plain(getattr(module, attribute)) for attribute in kind.attributes}
        modules[name] = width
        for tensor in kind.shapes(module, width):
            loose.pop(_join(name, tensor), None)
    parameters = {name: list(value.shape) for name, value in loose.items()}
    return {"format": FORMAT, "modules": modules, "parameters": parameters}


def shapes(model: nn.Module, widths: Structure) -> dict[str, Shape]:
    """The shape of every tensor in the state dict of a model that is resized to these widths.

    Raises `StructureError` where the widths are not those of a model of this architecture.
    """
    _check(model, widths)
    return unchecked_shapes(model, widths)


def unchecked_shapes(model: nn.Module, widths: Structure) -> dict[str, Shape]:
    """The same for widths that were derived from this very model."""
    found = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    for name, width in widths["modules"].items():
        module = model.get_submodule(name)
        kind = kind_of(module)
        assert kind is not None
        for tensor, shape in kind.shapes(module, width).items():
            if _join(name, tensor) in found:
                found[_join(name, tensor)] = shape
    found.update({name: tuple(shape) for name, shape in widths["parameters"].items()})
    return found


@torch.no_grad()
def resize(model: nn.Module, widths: Structure) -> nn.Module:
    """The model, changed in place to these widths; the values of changed tensors are undefined.

    Raises `StructureError` where the widths are not those of a model of this architecture.
    """
    wanted = shapes(model, widths)
    for name, width in widths["modules"].items():
        module = model.get_submodule(name)
        for attribute, value in width.items():
            setattr(module, attribute, tuple(value) if isinstance(value, list) else value)
    tensors = dict(model.named_parameters(remove_duplicate=False)) | dict(model.named_buffers())
    for name, shape in wanted.items():
        if tuple(tensors[name].shape) != shape:
            _replace(model, name, tensors[name].new_zeros(shape))
    return model


def load(model: nn.Module, widths: Structure, state: Mapping[str, Tensor]) -> nn.Module:
    """The model with these widths and tensors. Raises `StructureError` where they do not agree."""
    wanted = shapes(model, widths)
    _same_names(set(wanted), set(state))
    for name, shape in wanted.items():
        if tuple(state[name].shape) != shape:
            raise StructureError(
                f"The tensor {name} has the shape {tuple(state[name].shape)}, but the structure "
                f"says {shape}. The two are not of one model; take those of one stage."
            )
    resize(model, widths).load_state_dict(state)
    return model


def write(model: nn.Module, folder: Path) -> Structure:
    """Write the structure of a model into a folder, and return it."""
    found = structure(model)
    (folder / FILE).write_text(json.dumps(found), encoding="utf-8")
    return found


def read(path: Path) -> Structure:
    """The structure in a file. Raises `StructureError` where it is none."""
    try:
        content = path.read_bytes()
        if len(content) > LARGEST:
            raise ValueError("it is too large")
        found = json.loads(content)
    except (OSError, ValueError, RecursionError) as error:
        raise StructureError(f"{path} is no structure ({error}).") from None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise StructureError(f"{path} is no structure of format {FORMAT}.")
    return found


def _check(model: nn.Module, widths: Structure) -> None:
    """Refuse widths of another architecture, missing ones, and ones that are no widths."""
    own = structure(model)
    for part in ("modules", "parameters"):
        if not isinstance(widths.get(part), dict):
            raise StructureError(f"The structure has no {part}, so it describes no model.")
        _same_names(set(own[part]), set(widths[part]))
    for name, width in widths["modules"].items():
        _check_width(name, own["modules"][name], width)
    for name, shape in widths["parameters"].items():
        _check_width(name, {"shape": own["parameters"][name]}, {"shape": shape})


def _check_width(name: str, own: Mapping[str, Any], given: Any) -> None:
    if not isinstance(given, dict) or set(given) != set(own):
        raise StructureError(f"The structure does not say {', '.join(own)} of {name}, no more.")
    for attribute, value in given.items():
        like, sizes = own[attribute], value if isinstance(value, list) else [value]
        right = isinstance(value, list) == isinstance(like, list)
        right = right and (not isinstance(like, list) or len(value) == len(like))
        if not right or not all(type(size) is int and size >= 1 for size in sizes):
            raise StructureError(
                f"The structure says {attribute} = {value!r} of {name}; whole numbers of 1 or "
                "more are widths."
            )
        # A file may narrow a model, never widen it: so it cannot ask for memory without end.
        most = like if isinstance(like, list) else [like]
        if any(size > limit for size, limit in zip(sizes, most, strict=True)):
            raise StructureError(
                f"The structure says {attribute} = {value!r} of {name}, more than the {like!r} of "
                "the architecture. It is of another model."
            )


def _same_names(own: set[str], given: set[str]) -> None:
    if own == given:
        return
    odd = sorted(own ^ given)
    what = "lacks" if odd[0] in own else "has"
    raise StructureError(
        f"The structure {what} {odd[0]} (of {len(odd)} names that differ), so it is of another "
        "architecture. Name the architecture that was cut."
    )


def _replace(model: nn.Module, name: str, value: Tensor) -> None:
    path, _, last = name.rpartition(".")
    module = model.get_submodule(path)
    kept = getattr(module, last)
    if isinstance(kept, nn.Parameter):
        value = nn.Parameter(value, requires_grad=kept.requires_grad)
    setattr(module, last, value)


def _join(name: str, tensor: str) -> str:
    return f"{name}.{tensor}" if name else tensor


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
