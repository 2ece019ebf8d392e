"""Links from a page to the section of the Guide that explains it."""

from __future__ import annotations

import streamlit as st

from pages.components.guide_text import find
from pages.components.links import link


def guide_link(topic: str, section: str = "") -> None:
    """Draw the link. `section` is the slug of a heading. Raises `KeyError` if it is unknown."""
    params = {"topic": topic, "section": section} if section else {"topic": topic}
    link("Guide", f"Guide: {find(topic, section).title}", **params)


def header_with_guide(title: str, topic: str, section: str = "", level: int = 2) -> None:
    """A header (or subheader, `level` 3) and beside it the link. Raises `KeyError`."""
    draw = st.header if level == 2 else st.subheader
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        draw(title, width="content")
        guide_link(topic, section)
