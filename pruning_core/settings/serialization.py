"""Settings to and from JSON, and the canonical JSON that enters a key."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import sys
import types
import typing
from typing import Any

from pruning_core.common.errors import SpecError, check, shortened
from pruning_core.settings.fields import METADATA

NO_SUCH_SETTING = "there is no setting of this name."
JSON_NAMES = {True: "true", False: "false", None: "null"}
LARGEST_EXACT = 2.0**53  # above it, a float does not hold every whole number
TYPE_NAMES = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}


def plain(value: float) -> float:
    """A number rounded to 1e-6, as int where it is whole: 2 and 2.0 have one key and text."""
    if isinstance(value, int):
        return value
    rounded = round(value, 6)
    return int(rounded) if rounded.is_integer() else rounded


def canonical(value: Any) -> Any:
    """A value as JSON types, with floats rounded to 1e-6 and tuples as lists."""
    if isinstance(value, float):
        return round(value, 6) + 0.0
    if isinstance(value, dict):
        return {str(k): canonical(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [canonical(v) for v in value]
    return value


def canonical_json(value: Any) -> str:
    """A value as canonical JSON: sorted keys, no spaces, rounded floats."""
    return json.dumps(canonical(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def to_dict(spec: Any) -> dict[str, Any]:
    """A settings object as plain JSON values, every field included."""
    return typing.cast(dict[str, Any], canonical(dataclasses.asdict(spec)))


def keyed(settings: Any) -> dict[str, Any]:
    """The settings that enter a key: as `to_dict`, without those at their neutral value."""
    neutral = {
        field.name
        for field in dataclasses.fields(settings)
        if METADATA in field.metadata
        and getattr(settings, field.name) == field.metadata[METADATA].neutral
    }
    return {name: value for name, value in to_dict(settings).items() if name not in neutral}


def build(cls: Any, value: Any, prefix: str = "") -> Any:
    """A settings object from JSON values. Raises `SpecError`; `prefix` starts its fields."""
    check(isinstance(value, dict), prefix.rstrip(".") or "spec", "a JSON object is needed here.")
    hints = _hints(cls)
    unknown = sorted(set(value) - set(hints))
    check(not unknown, prefix + (unknown or [""])[0], NO_SUCH_SETTING)
    fields = {name: _convert(hints[name], v, prefix + name) for name, v in value.items()}
    try:
        return cls(**fields)
    except SpecError as error:
        if prefix and not error.field.startswith(prefix):
            raise error.for_field(prefix + error.field) from None
        raise


@functools.cache
def _hints(cls: Any) -> dict[str, Any]:
    """The types of the fields of a class. Python evaluates them anew each time."""
    return typing.get_type_hints(cls)


def _convert(hint: Any, value: Any, name: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return build(hint, value, name + ".")
    if isinstance(hint, types.GenericAlias):
        check(isinstance(value, list), name, "a list is needed here.")
        return tuple(_convert(typing.get_args(hint)[0], v, name) for v in value)
    if hint is float and type(value) is int:
        value = float(value) if abs(value) < sys.float_info.max else math.inf
    if hint is int and type(value) is float and value.is_integer() and abs(value) < LARGEST_EXACT:
        value = int(value)  # other programs write whole numbers as 20.0 or 2e1
    ok = type(value) is hint and not (hint is float and not math.isfinite(value))
    shown = JSON_NAMES[value] if isinstance(value, bool | None) else shortened(value)
    check(ok, name, "{value} is not {type}.", value=shown, type=TYPE_NAMES[hint])
    if hint is str:
        check(_is_unicode(value), name, "{value} is not readable as UTF-8.", value=shown)
    # Keys and files hold rounded numbers, so a run uses the same.
    rounded = canonical(value)
    check(
        rounded == value or rounded != 0,
        name,
        "{value} is too close to 0: settings are rounded to 0.000001. Give at least "
        "that, or 0 where it is allowed.",
        value=shown,
    )
    return rounded


def _is_unicode(text: str) -> bool:
    """False for a file name that is not valid UTF-8."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text)
