"""Which runs the list on Runs shows, in which order, and with which columns."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import streamlit as st

from pages.components.address import Address, Parameter, choice, number, some_of
from pages.components.goal import PARAMETERS as GOAL
from pages.components.goal import draw_goal
from pages.components.lab import Lab
from pages.components.markdown import inline
from pages.components.number_lists import quoted
from pruning_core.common.errors import HIGHEST
from pruning_core.common.formatting import join_words
from pruning_core.results.goal import Goal
from pruning_core.results.run_columns import COLUMNS, STARTED, STATE_TITLES
from pruning_core.storage.job_list import LONGEST_SEARCH, SHOWN, STATES, JobFilter, JobList

SHOWN_TITLES = dict(
    zip(SHOWN, ("Current runs", "Archived runs", "All runs", "Deleted runs"), strict=True)
)
NAMES = {"tag": "Tag", "dataset": "Data set", "model": "Model"}
# The parameters that Clear filters sets back.
FILTERS = [field.name for field in dataclasses.fields(JobFilter)]


def _search(text: str) -> str:
    """The words of a link. Raises `ValueError` where they are too long."""
    if len(text) > LONGEST_SEARCH:
        raise ValueError(f"use at most {LONGEST_SEARCH} characters")
    return text


PARAMETERS = (
    number("page", 1, 1, HIGHEST),
    Parameter("search", read=_search),
    choice("state", ["", *STATES]),
    *map(Parameter, NAMES),
    choice("starred", [False, True]),
    choice("show", list(SHOWN)),
    choice("sort", [STARTED, *(name for name in COLUMNS if name != STARTED)]),
    choice("reverse", [False, True]),
    some_of("columns", list(COLUMNS), list(COLUMNS)),
    *GOAL,
)


def draw_filters(lab: Lab, address: Address) -> tuple[JobFilter, Goal]:
    """The search and the filters. Returns what they choose, and the goal of a column."""
    names = JobList(lab.cache.queue).names(address["show"])
    first_page = _first_page(address)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.text_input(
            "Search",
            address["search"],
            key=address.key("search"),
            placeholder="Name, tag, note, data set or model",
            max_chars=LONGEST_SEARCH,
            width=320,
            on_change=first_page,
        )
        with st.popover("Filters"):
            _draw_choices(address, names, first_page)
        with st.popover("Sort and columns"):
            goal = _draw_view(address, first_page)
    chosen = JobFilter(
        search=address["search"],
        state=address["state"],
        tag=address["tag"],
        dataset=address["dataset"],
        model=address["model"],
        starred=address["starred"],
        show=address["show"],
    )
    _draw_chosen(address, chosen)
    return chosen, goal


def _first_page(address: Address) -> Callable[[], None]:
    """A callback: other filters or another order begin with the first page."""

    def first_page() -> None:
        address["page"] = 1

    return first_page


def _draw_choices(
    address: Address, names: dict[str, list[str]], changed: Callable[[], None]
) -> None:
    st.selectbox(
        "State",
        ["", *STATES],
        index=["", *STATES].index(address["state"]),
        key=address.key("state"),
        format_func=lambda state: STATE_TITLES[state] if state else "Any",
        on_change=changed,
    )
    for name, title in NAMES.items():
        options = ["", *names[name]]
        titles = {option: option for option in options}
        chosen = address.limit(name, titles, "", title.lower())
        st.selectbox(
            title,
            options,
            index=options.index(chosen),
            key=address.key(name),
            format_func=lambda text: text or "Any",
            on_change=changed,
        )
    st.selectbox(
        "Show",
        list(SHOWN),
        index=list(SHOWN).index(address["show"]),
        key=address.key("show"),
        format_func=SHOWN_TITLES.__getitem__,
        on_change=changed,
        help="Archived runs are left out of the lists of all pages. A deleted run can be restored "
        "for a day.",
    )
    st.toggle("Starred only", address["starred"], key=address.key("starred"), on_change=changed)


def _draw_view(address: Address, changed: Callable[[], None]) -> Goal:
    st.selectbox(
        "Sort by",
        list(COLUMNS),
        index=list(COLUMNS).index(address["sort"]),
        key=address.key("sort"),
        format_func=lambda name: f"{COLUMNS[name].title} ({COLUMNS[name].first})",
        on_change=changed,
        help="A click on the title of a column sorts by it, too; a second one reverses the order.",
    )
    st.toggle("Reverse order", address["reverse"], key=address.key("reverse"), on_change=changed)
    st.multiselect(
        "Columns",
        list(COLUMNS),
        default=address["columns"],
        key=address.key("columns"),
        format_func=lambda name: COLUMNS[name].title,
    )
    return draw_goal(address)


def _draw_chosen(address: Address, chosen: JobFilter) -> None:
    """Which filters are chosen, and the button that clears them."""
    words = [STATE_TITLES[chosen.state].lower()] if chosen.state else []
    words += [
        f"{title.lower()} {quoted(getattr(chosen, name))}"
        for name, title in NAMES.items()
        if getattr(chosen, name)
    ]
    words += [f"search {quoted(chosen.search)}"] * bool(chosen.search.strip())
    words += ["starred"] * chosen.starred
    if not chosen.selective and chosen.show == JobFilter().show:
        return

    def clear() -> None:
        for name in (*FILTERS, "page"):
            address[name] = address.parameters[name].default

    with st.container(horizontal=True, vertical_alignment="center"):
        only = f": {join_words(words)}" if words else ""
        st.caption(inline(f"{SHOWN_TITLES[chosen.show]}{only}."), width="content")
        st.button("Clear filters", type="tertiary", on_click=clear)
