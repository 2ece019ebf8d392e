"""The address of a page holds all that the page shows, as parameters.

Back, Forward, reload and a copied link restore it. Within one visit to a page the session holds
the values, and the address follows; a new visit, or a new link, starts with the address.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

import streamlit as st
from streamlit.errors import StreamlitAPIException

from pages.components.number_lists import quoted
from pruning_core.common.formatting import trimmed

# Keys of the session.
VISIT = "visit"
ADDRESSES = "addresses"
TEXTS = "texts"  # the last text of each select box, by its key
MOST_NAMED = 6  # choices that a message lists
NONE = "none"  # the text of an empty list, which differs from no parameter

Parameters = dict[str, str]


@dataclass(eq=False)
class Visit:
    """A visit to a page: from its opening until another page is opened.

    `written` are the addresses that were written in it. After two quick moves of a slider the
    browser may still send the address of the first; it is no new link, and must not undo the
    second move. `values` are those of the page's parameters, `given` those that came with the
    link, and `problems` what is wrong with it. `whole` is true while the whole page is drawn.
    """

    page: str
    opened: bool = False
    whole: bool = True
    written: list[Parameters] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)
    given: Parameters = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def visit_page(page: str) -> None:
    """Begin to draw a page: with a new visit where the session showed another page before."""
    if page != getattr(st.session_state.get(VISIT), "page", None):
        st.session_state[VISIT] = Visit(page)
    st.session_state[VISIT].whole = True


def new_link() -> Parameters | None:
    """The parameters that this visit has not read yet; None without any."""
    visit: Visit = st.session_state[VISIT]
    given: Parameters = st.query_params.to_dict()
    return given if not visit.opened or given not in visit.written else None


def link_opened(given: Parameters) -> None:
    """Store that the parameters of a new link were read."""
    visit: Visit = st.session_state[VISIT]
    visit.opened = True
    if given not in visit.written:
        visit.written.append(given)


def write_address(parameters: Parameters) -> None:
    """Make these the parameters of the address, and of the links to this page."""
    visit: Visit = st.session_state[VISIT]
    visit.whole = False
    link_opened(parameters)
    st.session_state.setdefault(ADDRESSES, {})[visit.page] = parameters
    if st.query_params.to_dict() != parameters:
        st.query_params.from_dict(parameters)


def last_address(page: str) -> Parameters:
    """The parameters of the last visit of this session to a page."""
    parameters: Parameters = st.session_state.get(ADDRESSES, {}).get(page, {})
    return parameters


def keep_hidden(values: Mapping[str, Any]) -> None:
    """Keep the values of widgets, by key, that were not drawn; call after all others are drawn.

    When a widget is no longer drawn, the session forgets its value, and returns to the one that was
    under its key before the widget was drawn for the first time.
    """
    for key, value in values.items():
        # The session refuses the key of a widget that was drawn: it keeps the value itself.
        with suppress(StreamlitAPIException):
            st.session_state[key] = value


@dataclass(frozen=True)
class Parameter:
    """A parameter of an address, with the functions that read and write its value.

    `read` raises `ValueError` with a sentence where the text is no valid value. A value equal to
    `default` is left out of the address.
    """

    name: str
    default: Any = ""
    read: Callable[[str], Any] = str
    text: Callable[[Any], str] = str

    @property
    def default_text(self) -> str:
        """The default as a message names it; empty where it is no value."""
        if self.default is None:
            return "the default"
        text = self.text(self.default)
        return "" if text in ("", NONE) else f"the default {quoted(text)}"


def number(name: str, default: float, low: float, high: float) -> Parameter:
    """A parameter with a number from `low` to `high`; a whole one where `default` is whole."""
    kind = type(default)

    def read(text: str) -> float:
        with suppress(ValueError):
            if low <= (value := kind(text)) <= high:
                return value
        raise ValueError(f"use a number from {trimmed(low, 6)} to {trimmed(high, 6)}")

    return Parameter(name, default, read, lambda value: trimmed(value, 6))


def choice(name: str, options: Sequence[Any]) -> Parameter:
    """A parameter with one of several values; the default is the first of them."""
    by_text = {str(option): option for option in options}

    def read(text: str) -> Any:
        if text not in by_text:
            raise ValueError(f"use one of {', '.join(filter(None, by_text))}")
        return by_text[text]

    return Parameter(name, options[0], read)


def some_of(name: str, options: Sequence[Any], default: Sequence[Any]) -> Parameter:
    """A parameter with any of several values."""
    by_text = {str(option): option for option in options}

    def read(text: str) -> list[Any]:
        parts = [part for part in text.split(",") if part != NONE]
        if not set(parts) <= set(by_text):
            raise ValueError(f"use some of {', '.join(by_text)}")
        return [by_text[part] for part in dict.fromkeys(parts)]

    return Parameter(name, list(default), read, lambda v: ",".join(map(str, v)) or NONE)


def id_list(name: str) -> Parameter:
    """A parameter with any number of ids; by default it has no value."""

    def read(text: str) -> list[str]:
        return list(dict.fromkeys(part for part in text.split(",") if part and part != NONE))

    return Parameter(name, None, read, lambda ids: ",".join(ids) or NONE)


class Address:
    """The parameters of a page. Each is the value of the widget with the key `key(name)`."""

    def __init__(self, page: str, *parameters: Parameter) -> None:
        self.page, self.parameters = page, {one.name: one for one in parameters}

    def key(self, name: str) -> str:
        """The key of a parameter's widget."""
        return f"{self.page}.{name}"

    def open(self) -> bool:
        """Read a new link into the session, and return whether there is one.

        Call it before the widgets are drawn. A widget that was not drawn in the last run has lost
        its value, which is set again.
        """
        visit, given = self._visit(), new_link()
        if given is not None:
            self.read(given)
        for name in self.parameters:
            if self.key(name) not in st.session_state:
                self[name] = visit.values[name]
        self._follow_widgets()
        return given is not None

    def read(self, given: Parameters) -> None:
        """Put the parameters of a link into the session, and defaults for those it lacks."""
        visit = self._visit()
        visit.given = {name: text for name, text in given.items() if name in self.parameters}
        visit.values, visit.problems = {}, []
        for name, parameter in self.parameters.items():
            self[name] = self._read(parameter, given)
        link_opened(given)

    def given(self, name: str) -> str:
        """The text of a parameter in a link that is being opened; empty for none or a wrong one."""
        return self._visit().given.get(name, "")

    def _follow_widgets(self) -> None:
        """Take over the values of the widgets. Problems of the link end with the first change."""
        visit = self._visit()
        values = {name: self[name] for name in self.parameters}
        if values != visit.values:
            visit.problems = []
        visit.values = values

    def _read(self, parameter: Parameter, given: Parameters) -> Any:
        if parameter.name not in given:
            return parameter.default
        try:
            return parameter.read(given[parameter.name])
        except ValueError as error:
            problem = f"{parameter.name} {quoted(given[parameter.name])}: {error}."
            self.reject(problem, parameter.default_text)
            self._visit().given.pop(parameter.name, None)
            return parameter.default

    def reject(self, problem: str, shown: str = "") -> None:
        """Store, as a sentence, why a value of the link is not used.

        `shown` is what the page shows instead, empty for nothing.
        """
        instead = f"The page shows {shown} instead." if shown else "It is not used."
        sentence, problems = f"{problem} {instead}", self._visit().problems
        if sentence not in problems:
            problems.append(sentence)

    def leave_out(self, reason: str, *names: str) -> None:
        """Reject parameters that do not apply, for this reason, and forget their values.

        Call it instead of drawing their widgets. `reason` is a clause without a full stop.
        """
        self.reject_given(reason, *names)
        for name in names:
            self[name] = self.parameters[name].default

    def reject_given(self, reason: str, *names: str) -> None:
        """As `leave_out`, but the values stay, because they may apply later."""
        for name in names:
            if text := self.given(name):
                self.reject(f"{name} {quoted(text)} does not apply: {reason}.")

    def __getitem__(self, name: str) -> Any:
        return st.session_state.get(self.key(name), self._visit().values.get(name))

    def __setitem__(self, name: str, value: Any) -> None:
        """Set a value; only before its widget is drawn, or in a callback."""
        self._visit().values[name] = value
        st.session_state[self.key(name)] = value

    def limit(self, name: str, options: Mapping[str, str], default: str, noun: str) -> str:
        """Make the value one of the options, else the default. Returns it.

        `options` have their titles. `noun` names what the parameter is, for the message on a link
        with another value.
        """
        value = self[name]
        if value in options:
            return str(value)
        if value and value == self.given(name):
            problem = f"There is no {noun} {quoted(value)}. {_choices(list(options.values()))}"
            self.reject(problem.strip(), options.get(default, ""))
        self[name] = default
        return default

    def select_box(
        self,
        name: str,
        label: str,
        titles: Mapping[Any, str],
        help: str,
        width: int | Literal["stretch"] = "stretch",
        on_change: Callable[[], None] | None = None,
    ) -> Any:
        """Draw the select box of a parameter. `titles` are its options with their texts."""
        options = list(titles)
        self._send_changed_text(name, titles)
        return st.selectbox(
            label,
            options,
            index=options.index(self[name]),
            key=self.key(name),
            format_func=titles.__getitem__,
            help=help,
            width=width,
            on_change=on_change,
        )

    def _send_changed_text(self, name: str, titles: Mapping[Any, str]) -> None:
        """Set the value again where its option has a new text: the browser keeps the last text."""
        texts: dict[str, str] = st.session_state.setdefault(TEXTS, {})
        key, text = self.key(name), titles[self[name]]
        if texts.get(key, text) != text:
            self[name] = self[name]
        texts[key] = text

    def segmented_control(self, name: str, label: str, titles: Mapping[Any, str], help: str) -> Any:
        """Draw a parameter whose options stand side by side; for `titles` see `select_box`."""
        return st.segmented_control(
            label,
            list(titles),
            default=self[name],
            required=True,
            key=self.key(name),
            format_func=titles.__getitem__,
            help=help,
        )

    def write(self) -> None:
        """Write the values into the address; call once, after all widgets are drawn.

        A page that is opened must write one address only. The browser may get it before the path of
        the page: it then belongs to the page that is left, see `history`.
        """
        write_address(self.texts())
        self.keep_hidden()

    def keep_hidden(self) -> None:
        """Keep the values of the widgets that were not drawn; call after all others are drawn."""
        keep_hidden({self.key(name): self[name] for name in self.parameters})

    def write_part(self) -> None:
        """Write the values from a part of a page that is drawn alone; else the page does it."""
        if not self._visit().whole:
            write_address(self.texts())

    def texts(self) -> Parameters:
        """The values as parameters of the address; call after the widgets are drawn."""
        self._follow_widgets()
        self._visit().given = {}
        return {
            name: parameter.text(self[name])
            for name, parameter in self.parameters.items()
            if self[name] is not None and self[name] != parameter.default
        }

    def _visit(self) -> Visit:
        visit: Visit = st.session_state[VISIT]
        return visit


def _choices(titles: list[str]) -> str:
    """What can be chosen, in a sentence; of many choices their number. Empty without any."""
    names = list(dict.fromkeys(filter(None, titles)))
    if len(names) > MOST_NAMED:
        return f"There are {len(names):,} to choose from."
    return f"Use one of {', '.join(names)}." if names else ""


def problems() -> list[str]:
    """What is wrong with the link of this visit, as sentences, until a value changes."""
    visit: Visit = st.session_state[VISIT]
    return visit.problems
