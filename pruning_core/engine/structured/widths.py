"""The widths of a model as JSON, and a model with such widths, without pickle.

A structure is {"format": 1, "modules": {name: {attribute: value}}, "parameters": {name: shape}}:
the attributes that determine the shapes of a module's tensors, and the shapes of parameters that
belong to no such module (the class token of ViT, the layer scale of ConvNeXt). The name of the
architecture, the structure and a file of tensors are enough to build the model again.

Reproducibility bundles contain a copy of this file, so it imports nothing of the project.
"""

from __future__ import annotations

import json
from collections import OrderedDict
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
    """The attributes that hold a module's widths, and a function from them to its shapes."""

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
    """The kind of a module; None where it has no widths."""
    return next((kind for base, kind in KINDS.items() if isinstance(module, base)), None)


def structure(model: nn.Module) -> Structure:
    """The widths of a model as JSON values."""
    modules, single = {}, dict(model.named_parameters())
    for name, module in model.named_modules():
        if (kind := kind_of(module)) is None:
            continue
        width = {attribute: _plain(getattr(module, attribute)) for attribute in kind.attributes}
        modules[name] = width
        for tensor in kind.shapes(module, width):
            single.pop(_join(name, tensor), None)
    parameters = {name: list(value.shape) for name, value in single.items()}
    return {"format": FORMAT, "modules": modules, "parameters": parameters}


def shapes(model: nn.Module, widths: Structure) -> dict[str, Shape]:
    """The shape of every tensor in the state dict of a model after it is resized to these widths.

    Raises `StructureError` where the widths do not fit the architecture.
    """
    _check(model, widths)
    return unchecked_shapes(model, widths)


def unchecked_shapes(model: nn.Module, widths: Structure) -> dict[str, Shape]:
    """As `shapes`, without checks, for widths that were derived from this model."""
    result = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    for name, width in widths["modules"].items():
        module = model.get_submodule(name)
        kind = kind_of(module)
        assert kind is not None
        for tensor, shape in kind.shapes(module, width).items():
            if _join(name, tensor) in result:
                result[_join(name, tensor)] = shape
    result.update({name: tuple(shape) for name, shape in widths["parameters"].items()})
    return result


@torch.no_grad()
def resize(model: nn.Module, widths: Structure) -> nn.Module:
    """Change a model in place to these widths. Tensors of another shape become zeros.

    Raises `StructureError` where the widths do not fit the architecture.
    """
    new_shapes = shapes(model, widths)
    for name, width in widths["modules"].items():
        module = model.get_submodule(name)
        for attribute, value in width.items():
            setattr(module, attribute, tuple(value) if isinstance(value, list) else value)
    tensors = dict(model.named_parameters(remove_duplicate=False)) | dict(model.named_buffers())
    for name, shape in new_shapes.items():
        if tuple(tensors[name].shape) != shape:
            _replace(model, name, tensors[name].new_zeros(shape))
    return model


def load(model: nn.Module, widths: Structure, state: Mapping[str, Tensor]) -> nn.Module:
    """The model with these widths and tensors (of the shapes of `shapes`), changed in place.

    Raises `StructureError` where widths, tensors and architecture do not fit together.
    """
    new_shapes = shapes(model, widths)
    _check_names(set(new_shapes), set(state))
    for name, shape in new_shapes.items():
        if tuple(state[name].shape) != shape:
            raise StructureError(
                f"The tensor {name} has the shape {tuple(state[name].shape)}, but the structure "
                f"says {shape}. They are not from the same model; use the files of one stage."
            )
    complete = OrderedDict(state)
    # safetensors keeps no versions. The names and shapes are those of this model, so its own hold.
    versions = getattr(state, "_metadata", None) or model.state_dict()._metadata  # type: ignore[attr-defined]
    complete._metadata = versions  # type: ignore[attr-defined]
    resize(model, widths).load_state_dict(complete)
    return model


def write(model: nn.Module, folder: Path) -> Structure:
    """Write the structure of a model into a folder, and return it."""
    widths = structure(model)
    (folder / FILE).write_text(json.dumps(widths), encoding="utf-8")
    return widths


def read(path: Path) -> Structure:
    """The structure in a file. Raises `StructureError` where the file holds none."""
    try:
        content = path.read_bytes()
        if len(content) > LARGEST:
            raise ValueError("it is too large")
        widths = json.loads(content)
    except (OSError, ValueError, RecursionError) as error:
        raise StructureError(f"{path} is not a structure ({error}).") from None
    if not isinstance(widths, dict) or widths.get("format") != FORMAT:
        raise StructureError(f"{path} is not a structure of format {FORMAT}.")
    return widths


def _check(model: nn.Module, widths: Structure) -> None:
    """Refuse widths of another architecture, missing widths, and values that are no widths."""
    full = structure(model)
    for part in ("modules", "parameters"):
        if not isinstance(widths.get(part), dict):
            raise StructureError(f"The structure has no {part}, so it describes no model.")
        _check_names(set(full[part]), set(widths[part]))
    if set(widths) != set(full) or widths["format"] != FORMAT:
        raise StructureError(f"This is not a structure of format {FORMAT}.")
    for name, width in widths["modules"].items():
        _check_width(name, full["modules"][name], width)
    for name, shape in widths["parameters"].items():
        _check_width(name, {"shape": full["parameters"][name]}, {"shape": shape})


def _check_width(name: str, full: Mapping[str, Any], width: Any) -> None:
    if not isinstance(width, dict) or set(width) != set(full):
        raise StructureError(f"The structure must give exactly {', '.join(full)} of {name}.")
    for attribute, value in width.items():
        limit = full[attribute]
        sizes = value if isinstance(value, list) else [value]
        limits = limit if isinstance(limit, list) else [limit]
        fits = isinstance(value, list) == isinstance(limit, list) and len(sizes) == len(limits)
        if not fits or not all(type(size) is int and size >= 1 for size in sizes):
            raise StructureError(
                f"The structure says {attribute} = {value!r} of {name}; widths are whole numbers "
                "of at least 1."
            )
        # A file may make a model narrower, never wider, so it cannot claim memory without limit.
        if any(size > most for size, most in zip(sizes, limits, strict=True)):
            raise StructureError(
                f"The structure says {attribute} = {value!r} of {name}, more than the {limit!r} of "
                "the architecture. It belongs to another model."
            )
    groups = width.get("groups", 1)
    if any(value % groups for attribute, value in width.items() if "_channels" in attribute):
        raise StructureError(
            f"The structure says {groups} groups of {name}, which do not divide its channels."
        )


def _check_names(expected: set[str], given: set[str]) -> None:
    if expected == given:
        return
    differing = sorted(expected ^ given)
    verb = "lacks" if differing[0] in expected else "has"
    raise StructureError(
        f"The structure {verb} {differing[0]} ({len(differing)} names differ), so it is of another "
        "architecture. Give the name of the architecture that was pruned."
    )


def _replace(model: nn.Module, name: str, value: Tensor) -> None:
    path, _, last = name.rpartition(".")
    module = model.get_submodule(path)
    former = getattr(module, last)
    if isinstance(former, nn.Parameter):
        value = nn.Parameter(value, requires_grad=former.requires_grad)
    setattr(module, last, value)


def _join(name: str, tensor: str) -> str:
    return f"{name}.{tensor}" if name else tensor


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
