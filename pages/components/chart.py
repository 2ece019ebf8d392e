"""A chart on a page, with the toolbar that all charts have."""

from __future__ import annotations

import plotly.graph_objects as go
import streamlit as st

from pruning_core.reports.charts.style import chart_config


def draw_chart(
    figure: go.Figure, name: str, image_format: str = "png", *, alt: str | None = None
) -> None:
    """Draw a figure. `name` is its key on the page, and the name of the image that it saves.

    `image_format`, `png` or `svg`, is that of the button that saves it. `alt` says in a sentence
    what the figure shows, for people who do not see it.
    """
    st.plotly_chart(figure, key=f"chart {name}", config=chart_config(name, image_format), alt=alt)
