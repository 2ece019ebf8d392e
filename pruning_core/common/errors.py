"""Settings classes: the error that names a setting, checks, and the way to and from JSON."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
import sys
import types
import typing
from typing import Any

SHOWN_CHARACTERS = 80
VALUE_CHARACTERS, PATH_CHARACTERS, MESSAGE_CHARACTERS = 60, 250, 1000
HIGHEST = 10**12
TYPE_NAMES = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}


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


def plain(value: float) -> float:
    """A number rounded to 1e-6, and whole where it is whole: 2 and 2.0 have one key and text."""
    if isinstance(value, int):
        return value
    rounded = round(value, 6)
    return int(rounded) if rounded.is_integer() else rounded


def canonical(value: Any) -> Any:
    """The same value with floats rounded to 1e-6 and tuples as lists, fit for JSON."""
    if isinstance(value, float):
        return round(value, 6) + 0.0
    if isinstance(value, dict):
        return {str(k): canonical(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [canonical(v) for v in value]
    return value


def canonical_json(value: Any) -> str:
    """One text for one meaning: sorted keys, no spaces, rounded floats."""
    return json.dumps(canonical(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def to_dict(spec: Any) -> dict[str, Any]:
    """A settings object as plain JSON values, every field included."""
    return typing.cast(dict[str, Any], canonical(dataclasses.asdict(spec)))


def build(cls: Any, value: Any, prefix: str = "") -> Any:
    """A settings object from JSON values. Raises `SpecError`; `prefix` starts its fields."""
    check(isinstance(value, dict), prefix.rstrip(".") or "spec", "a JSON object is needed here.")
    hints = typing.get_type_hints(cls)
    unknown = sorted(set(value) - set(hints))
    check(not unknown, prefix + (unknown or [""])[0], "there is no setting of this name.")
    fields = {name: _convert(hints[name], v, prefix + name) for name, v in value.items()}
    try:
        return cls(**fields)
    except SpecError as error:
        nested = prefix and not error.field.startswith(prefix)
        raise SpecError(prefix + error.field if nested else error.field, error.message) from None


def _convert(hint: Any, value: Any, name: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return build(hint, value, name + ".")
    if isinstance(hint, types.GenericAlias):
        check(isinstance(value, list), name, "a list is needed here.")
        return tuple(_convert(typing.get_args(hint)[0], v, name) for v in value)
    if hint is float and type(value) is int:
        value = float(value) if abs(value) < sys.float_info.max else math.inf
    ok = type(value) is hint and not (hint is float and not math.isfinite(value))
    check(ok, name, f"{shortened(value)} is not {TYPE_NAMES[hint]}.")
    check(hint is not str or _is_unicode(value), name, f"{value!r} is not readable as UTF-8.")
    return value


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


def _is_unicode(text: str) -> bool:
    """False for a name that the file system holds in another encoding than UTF-8."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text)
