"""The settings of the Tune page in the session: widgets, address, and the last valid values.

Every setting has a widget key, `w.` and its dotted name. A preset, a link or a file fills these
keys before the widgets are drawn.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import streamlit as st

from pages.components import number_lists
from pages.components.setting_values import (
    DEFAULTS,
    SCHEDULE_SETTINGS,
    Reading,
    Values,
    flat,
    from_params,
    link_of,
    nested,
    resolve,
    unchecked,
    without_old_label,
)
from pruning_core.common.errors import SpecError
from pruning_core.settings.fields import fields_of
from pruning_core.settings.relevance import has_effect
from pruning_core.settings.serialization import to_dict
from pruning_core.settings.spec import Spec

PREFIX = "w."
# Keys of the session.
VALUES = "settings"
OPENED_LINKS = "opened links"
LINK_PROBLEMS = "link problems"
ATTEMPTED_SPEC = "attempted spec"

FIELDS = fields_of(Spec)


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
    return Reading(without_old_label(resolved.values), tuple(_with_effect(errors, values)))


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
        if name not in FIELDS or has_effect(name, spec):
            yield error


def to_widget(name: str, value: Any) -> Any:
    """A setting as its widget holds it: shares in percent, lists as text, all images as empty."""
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
