"""All registries of the catalogue, without a second list."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

import pruning_core.methods
from pruning_core.methods.registry import Registry
from pruning_core.planning import stage_kinds

REGISTRY_MODULES = [
    *(
        importlib.import_module(f"{pruning_core.methods.__name__}.{module.name}")
        for module in pkgutil.iter_modules(pruning_core.methods.__path__)
    ),
    stage_kinds,
]


def registries() -> dict[str, Registry[Any]]:
    """Every registry of the catalogue, by the name of its variable."""
    return {
        name: value
        for module in REGISTRY_MODULES
        for name, value in vars(module).items()
        if isinstance(value, Registry)
    }
