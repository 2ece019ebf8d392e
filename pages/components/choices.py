"""The choices of the Tune page as one spec: in the session, in the URL, in a file.

Every setting has a widget key, `w.` and its dotted name. What comes from outside (a preset, a
link, a file) fills those keys before the widgets are drawn. Here the choices are values by
dotted name, because they may be unfinished: own images without a path are no spec yet.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

import streamlit as st

from pages.components import number_lists
from pruning_core.common.errors import SpecError
from pruning_core.methods.sparsity_schedules import CUSTOM
from pruning_core.planning.presets import PRESETS, QUICKSTART
from pruning_core.settings.fields import fields_of
from pruning_core.settings.messages import for_page, title
from pruning_core.settings.serialization import plain, to_dict
from pruning_core.settings.spec import Spec, from_dict

Values = dict[str, Any]

PREFIX = "w."
KEPT = "tuned values"
SEEN = "seen links"
TOLD = "link problems"
NO_PATH = "."
LONGEST = 300
FIELDS = fields_of(Spec)
CURRENT = "current spec"
# What a list of typed targets says by itself: these settings go together, or not at all.
LISTED = tuple(f"iterative.{n}" for n in ("schedule", "custom_schedule", "iterations", "target"))


@dataclass(frozen=True)
class Reading:
    """The values that go together, and a sentence on each that was left out."""

    values: Values
    problems: tuple[str, ...] = ()


def flat(value: dict[str, Any], prefix: str = "") -> Values:
    """`{"data": {"name": "digits"}}` as `{"data.name": "digits"}`."""
    found: Values = {}
    for name, inner in value.items():
        if isinstance(inner, dict):
            found.update(flat(inner, f"{prefix}{name}."))
        else:
            found[prefix + name] = inner
    return found


def nested(value: Values) -> dict[str, Any]:
    """The inverse of `flat`."""
    found: dict[str, Any] = {}
    for name, inner in value.items():
        *path, last = name.split(".")
        place = found
        for part in path:
            place = place.setdefault(part, {})
        place[last] = inner
    return found


PLAIN = flat(to_dict(QUICKSTART))
PRESET_VALUES = {preset.spec.label: flat(to_dict(preset.spec)) for preset in PRESETS.values()}


def unfinished(values: Values) -> bool:
    """Own images were chosen, but not yet which."""
    return bool(values["data.name"] == "images" and values["data.path"] == "")


def spec_of(values: Values) -> Spec:
    """The spec of these values; a stand-in is the path of unfinished ones. Raises `SpecError`."""
    stand_in = {"data.path": NO_PATH} if unfinished(values) else {}
    return from_dict(nested({**values, **stand_in}))


def settle(given: Values, base: Values, *, every: bool = True) -> Reading:
    """As many of the given values as go together; in place of the others those of `base`.

    Without `every` the mistakes of a section are told one after another: what stands in place of
    the first may clash with its neighbours, which is no mistake of whoever chose them.
    """
    values, problems, told = {**base, **given}, list[str](), set[str]()
    # As text, for to Python False is 0.
    left = {name for name in given if json.dumps(given[name]) != json.dumps(base[name])}
    while left and (error := _wrong(values)):
        said = for_page(error)
        section = error.field.partition(".")[0]
        if every or section not in told:
            problems.append(said if len(said) <= LONGEST else f"{said[:LONGEST]}…")
        told.add(section)
        guilty = _guilty(error, values, base, left)
        values.update({name: base[name] for name in guilty})
        left -= guilty
    path = {"data.path": ""} if unfinished(values) else {}
    return Reading({**flat(to_dict(spec_of(values))), **path}, tuple(problems))


def _wrong(values: Values) -> SpecError | None:
    try:
        spec_of(values)
    except SpecError as error:
        return error
    return None


def _guilty(error: SpecError, values: Values, base: Values, left: set[str]) -> set[str]:
    """The setting that the error names; else the one without which all is well; else all."""
    listed = error.field in LISTED and values["iterative.schedule"] == CUSTOM
    if listed and (together := left & set(LISTED)):
        return together
    if error.field in left:
        return {error.field}
    single = (n for n in sorted(left) if _wrong({**values, n: base[n]}) is None)
    return {name} if (name := next(single, None)) else set(left)


def params(spec: Spec) -> dict[str, str]:
    """The settings that differ from the quick start, as URL parameters."""
    return link_of(flat(to_dict(spec)))


def link_of(values: Values) -> dict[str, str]:
    """The same for values, which may be unfinished. That a preset was changed shows by itself."""
    changed = {name: v for name, v in values.items() if v != PLAIN[name]}
    if changed.get("label") == "":
        del changed["label"]
    return {name: v if isinstance(v, str) else _written(v) for name, v in changed.items()}


def _written(value: Any) -> str:
    return json.dumps(plain(value) if isinstance(value, float) else value)


def from_params(given: dict[str, str]) -> Reading:
    """What URL parameters say; the quick start where they say nothing or nothing that can be."""
    values: Values = {}
    problems = []
    for name, text in given.items():
        if name not in PLAIN:
            problems.append(f"{number_lists.shown(name)}: there is no setting of this name.")
            continue
        try:
            values[name] = text if isinstance(PLAIN[name], str) else json.loads(text)
        except (ValueError, RecursionError):
            problems.append(f"{title(name)}: {number_lists.shown(text)} cannot be read.")
    settled = settle(values, PLAIN)
    return Reading(_named(settled.values), (*problems, *settled.problems))


def load(spec: Spec) -> None:
    """Make these the choices; call before the widgets are drawn, or in a callback."""
    fill(flat(to_dict(spec)))


def fill(values: Values, problems: tuple[str, ...] = ()) -> None:
    """The same for values, with what is to be told about them until one of them changes."""
    st.session_state[KEPT] = values
    st.session_state[TOLD] = problems
    st.session_state.setdefault(SEEN, []).append(link_of(values))
    for name, value in values.items():
        st.session_state[PREFIX + name] = to_widget(name, value)


def begin() -> None:
    """Fill the widget keys at the session's start, and when a new link was opened.

    The browser may still send an older address of this session after a quick second move of
    a slider; such an address is no new link and must not take the move back.
    """
    given, seen = st.query_params.to_dict(), st.session_state.setdefault(SEEN, [])
    if KEPT not in st.session_state or (given and given not in seen):
        seen.append(given)
        reading = from_params(given)
        fill(reading.values, reading.problems)
    elif f"{PREFIX}seeds" not in st.session_state:
        fill(st.session_state[KEPT], st.session_state[TOLD])
    st.session_state[CURRENT] = spec_of(collect().values)


def keep(values: Values) -> None:
    """Remember the choices and put them into the URL."""
    if values != st.session_state[KEPT]:
        st.session_state[TOLD] = ()
    st.session_state[KEPT] = values
    wanted = link_of(values)
    if wanted not in st.session_state[SEEN]:
        st.session_state[SEEN].append(wanted)
    if st.query_params.to_dict() != wanted:
        st.query_params.from_dict(wanted)


def current_spec() -> Spec:
    """The spec that the widgets now describe, so that relevance can be asked of it."""
    spec: Spec = st.session_state[CURRENT]
    return spec


def told() -> tuple[str, ...]:
    """What could not be used of the link that was opened, until a choice is changed."""
    return tuple(st.session_state.get(TOLD, ()))


def collect() -> Reading:
    """What the widgets now say; in place of what cannot be, what was kept before."""
    kept: Values = st.session_state[KEPT]
    values: Values = {}
    problems = []
    for name in PLAIN:
        shown = st.session_state.get(PREFIX + name, to_widget(name, kept[name]))
        try:
            values[name] = from_widget(name, shown)
        except ValueError as error:
            problems.append(f"{title(name)}: {error}")
    if values.get("pruning.allocation") != "custom":
        values["pruning.layer_sparsities"] = kept[
            "pruning.layer_sparsities"
        ]  # its field rests, whatever it holds
    settled = settle(values, kept, every=False)
    return Reading(_named(settled.values), (*problems, *settled.problems))


def _named(values: Values) -> Values:
    """A preset that was changed no longer bears the preset's name."""
    preset = PRESET_VALUES.get(values["label"], values)
    return values if values == preset else {**values, "label": ""}


def to_widget(name: str, value: Any) -> Any:
    """A setting as its widget holds it: percent for shares, text for lists, empty for all."""
    field = FIELDS[name]
    if field.is_list and field.is_share:
        return number_lists.written_percent(value)
    if field.is_list:
        return ", ".join(value) if field.item_type is str else number_lists.written(value)
    if field.about.none_is_zero:
        return value or None
    return round(value * 100, 4) if field.is_share else value


def from_widget(name: str, value: Any) -> Any:
    """The inverse of `to_widget`. Raises `ValueError` where a text cannot be read."""
    field = FIELDS[name]
    if field.is_list and field.is_share:
        return number_lists.read_percent(value)
    if field.is_list and field.item_type is str:
        return [part.strip() for part in re.split("[,;]", value) if part.strip()]
    if field.is_list:
        return number_lists.read(value, field.item_type)
    if field.about.none_is_zero:
        return value or 0
    if field.type is str:
        return (value or "").strip()
    return round(value / 100, 6) if field.is_share else value
