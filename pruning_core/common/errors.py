"""Settings classes: the error that names a setting, checks, and the way to and from JSON."""

from __future__ import annotations

import os
import re

SHOWN_CHARACTERS = 80
VALUE_CHARACTERS, PATH_CHARACTERS, MESSAGE_CHARACTERS = 60, 250, 1000
HIGHEST = 10**12


class SpecError(ValueError):
    """A setting is wrong. `field` is its dotted name, such as `one_shot.amounts`."""

    def __init__(self, field: str, message: str) -> None:
        self.field = field
        self.message = brief(message)
        super().__init__(f"{field}: {self.message}")


def check(ok: bool, field: str, message: str) -> None:
    """Raise `SpecError` unless `ok`."""
    if not ok:
        raise SpecError(field, message)


def one_of(field: str, value: str, choices: tuple[str, ...]) -> None:
    """Refuse a text that is none of the choices."""
    check(value in choices, field, f"{value!r} is not one of {', '.join(choices)}.")


def at_least(field: str, value: float, low: float) -> None:
    """Refuse a number below `low`, and one that no browser could show."""
    check(value >= low, field, f"{value} is too small; give {low} or more.")
    too_large = isinstance(value, int) and value > HIGHEST
    check(not too_large, field, f"{value} is too large; give {HIGHEST:,} at most.")


def shortened(value: object) -> str:
    """A value as a message shows it: in quotes where it is text, and not without end."""
    text = repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[: SHOWN_CHARACTERS - 3]}..."


def brief(message: str) -> str:
    """A message in which no value, path or whole sentence goes on without end."""
    words = re.sub(r"\S+", lambda found: _middle_cut(found[0]), message)
    return _cut(words, MESSAGE_CHARACTERS)


def _middle_cut(word: str) -> str:
    return _cut(word, PATH_CHARACTERS if os.sep in word else VALUE_CHARACTERS)


def _cut(text: str, most: int) -> str:
    """The text, or its beginning and its end."""
    half = (most - 3) // 2
    return text if len(text) <= most else f"{text[:half]}...{text[-half:]}"
