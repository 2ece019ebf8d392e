"""Lists of numbers as a person types them: `0, 30, 50 %`."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import TypeVar

from pruning_core.common.formatting import trimmed

SHOWN_CHARACTERS = 40
SEPARATORS = re.compile(r"[,;\s]+")
Number = TypeVar("Number", int, float)


def written(values: Sequence[float]) -> str:
    """Numbers as their field shows them."""
    return ", ".join(str(v) if isinstance(v, int) else trimmed(v, 6) for v in values)


def written_percent(fractions: Sequence[float]) -> str:
    """Fractions as their field shows them: `0, 30, 50 %`."""
    text = ", ".join(trimmed(100 * fraction, 4) for fraction in fractions)
    return f"{text} %" if text else ""


def read(text: str, kind: type[Number]) -> list[Number]:
    """Numbers between commas, semicolons or spaces. Raises `ValueError` with a sentence."""
    try:
        values = [kind(part) for part in SEPARATORS.split(text) if part]
        if all(math.isfinite(value) for value in values):
            return values
    except (ValueError, OverflowError):
        pass
    like = "0, 1, 2" if kind is int else "0.5, 30"
    raise ValueError(f"{shown(text)} is not a list of numbers such as {like}.")


def read_percent(text: str) -> list[float]:
    """Fractions from percent. Raises `ValueError` with a sentence.

    Where every amount is below 1 and no % is written, fractions were probably meant: the
    error asks back.
    """
    values = read(text.replace("%", " "), float)
    some = [value for value in values if value]
    if some and all(0 < value < 1 for value in some) and "%" not in text:
        meant = ", ".join(trimmed(100 * value, 4) for value in values)
        typed = ", ".join(trimmed(value, 4) for value in values)
        raise ValueError(
            f"Amounts are percent: did you mean {meant}? If it is less than 1 % that you mean, "
            f"write the sign: {typed} %."
        )
    return [round(value / 100, 6) for value in values]


def shown(text: str) -> str:
    """What was typed, in quotes, and not without end."""
    text = " ".join(text.split())
    return f"'{text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + '…'}'"
