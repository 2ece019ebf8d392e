"""A chart on a page, with the toolbar that all charts have."""

from __future__ import annotations

from collections.abc import Callable

import plotly.graph_objects as go
import streamlit as st

from pruning_core.reports.charts.style import chart_config


def draw_chart(
    figure: go.Figure,
    name: str,
    image_format: str = "png",
    *,
    alt: str | None = None,
    on_click: Callable[[str], None] | None = None,
) -> None:
    """Draw a figure. `name` is its key on the page, and the name of the image that it saves.

    `image_format`, `png` or `svg`, is that of the button that saves it. `alt` says in a sentence
    what the figure shows, for people who do not see it. A click on a point calls `on_click` with
    the first value of the point's `customdata`, before the page is drawn again.
    """
    key = f"chart {name}"

    def clicked() -> None:
        if on_click and (points := st.session_state[key]["selection"]["points"]):
            on_click(str(points[0]["customdata"][0]))

    st.plotly_chart(
        figure,
        key=key,
        config=chart_config(name, image_format),
        alt=alt,
        on_select=clicked if on_click else "ignore",
        selection_mode="points",
    )
