"""Widgets of settings. A widget follows from the description of its field.

Its label is the setting's title, its key is `w.` and the setting's dotted name, its help, bounds
and choices are those of the field. A setting without an effect is not drawn.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st

from pages.components.choices import PREFIX, attempted_spec, widget_value
from pages.components.markdown import inline
from pages.components.setting_sections import FIELDS, Row
from pruning_core.common.errors import HIGHEST
from pruning_core.methods.registry import Registry
from pruning_core.methods.sparsity_schedules import CUSTOM
from pruning_core.settings.fields import Field
from pruning_core.settings.relevance import is_offered

Callbacks = Mapping[str, Callable[[], None]]
SMALLEST_DIFFERENCE = 1e-6


def key(name: str) -> str:
    """The widget key of a setting."""
    return PREFIX + name


@dataclass(frozen=True)
class Form:
    """What the widgets of a page share.

    `callbacks` are called when a setting changes; `errors` are sentences on wrong settings. Both
    are by the name of the setting.
    """

    callbacks: Callbacks = dataclasses.field(default_factory=dict)
    errors: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def draw(self, rows: Sequence[Row]) -> None:
        """Draw the widgets of these settings; those of a tuple are side by side."""
        for row in rows:
            names = [name for name in ((row,) if isinstance(row, str) else row) if is_shown(name)]
            columns = st.columns(len(names)) if len(names) > 1 else [st.container()]
            for column, name in zip(columns, names, strict=False):
                with column:
                    self.draw_setting(name)

    def draw_setting(self, name: str) -> Any:
        """Draw the widget of one setting, and under it what is wrong with it. Returns its value."""
        value = _widget(name, self.callbacks.get(name))
        self.draw_error(name)
        return value

    def draw_error(self, name: str) -> None:
        """Draw what is wrong with a setting, if anything."""
        if name in self.errors:
            st.error(inline(self.errors[name]))


def is_shown(name: str) -> bool:
    """Whether a setting has an effect beside the others, so that its widget is drawn.

    A custom schedule is empty beside any other sparsity schedule.
    """
    spec = attempted_spec()
    if name == "iterative.custom_schedule" and spec.iterative.schedule != CUSTOM:
        return False
    return is_offered(name, spec)


def _widget(name: str, on_change: Callable[[], None] | None) -> Any:
    field = FIELDS[name]
    common: dict[str, Any] = {
        "label": field.title,
        "key": key(name),
        "help": _help(field),
        "on_change": on_change,
    }
    # A widget that was not drawn in the last run has lost its value. Without its value a new
    # widget shows its default for some tenths of a second.
    value = st.session_state.setdefault(key(name), widget_value(name))
    if field.type is bool:
        return st.checkbox(**common, value=value)
    if field.about.choices is not None and not field.is_list:
        return _select(field, common)
    if field.is_list or field.type is str or field.about.none_is_zero:
        placeholder = "all" if field.about.none_is_zero else field.about.placeholder
        return st.text_input(**common, value=value, placeholder=placeholder)
    return _number(field, {**common, "value": value})


def _help(field: Field) -> str:
    """The field's help and, where it has choices with help, a line for each."""
    about = field.about
    text = inline(about.help)
    if not isinstance(about.choices, Registry):
        return text
    lines = [
        f"- **{inline(method.title)}**: {inline(method.help)}"
        + (f" {_paper(method)}" if method.paper else "")
        for method in about.choices.values()
        if method.help
    ]
    return "\n".join([text, "", *lines]) if lines else text


def _paper(method: Any) -> str:
    return f"[{method.paper}]({method.url})" if method.url else method.paper


def _select(field: Field, common: dict[str, Any]) -> Any:
    """A select box. A value that was typed, or came with a link, joins the options."""
    options = field.choice_names
    value = st.session_state[common["key"]]
    if value not in options:
        options = (*options, value)
        # A box with other options is a new widget, which would start with the first of them.
        st.session_state[common["key"]] = value
    return st.selectbox(
        options=options,
        index=options.index(value),
        format_func=field.choice_title,
        accept_new_options=field.about.free,
        **common,
    )


def _number(field: Field, common: dict[str, Any]) -> Any:
    low, high, step = _bounds(field)
    low, high = widened(field.name, low, high)
    if field.about.slider:
        return st.slider(min_value=low, max_value=high, step=step, format=_format(field), **common)
    if field.about.none_is_zero:
        return st.number_input(min_value=1, max_value=high, step=1, placeholder="all", **common)
    if field.is_share:
        # A number input, unlike a slider, cannot show the sign.
        common["help"] = f"In percent. {common['help']}"
    form = "%g" if isinstance(low, float) else None
    return st.number_input(min_value=low, max_value=high, step=step, format=form, **common)


def _format(field: Field) -> str:
    """The format of a slider's value, with its unit where there is room."""
    if field.is_share:
        return "%g %%"
    return f"%d {field.about.unit}" if field.type is int and field.about.unit else "%g"


def _bounds(field: Field) -> tuple[Any, Any, Any]:
    """The usual bounds and the step of a number's widget, in percent for shares.

    An exclusive bound is moved by the smallest difference that a setting keeps.
    """
    about = field.about
    smallest = 1 if field.type is int else SMALLEST_DIFFERENCE
    if about.slider:
        low, high = about.slider
    else:
        low = about.minimum if about.minimum is not None else (about.above or 0) + smallest
        high = about.maximum if about.maximum is not None else HIGHEST
        high = about.below - smallest if about.below is not None else high
    if field.type is int:
        return int(low), int(high), int(about.step or 1)
    factor = 100.0 if field.is_share else 1.0
    low, high, step = (round(factor * value, 6) for value in (low, high, about.step or 0.01))
    return low, high, step


def widened(name: str, low: Any, high: Any) -> tuple[Any, Any]:
    """The usual bounds, wide enough for what a link or a file holds.

    A spec may hold more than a slider usually shows, and being shown must not change it. The
    bounds never shrink while a session lasts, so that a control does not change during a drag.
    """
    # One entry of the session holds all bounds: a lookup in the session costs more the more
    # entries it has.
    bounds = st.session_state.setdefault("bounds", {})
    least, most = bounds.get(name, (low, high))
    value = st.session_state.get(key(name))
    if value is not None:
        least, most = min(least, value), max(most, value)
    bounds[name] = (least, most)
    return least, most
