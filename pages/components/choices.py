"""The settings of the Tune page: in the session, in the link, in a settings file.

Every setting has a widget key, `w.` and its dotted name. A preset, a link or a file fills these
keys before the widgets are drawn. Here settings are values by dotted name, because they may be
incomplete: own images without a path are not a spec yet.
"""

from __future__ import annotations

import dataclasses
import json
import re
import typing
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import streamlit as st

from pages.components import number_lists
from pruning_core.common.errors import SpecError
from pruning_core.methods.datasets import DATASETS
from pruning_core.methods.sparsity_schedules import CUSTOM
from pruning_core.planning.presets import PRESETS, QUICKSTART
from pruning_core.settings.fields import fields_of
from pruning_core.settings.messages import for_page
from pruning_core.settings.relevance import is_read
from pruning_core.settings.serialization import plain, to_dict
from pruning_core.settings.spec import Spec, from_dict

Values = dict[str, Any]

PREFIX = "w."
# Keys of the session.
VALUES = "settings"
OPENED_LINKS = "opened links"
LINK_PROBLEMS = "link problems"
ATTEMPTED_SPEC = "attempted spec"

PLACEHOLDER_PATH = "."
LONGEST_PROBLEM = 300
FIELDS = fields_of(Spec)
# A custom schedule implies its number of steps and its target: all of them are valid, or none.
SCHEDULE_SETTINGS = tuple(
    f"iterative.{name}" for name in ("schedule", "custom_schedule", "iterations", "target")
)


@dataclass(frozen=True)
class Reading:
    """Values that make a spec, and an error for each that was left out."""

    values: Values
    errors: tuple[SpecError, ...] = ()

    @property
    def problems(self) -> tuple[str, ...]:
        """The errors as sentences of limited length."""
        sentences = (for_page(error) for error in self.errors)
        return tuple(
            text if len(text) <= LONGEST_PROBLEM else f"{text[:LONGEST_PROBLEM]}…"
            for text in sentences
        )


def flat(value: dict[str, Any], prefix: str = "") -> Values:
    """`{"data": {"name": "digits"}}` as `{"data.name": "digits"}`."""
    values: Values = {}
    for name, inner in value.items():
        if isinstance(inner, dict):
            values.update(flat(inner, f"{prefix}{name}."))
        else:
            values[prefix + name] = inner
    return values


def nested(values: Values) -> dict[str, Any]:
    """The inverse of `flat`."""
    result: dict[str, Any] = {}
    for name, value in values.items():
        *path, last = name.split(".")
        section = result
        for part in path:
            section = section.setdefault(part, {})
        section[last] = value
    return result


DEFAULTS = flat(to_dict(QUICKSTART))
PRESET_VALUES = {preset.spec.label: flat(to_dict(preset.spec)) for preset in PRESETS.values()}


def lacks_images(values: Values) -> bool:
    """Whether own images are chosen, but no folder or file yet."""
    dataset = DATASETS.get(values["data.name"])
    return bool(dataset and dataset.own and not values["data.path"])


def spec_of(values: Values) -> Spec:
    """The spec of these values; own images may still lack a path. Raises `SpecError`."""
    path = {"data.path": PLACEHOLDER_PATH} if lacks_images(values) else {}
    return from_dict(nested({**values, **path}))


def unchecked(cls: Any, value: dict[str, Any]) -> Any:
    """A settings object without any check, so that conditions can be asked of invalid settings."""
    settings = object.__new__(cls)
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        inner = value[field.name]
        inner = unchecked(hints[field.name], inner) if isinstance(inner, dict) else inner
        object.__setattr__(settings, field.name, inner)
    return settings


def resolve(given: Values, base: Values, *, all_errors: bool = True) -> Reading:
    """As many of the given values as make a spec together; `base` replaces the others.

    Without `all_errors` a section reports its first error only: the value that replaces the wrong
    one may contradict other settings, which is no error of the person who chose them.
    """
    values, errors, reported = {**base, **given}, list[SpecError](), set[str]()
    # Compared as text, because False equals 0 in Python.
    changed = {name for name in given if json.dumps(given[name]) != json.dumps(base[name])}
    while changed and (error := _error_of(values)):
        section = error.field.partition(".")[0]
        if all_errors or section not in reported:
            errors.append(error)
        reported.add(section)
        wrong = _wrong_settings(error, values, base, changed)
        values.update({name: base[name] for name in wrong})
        changed -= wrong
    path = {"data.path": ""} if lacks_images(values) else {}
    return Reading({**flat(to_dict(spec_of(values))), **path}, tuple(errors))


def _error_of(values: Values) -> SpecError | None:
    try:
        spec_of(values)
    except SpecError as error:
        return error
    return None


def _wrong_settings(error: SpecError, values: Values, base: Values, changed: set[str]) -> set[str]:
    """The setting that the error names; else the one without which no error remains; else all."""
    custom = error.field in SCHEDULE_SETTINGS and values["iterative.schedule"] == CUSTOM
    if custom and (together := changed & set(SCHEDULE_SETTINGS)):
        return together
    if error.field in changed:
        return {error.field}
    single = (n for n in sorted(changed) if _error_of({**values, n: base[n]}) is None)
    return {name} if (name := next(single, None)) else set(changed)


def params(spec: Spec) -> dict[str, str]:
    """The settings that differ from the quick start, as URL parameters."""
    return link_of(flat(to_dict(spec)))


def link_of(values: Values) -> dict[str, str]:
    """The values that differ from the quick start, as URL parameters.

    A changed preset has no label, and the link needs none to say so.
    """
    changed = {name: value for name, value in values.items() if value != DEFAULTS[name]}
    if changed.get("label") == "":
        del changed["label"]
    return {name: v if isinstance(v, str) else _json_text(v) for name, v in changed.items()}


def _json_text(value: Any) -> str:
    return json.dumps(plain(value) if isinstance(value, float) else value)


def from_params(given: dict[str, str]) -> Reading:
    """The values of URL parameters; the quick start replaces missing and invalid ones."""
    values: Values = {}
    errors = []
    for name, text in given.items():
        if name not in DEFAULTS:
            unknown = number_lists.quoted(name).strip("'")
            errors.append(SpecError(unknown, "there is no setting of this name."))
            continue
        try:
            values[name] = text if isinstance(DEFAULTS[name], str) else json.loads(text)
        except (ValueError, RecursionError):
            errors.append(SpecError(name, "{text} cannot be read.", text=number_lists.quoted(text)))
    resolved = resolve(values, DEFAULTS)
    return Reading(_without_old_label(resolved.values), (*errors, *resolved.errors))


def load(spec: Spec) -> None:
    """Put a spec into the widgets; call before they are drawn, or in a callback."""
    fill_widgets(flat(to_dict(spec)))


def fill_widgets(values: Values, problems: tuple[str, ...] = ()) -> None:
    """Put values into the widgets. `problems` are shown until a setting changes."""
    st.session_state[VALUES] = values
    st.session_state[LINK_PROBLEMS] = problems
    st.session_state.setdefault(OPENED_LINKS, []).append(link_of(values))
    for name, value in values.items():
        st.session_state[PREFIX + name] = to_widget(name, value)


def begin() -> None:
    """Fill the widgets when a session starts, and when a new link is opened.

    Call it before the widgets are drawn, and after anything else that changes them.

    After two quick moves of a slider the browser may still send the address of the first. Such an
    address is no new link, and must not undo the second move.
    """
    given = st.query_params.to_dict()
    opened = st.session_state.setdefault(OPENED_LINKS, [])
    if VALUES not in st.session_state or (given and given not in opened):
        opened.append(given)
        reading = from_params(given)
        fill_widgets(reading.values, reading.problems)
    elif f"{PREFIX}seeds" not in st.session_state:
        # Streamlit drops the widgets of a page that was left.
        fill_widgets(st.session_state[VALUES], st.session_state[LINK_PROBLEMS])
    st.session_state[ATTEMPTED_SPEC] = _attempted_spec(_read_widgets()[0])


def remember(values: Values) -> None:
    """Store the values in the session and in the address."""
    if values != st.session_state[VALUES]:
        st.session_state[LINK_PROBLEMS] = ()
    st.session_state[VALUES] = values
    link = link_of(values)
    if link not in st.session_state[OPENED_LINKS]:
        st.session_state[OPENED_LINKS].append(link)
    if st.query_params.to_dict() != link:
        st.query_params.from_dict(link)


def attempted_spec() -> Spec:
    """The settings as the widgets hold them, valid or not, to ask which of them have an effect."""
    spec: Spec = st.session_state[ATTEMPTED_SPEC]
    return spec


def link_problems() -> tuple[str, ...]:
    """The problems of the link that was opened, until a setting changes."""
    return tuple(st.session_state.get(LINK_PROBLEMS, ()))


def collect() -> Reading:
    """The values of the widgets; the last valid ones replace invalid ones.

    A wrong value of a setting without an effect is replaced, too, but it is not reported.
    """
    values, errors = _read_widgets()
    resolved = resolve(values, st.session_state[VALUES], all_errors=False)
    errors = [*errors, *resolved.errors]
    return Reading(_without_old_label(resolved.values), tuple(_with_effect(errors, values)))


def _read_widgets() -> tuple[Values, list[SpecError]]:
    """The value of each widget that can be read, and an error for each that cannot."""
    last_valid: Values = st.session_state[VALUES]
    values: Values = {}
    errors = []
    for name in DEFAULTS:
        shown = st.session_state.get(PREFIX + name, to_widget(name, last_valid[name]))
        try:
            values[name] = from_widget(name, shown)
        except ValueError as error:
            errors.append(SpecError(name, "{reason}", reason=error))
    return values, errors


def _attempted_spec(values: Values) -> Spec:
    spec: Spec = unchecked(Spec, nested({**st.session_state[VALUES], **values}))
    return spec


def _with_effect(errors: Iterable[SpecError], values: Values) -> Iterable[SpecError]:
    """The errors of settings that have an effect.

    A custom schedule implies the number of steps and the target, so they have no effect beside
    it. An error that names one of them is an error of the schedule.
    """
    spec = _attempted_spec(values)
    for error in errors:
        name = "iterative.schedule" if error.field in SCHEDULE_SETTINGS else error.field
        if name not in FIELDS or is_read(name, spec):
            yield error


def _without_old_label(values: Values) -> Values:
    """A preset that was changed loses the name of the preset."""
    preset = PRESET_VALUES.get(values["label"], values)
    return values if values == preset else {**values, "label": ""}


def to_widget(name: str, value: Any) -> Any:
    """A setting as its widget holds it: percent for shares, text for lists, empty for all."""
    field = FIELDS[name]
    if field.is_list and field.is_share:
        return number_lists.percent_text(value)
    if field.is_list:
        return ", ".join(value) if field.item_type is str else number_lists.number_text(value)
    if field.about.none_is_zero:
        return value or None
    return round(value * 100, 4) if field.is_share else value


def from_widget(name: str, value: Any) -> Any:
    """The inverse of `to_widget`. Raises `ValueError` where a text cannot be read."""
    field = FIELDS[name]
    if field.is_list and field.is_share:
        return number_lists.parse_percent(value)
    if field.is_list and field.item_type is str:
        return [part.strip() for part in re.split("[,;]", value) if part.strip()]
    if field.is_list:
        return number_lists.parse(value, field.item_type)
    if field.about.none_is_zero:
        return value or 0
    if field.type is str:
        return (value or "").strip()
    return round(value / 100, 6) if field.is_share else value
