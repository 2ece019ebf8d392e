"""What an option of `compare` is, and how texts are read as settings."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from pruning_core.common.errors import shortened
from pruning_core.common.files import PLAIN_WEIGHTS, place

Value = TypeVar("Value")


@dataclass(frozen=True)
class Option:
    """An option: its flag, the dotted settings it sets, how its text is read, its help."""

    flag: str
    fields: tuple[str, ...]
    read: Callable[[str], Any]
    help: str
    metavar: str | None = None
    choices: tuple[str, ...] | None = None

    @property
    def name(self) -> str:
        return self.flag.lstrip("-").replace("-", "_")


def number(text: str) -> float:
    """`0.9` as a float."""
    return _read(float, text, "a number")


def whole(text: str) -> int:
    """`5` as a whole number."""
    return _read(int, text, "a whole number")


def numbers(text: str) -> list[float]:
    """`0.3,0.5` as a list of floats; an empty text is an empty list."""
    return [number(part) for part in text.split(",")] if text.strip() else []


def integers(text: str) -> list[int]:
    """`0,1,2` as a list of whole numbers; an empty text is an empty list."""
    return [whole(part) for part in text.split(",")] if text.strip() else []


def normalization(text: str) -> list[list[float]]:
    """`MEAN,STD`: two numbers for all colours, or three means and then three deviations."""
    values = [number(part) for part in re.split(r"[,;/\s]+", text.strip(" ()[]"))]
    if len(values) == 2:
        return [[values[0]] * 3, [values[1]] * 3]
    if len(values) != 6:
        raise ValueError("give two numbers (MEAN,STD) or six (three means, three deviations).")
    return [values[:3], values[3:]]


def absolute(text: str) -> str:
    """A path that means the same in the worker's folder as in this one."""
    return str(place(text).absolute()) if text else ""


def weights(text: str) -> str:
    """`none`, `pretrained`, or a file."""
    return text if text in PLAIN_WEIGHTS else absolute(text)


def _read(kind: Callable[[str], Value], text: str, name: str) -> Value:
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"{shortened(text)} is not {name}.") from None
