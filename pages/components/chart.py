"""A chart on a page: its toolbar, its text for those who do not see it, and its numbers."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TypeVar

import plotly.graph_objects as go
import streamlit as st

from pruning_core.reports.charts.style import chart_config
from pruning_core.reports.charts.text_alternative import chart_numbers, chart_text

CACHED = "cached"  # the key of the session
T = TypeVar("T")


def cached(name: str, key: Hashable, make: Callable[[], T]) -> T:
    """What `make` returns; made again only when `key` differs from that of the last time.

    Streamlit runs a page again at each click. `key` must hold everything that the result depends
    on, and the result must not be changed.
    """
    results = st.session_state.setdefault(CACHED, {})
    if name not in results or results[name][0] != key:
        results[name] = key, make()
    value: T = results[name][1]
    return value


def draw_chart(
    figure: go.Figure,
    name: str,
    image_format: str = "png",
    *,
    alt: str = "",
    numbers: str = "",
    on_click: Callable[[str], None] | None = None,
) -> None:
    """Draw a figure. `name` is its key on the page, and the name of the image that it saves.

    `image_format`, `png` or `svg`, is that of the button that saves it. `alt` says what the figure
    shows, for people who do not see it; without it, the text follows from the figure. `numbers`
    names the figure on the button that opens its numbers as a table; without it there is no button,
    because a table of the page has them. A click on a point calls `on_click` with the first value
    of the point's `customdata`, before the page is drawn again.
    """
    key = f"chart {name}"

    def clicked() -> None:
        if on_click and (points := st.session_state[key]["selection"]["points"]):
            on_click(str(points[0]["customdata"][0]))

    st.plotly_chart(
        figure,
        key=key,
        config=chart_config(name, image_format),
        alt=alt or chart_text(figure),
        on_select=clicked if on_click else "ignore",
        selection_mode="points",
    )
    if numbers:
        _draw_numbers(figure, name, numbers)


def _draw_numbers(figure: go.Figure, name: str, title: str) -> None:
    """The button that shows the numbers of a figure; they are computed when it is open."""
    label = f"Numbers: {title}"
    popover = st.popover(label, type="tertiary", key=f"numbers {name}", on_change="rerun")
    if popover.open:
        popover.dataframe(chart_numbers(figure), hide_index=True)
