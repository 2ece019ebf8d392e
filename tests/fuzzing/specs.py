"""Settings files: valid ones with changed, missing and further values, and changed bytes."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from pruning_core.common.errors import SpecError
from pruning_core.common.paths import Cache
from pruning_core.planning.plan import plan
from pruning_core.planning.presets import QUICKSTART
from pruning_core.settings.fields import Field, fields_of
from pruning_core.settings.messages import for_command_line
from pruning_core.settings.serialization import to_dict
from pruning_core.settings.spec import Spec, from_json, read, to_json
from pruning_core.storage.job_record import job_id
from pruning_core.storage.store import Store
from tests.fuzzing.kinds import InputKind, edited, edits

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-3, 9)
    | st.floats()
    | st.floats(0, 1)
    | st.text(max_size=12)
    | st.sampled_from((10**400, "9" * 5000, "\ud800", "../../etc/passwd", -0.0, 1e-320)),
    lambda values: (
        st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=8), values, max_size=3)
    ),
    max_leaves=5,
)


@functools.cache
def _fields() -> dict[str, Field]:
    return fields_of(Spec)


def _valid(field: Field) -> SearchStrategy[Any]:
    """Values that the setting itself allows; other settings may contradict them."""
    about = field.about
    if about.choices:
        return st.sampled_from(tuple(about.choices))
    if isinstance(field.default, bool):
        return st.booleans()
    lowest = about.minimum if about.minimum is not None else about.above
    highest = about.maximum if about.maximum is not None else about.below
    bounds = (lowest or 0, highest if highest is not None else 50)
    if isinstance(field.default, int):
        return st.integers(int(bounds[0]), int(bounds[1]))
    if isinstance(field.default, float):
        return st.floats(*bounds)
    return st.just(field.default)


@st.composite
def spec_files(draw: DrawFn) -> bytes:
    """The bytes of a settings file."""
    values = to_dict(QUICKSTART)
    for name in draw(st.lists(st.sampled_from(list(_fields())), max_size=5)):
        section = values
        *parts, last = name.split(".")
        for part in parts:
            section = section.get(part, {}) if isinstance(section, dict) else {}
        action = draw(st.sampled_from((*(9 * ["replace"]), "remove", "rename")))
        if action == "replace":
            hostile = draw(st.integers(0, 4)) == 0
            section[last] = draw(JSON_VALUES if hostile else _valid(_fields()[name]))
        else:
            kept = section.pop(last, None)
            if action == "rename":
                section[draw(st.text(max_size=12))] = kept
    text = json.dumps(values, ensure_ascii=draw(st.booleans()))
    encoding = draw(st.sampled_from(("utf-8", "utf-8", "utf-8-sig", "utf-16")))
    changes = draw(edits(2)) if draw(st.integers(0, 4)) == 0 else []
    return edited(text.encode(encoding, "surrogatepass"), changes)


def attempt(content: bytes, folder: Path) -> str | None:
    """Read the file and plan the run. What is accepted comes back the same from its own file."""
    path = folder / "spec.json"
    path.write_bytes(content)
    try:
        spec = read(path)
        plan(spec, Store(Cache(folder / "cache")))
    except SpecError as error:
        return for_command_line(error)
    again = from_json(to_json(spec))
    assert to_dict(again) == to_dict(spec)
    assert job_id(again) == job_id(spec)
    return None


SPECS = InputKind("settings files", spec_files(), attempt, share=0.25)
