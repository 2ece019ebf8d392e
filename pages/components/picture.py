"""A small picture on a page: SVG in HTML, without a toolbar."""

from __future__ import annotations

import streamlit as st


def draw_picture(html: str) -> None:
    """Draw a picture of `reports.charts.small_charts`, which says in a text what it shows."""
    st.html(html)
