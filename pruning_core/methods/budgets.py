"""Budgets of a sparsity allocation: what the sparsities of the layers together must not exceed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from pruning_core.common.errors import shortened
from pruning_core.common.formatting import format_bytes, format_macs, format_percent
from pruning_core.methods.registry import Method, Registry

COSTS = "pruning_core.results.budget_costs"
ZEROS, TIME = "zeros", "ms"


@dataclass(frozen=True)
class Budget(Method):
    """A quantity that is limited; the implementation gives what each layer takes of it.

    `units` are those in which people give a limit, with their factors; the first is the usual one.
    `most` is true where the limit is an upper one, false for a sparsity, which is a lower one.
    """

    units: Mapping[str, float] = field(default_factory=dict)
    most: bool = True
    format: Callable[[float | None], str] = str


BUDGETS = Registry(
    "budget",
    (
        Budget(
            ZEROS,
            "Overall sparsity",
            "At least this sparsity of all analyzed layers together.",
            implementation=f"{COSTS}:zeros",
            units={"%": 0.01},
            most=False,
            format=lambda share: format_percent(share or 0.0, 2),
        ),
        Budget(
            "bytes",
            "File size",
            "At most this expected size of the sparse file.",
            implementation=f"{COSTS}:file_bytes",
            units={"MB": 1e6, "kB": 1e3},
            format=format_bytes,
        ),
        Budget(
            "macs",
            "Multiply-accumulates",
            "At most so many multiply-accumulates with weights that are not zero, for one image.",
            implementation=f"{COSTS}:macs",
            units={"M": 1e6, "k": 1e3, "G": 1e9},
            format=format_macs,
        ),
        Budget(
            TIME,
            "Latency",
            "At most this time of the 1x1 convolutions and linear layers for one image, as the "
            "fastest kernels took on this machine.",
            implementation=f"{COSTS}:milliseconds",
            units={"ms": 1.0},
            format=lambda ms: f"{ms:.3g} ms",
        ),
    ),
)


def read_limit(budget: str, text: str) -> float:
    """A limit with or without a unit, such as `0.9 MB` or `900000` bytes.

    Raises `ValueError` with a sentence where it is no number, not above 0, or a sparsity of 1.
    """
    method, text = BUDGETS[budget], text.strip()
    unit = next((unit for unit in method.units if text.endswith(unit)), "")
    try:
        limit = float(text.removesuffix(unit)) * method.units.get(unit, 1.0)
    except ValueError:
        limit = math.nan
    if 0 < limit < (math.inf if method.most else 1):
        return limit
    example = "80%" if not method.most else f"2 {next(iter(method.units))}"
    bounds = "above 0" if method.most else "above 0 and below 1"
    raise ValueError(f"{shortened(text)} is no number {bounds}, such as {example}.")
