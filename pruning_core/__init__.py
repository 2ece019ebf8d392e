"""Pruning Lab's engine: compare ways of pruning neural networks, with measured figures.

The public names are loaded when they are first used, so that importing the package does not
import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "PruningStrategy": "pruning_core.engine.pruning_strategies",
    "OneShotPruning": "pruning_core.engine.pruning_strategies",
    "IterativePruning": "pruning_core.engine.pruning_strategies",
    "compare_pruning_strategies": "pruning_core.reports.assignment",
    "print_summary_table": "pruning_core.reports.assignment",
}

__all__ = list(_HOMES)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"pruning_core has no {name}")
    return getattr(import_module(_HOMES[name]), name)
