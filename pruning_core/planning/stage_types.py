"""What each kind of stage takes and returns: one class of settings and one of results a kind.

A stage's settings and result are kept as JSON objects. `stored` writes them and `restored` reads
them; a field that is None does not apply to the stage and is left out, so a field that is added
later with None as default changes no key. A field of a result that is added later needs a default,
or a new version of its kind of stage. Times are in seconds, sizes in bytes, shares and
accuracies fractions from 0 to 1.
"""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

Json = dict[str, Any]
T = TypeVar("T")


def stored(value: Any) -> Json:
    """Settings or a result as a JSON object, without the fields that do not apply."""
    fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    return {name: item for name, item in fields.items() if item is not None}


def restored(cls: type[T], value: Json) -> T:
    """The settings or the result in a JSON object; entries of other names are ignored."""
    names = {f.name for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    return cls(**{name: item for name, item in value.items() if name in names})
