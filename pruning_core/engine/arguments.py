"""Numbers that a person passes to the Python API: of Python, NumPy or torch."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from torch import Tensor

from pruning_core.common.errors import SpecError, shortened

Number = Any  # int, float, and numbers of NumPy and torch without a dimension


def finite_number(field: str, value: Number, low: float) -> float:
    """A finite number of at least `low`. Raises `SpecError` for anything else."""
    number = _float(value)
    if not math.isfinite(number):
        raise SpecError(field, "{value} is not a number.", value=shortened(value))
    if number < low:
        raise SpecError(field, f"{number:g} is too small; use {low:g} or more.")
    return number


def fraction(field: str, value: Number) -> float:
    """A number from 0 to less than 1. Raises `SpecError` for anything else."""
    number = _float(value)
    if not 0 <= number < 1:
        hint = f" For {number:g} percent give {number / 100:g}." if 1 < number < 100 else ""
        raise SpecError(
            field,
            "{value} is not a fraction: use 0 to less than 1.{hint}",
            value=shortened(value),
            hint=hint,
        )
    return number


def whole_number(field: str, value: Number) -> int:
    """A whole number of 1 or more. Raises `SpecError` for anything else."""
    number = _float(value)
    if not number.is_integer() or number < 1:
        raise SpecError(
            field, "{value} is not a whole number of 1 or more.", value=shortened(value)
        )
    return int(number)


def _float(value: Number) -> float:
    """A number of Python, NumPy or torch as a float; NaN for text, truth values and all else."""
    if value is np.ma.masked or (isinstance(value, Tensor) and value.is_meta):
        return math.nan
    if isinstance(value, Tensor | np.ndarray | np.generic) and not value.ndim:
        value = value.item()
    if isinstance(value, bool | str | bytes | Tensor | np.ndarray):
        return math.nan
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan
