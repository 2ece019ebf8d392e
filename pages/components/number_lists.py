"""Lists of numbers as a person types them: `0, 30, 50 %`."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import TypeVar

from pruning_core.common.formatting import trimmed

SHOWN_CHARACTERS = 40
MOST_DIGITS = 15
SEPARATORS = re.compile(r"[,;\s]+")
Number = TypeVar("Number", int, float)


def number_text(values: Sequence[float]) -> str:
    """Numbers as their text field shows them."""
    return ", ".join(str(v) if isinstance(v, int) else trimmed(v, 6) for v in values)


def percent_text(shares: Sequence[float]) -> str:
    """Shares from 0 to 1 as their text field shows them: `0, 30, 50 %`."""
    text = ", ".join(trimmed(100 * share, 4) for share in shares)
    return f"{text} %" if text else ""


def parse(text: str, kind: type[Number]) -> list[Number]:
    """Numbers between commas, semicolons or spaces, with or without the brackets of a list.

    Raises `ValueError` with a sentence.
    """
    if ";" in text and "," in text:
        raise ValueError(
            f"{quoted(text)} has commas and semicolons. Separate the numbers by one of them, and "
            "write a decimal with a point: 2.5."
        )
    try:
        values = [kind(part) for part in SEPARATORS.split(_without_brackets(text)) if part]
        if all(math.isfinite(value) for value in values):
            return values
    except (ValueError, OverflowError):
        pass
    example = "0, 1, 2" if kind is int else "0.5, 30"
    raise ValueError(f"{quoted(text)} is not a list of numbers such as {example}.")


def _without_brackets(text: str) -> str:
    stripped = text.strip().rstrip(",;")
    return stripped[1:-1] if stripped[:1] + stripped[-1:] in ("[]", "()", "{}") else stripped


def parse_names(text: str) -> list[str]:
    """Names between commas or semicolons, also as a list in Python or JSON: `["conv1", "fc"]`.

    Brackets around names without quotes belong to a pattern, such as `[ab].weight`.
    """
    names = _without_brackets(text)
    parts = re.split("[,;]", names if names.strip()[:1] in ("'", '"') else text)
    return [name for part in parts if (name := part.strip(" \t\r\n'\""))]


def parse_whole(text: str) -> int:
    """A whole number, with or without commas. Raises `ValueError` with a sentence."""
    digits = text.replace(",", "").strip()
    if not (digits.isascii() and digits.lstrip("-").isdigit()):
        raise ValueError(f"{quoted(text)} is not a whole number.")
    if len(digits) > MOST_DIGITS:
        raise ValueError(f"{quoted(text)} is too large.")
    return int(digits)


def parse_percent(text: str) -> list[float]:
    """Shares from 0 to 1, from percent. Raises `ValueError` with a sentence.

    A list in brackets, as Python and settings files write it, has shares: `[0.0, 0.3, 0.5]`. Where
    every other value is below 1 and the text has no %, the person probably meant shares: the
    error asks.
    """
    values = parse(text.replace("%", " "), float)
    nonzero = [value for value in values if value]
    # A 1 beside smaller shares is 100 %, and not 1 %.
    small = bool(nonzero) and all(0 < value <= 1 for value in nonzero) and "%" not in text
    shares = small and any(value < 1 for value in nonzero)
    if shares and text.strip()[:1] in "[({":
        return [round(value, 6) for value in values]
    if shares:
        meant = ", ".join(trimmed(100 * value, 4) for value in values)
        typed = ", ".join(f"{trimmed(value, 4)} %" for value in nonzero)
        raise ValueError(
            f"the values are percent: did you mean {meant}? To prune less than 1 %, add the "
            f"sign: {typed}."
        )
    return [round(value / 100, 6) for value in values]


def quoted(text: str) -> str:
    """Typed text in quotes, with a limited length."""
    text = " ".join(text.split())
    return f"'{text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + '…'}'"
