"""Types of command-line arguments: what a text must be, and the value it becomes."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, TypeVar

from pruning_core.common.errors import shortened
from pruning_core.common.files import expand_path
from pruning_core.methods.budgets import BUDGETS, read_limit
from pruning_core.methods.registry import Registry

MAX_COUNT = 10**6
Value = TypeVar("Value", int, float)
Item = TypeVar("Item")


def number(kind: Callable[[str], Value], text: str) -> Value:
    """A number of the type `int` or `float`. Raises `ValueError` with a sentence."""
    try:
        return kind(text)
    except ValueError:
        noun = "a whole number" if kind is int else "a number"
        raise ValueError(f"{shortened(text)} is not {noun}.") from None


def read_share(text: str) -> float:
    """`0.9` or `90%` as 0.9. Raises `ValueError` with a sentence."""
    if text.endswith("%"):
        return number(float, text.removesuffix("%").strip()) / 100
    return number(float, text)


def folder(text: str) -> Path:
    """A folder; it need not exist."""
    if not text:
        raise argparse.ArgumentTypeError("name a folder")
    return expand_path(text)


def count(text: str) -> int:
    """A whole number from 0 to a million."""
    if not text.isdecimal() or int(text[:8]) > MAX_COUNT:
        message = f"{shortened(text)} is not a whole number up to {MAX_COUNT:,}"
        raise argparse.ArgumentTypeError(message)
    return int(text)


def positive(text: str) -> int:
    """A whole number from 1 to a million."""
    value = count(text)
    if not value:
        raise argparse.ArgumentTypeError("0 is too low; give at least 1")
    return value


def positives(text: str) -> list[int]:
    """`1,10,100` as a list of whole numbers from 1 on."""
    return _items(text, positive)


def limit(text: str) -> float | None:
    """A number from 0, or `none` for no limit."""
    if text == "none":
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{shortened(text)} is no number from 0, and not none")
    return value


def seconds(text: str) -> float:
    """A number of seconds from 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not value >= 0:
        raise argparse.ArgumentTypeError(f"{shortened(text)} is not a number of seconds")
    return value


def share(text: str) -> float:
    """A fraction, such as `0.9`, also in percent: `90%`."""
    try:
        return read_share(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error).removesuffix(".")) from None


def budget(text: str) -> tuple[str, float]:
    """`bytes=0.9MB` as the name of a budget and its limit; also `zeros=80%`, `macs=30M`, `ms=2`."""
    name, _, limit_text = (part.strip() for part in text.partition("="))
    if name not in BUDGETS:
        known = ", ".join(BUDGETS)
        raise argparse.ArgumentTypeError(
            f"{shortened(text)} is not a budget such as bytes=0.9MB; choose from {known}"
        )
    try:
        return name, read_limit(name, limit_text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error).removesuffix(".")) from None


def integers(text: str) -> list[int]:
    """`0,1,2` as a list of whole numbers."""
    return _items(text, lambda part: number(int, part))


def numbers(text: str) -> list[float]:
    """`2,0.5` as a list of numbers."""
    return _items(text, lambda part: number(float, part))


def shares(text: str) -> list[float]:
    """`0.5,90%` as a list of fractions."""
    return _items(text, read_share)


def names(choices: Collection[str], noun: str) -> Callable[[str], list[str]]:
    """The type of a list of names, each of which is one of the choices."""

    def name(part: str) -> str:
        if part not in choices:
            known = ", ".join(choices)
            raise ValueError(f"{shortened(part)} is not a {noun}; choose from {known}")
        return part

    return lambda text: _items(text, name)


def add_names(command: argparse.ArgumentParser, flag: str, choices: Registry[Any]) -> None:
    """An option that takes names of a registry, by default all of them."""
    text = f"{choices.kind}s, of {', '.join(choices)} (default: all)"
    command.add_argument(
        flag,
        type=names(choices, choices.kind),
        default=list(choices),
        metavar="NAME,NAME",
        help=text,
    )


def _items(text: str, convert: Callable[[str], Item]) -> list[Item]:
    """The parts of a list that is separated by commas; at least one."""
    if not text.strip():
        raise argparse.ArgumentTypeError("give at least one value")
    try:
        return [convert(part.strip()) for part in text.split(",")]
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error).removesuffix(".")) from None
