"""One widget for one setting. Its label is the setting's title, its key `w.` and its name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import streamlit as st

from pages.components.choices import PREFIX
from pruning_core.settings.messages import OPTION_TITLES, title

Number = TypeVar("Number", int, float)


def key(name: str) -> str:
    """The widget key of a setting."""
    return PREFIX + name


def value_of(name: str) -> Any:
    """What the widget of a setting holds, also before it is drawn."""
    return st.session_state.get(key(name))


def choice(name: str, options: tuple[Any, ...], help: str, **more: Any) -> Any:
    """A select box. `titles` are the options' own where the common ones do not fit.

    What was typed, or came with a link, joins the options.
    """
    titles = more.pop("titles", OPTION_TITLES)
    if (value := value_of(name)) is not None and value not in options:
        options = (*options, value)
        # The box with other options is a new one, which must not begin anew.
        st.session_state[key(name)] = value
    return st.selectbox(
        title(name),
        options,
        key=key(name),
        help=help,
        format_func=lambda option: titles.get(option, str(option)),
        **more,
    )


def text(name: str, help: str, **more: Any) -> None:
    """A text field."""
    st.text_input(title(name), key=key(name), help=help, **more)


def check(name: str, help: str, **more: Any) -> None:
    """A check box."""
    st.checkbox(title(name), key=key(name), help=help, **more)


def number(name: str, low: float, high: float, step: float, help: str, **more: Any) -> None:
    """A number field."""
    _field(name, low, high, step=step, help=help, format="%g", **more)


def whole(name: str, low: int, high: int, help: str, **more: Any) -> None:
    """A field for whole numbers."""
    _field(name, low, high, step=1, help=help, **more)


def size(name: str, help: str) -> None:
    """A field for a number of images; empty takes all."""
    _field(name, 1, 1_000_000, value=None, step=1, help=help, placeholder="all")


def slide(name: str, low: Number, high: Number, help: str, **more: Any) -> None:
    """A slider."""
    least, most = bounds(name, low, high)
    st.slider(title(name), least, most, key=key(name), help=help, **more)


def bounds(name: str, low: Number, high: Number) -> tuple[Number, Number]:
    """The usual bounds of a control, wide enough for what a link or a file has brought.

    A spec may hold more than a slider usually shows; it must not be changed by being shown.
    They never shrink while a session lasts, so that a control does not change under the hand.
    """
    # In one entry: each widget looks through all there are.
    kept = st.session_state.setdefault("bounds", {})
    least, most = kept.get(name, (low, high))
    value = st.session_state.get(key(name))
    kept[name] = (least, most) if value is None else (min(least, value), max(most, value))
    return kept[name]


def set_to(name: str, value_for: Callable[[], Any]) -> Callable[[], None]:
    """A callback that gives a setting the value that suits what was just chosen."""

    def change() -> None:
        st.session_state[key(name)] = value_for()

    return change


def _field(name: str, low: Number, high: Number, **more: Any) -> None:
    least, most = bounds(name, low, high)
    st.number_input(title(name), least, most, key=key(name), **more)
