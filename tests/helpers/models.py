"""Typed access to the modules and weights of models in tests."""

from __future__ import annotations

from typing import TypeVar

from torch import Tensor, nn

Module = TypeVar("Module", bound=nn.Module)


def module_of(model: nn.Module, name: str, kind: type[Module]) -> Module:
    """The submodule of this name, checked to be of this kind."""
    module = model.get_submodule(name)
    assert isinstance(module, kind)
    return module


def weight_of(model: nn.Module, name: str) -> nn.Parameter:
    """The `weight` of the submodule of this name."""
    return model.get_parameter(f"{name}.weight")


def named_weights(model: nn.Module) -> dict[str, Tensor]:
    """The parameters called `weight`, by name."""
    return {name: value for name, value in model.named_parameters() if name.endswith("weight")}
