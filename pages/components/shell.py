"""What all pages share: the frame, the navigation, and the links between pages."""

from __future__ import annotations

import gc
from collections import Counter

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pages.components import accessibility, address
from pages.components.activity import draw_activity
from pages.components.goal import follow_goal
from pages.components.host_check import refusal
from pages.components.lab import Lab, open_lab
from pages.components.links import PAGES, WITH_GOAL, link
from pages.components.markdown import plain

LOADING_OPENINGS = 3  # the first openings of a page import modules, some only while it is drawn
_openings: Counter[str] = Counter()
STYLE = """
<style>
.block-container {padding-top: 2.6rem; padding-bottom: 4rem; max-width: 1240px;}
h1 {font-size: 1.7rem !important; padding: 0.2rem 0 0.1rem 0 !important;}
h2 {font-size: 1.2rem !important; padding: 0.6rem 0 0.2rem 0 !important;}
h3 {font-size: 1.0rem !important; padding: 0.3rem 0 0.1rem 0 !important;}
[data-testid="stMetricValue"] {font-size: 1.45rem;}
@media (min-width: 900px) {
    [data-testid="stColumn"]:has(.st-key-preview) > div {height: 100%;}
    [data-testid="stLayoutWrapper"]:has(> .st-key-preview) {
        position: sticky; top: 3.5rem; max-height: calc(100vh - 4rem); overflow-y: auto;
    }
}
@media (max-width: 640px) {
    .block-container {padding-left: 0.9rem; padding-right: 0.9rem;}
}
@media (max-width: 900px) {.modebar-container, .st-key-image-format {display: none;}}
</style>
"""
IMAGE_FORMAT = "image-format"  # the key of the control for the toolbars of charts


def open_page(title: str) -> Lab:
    """Draw the frame of a page and start a worker if none is alive."""
    st.set_page_config(page_title=f"{title} - Pruning Lab", page_icon="✂️", layout="wide")
    _stop_foreign_session()
    _freeze_modules(title)
    address.visit_page(title)
    if title in WITH_GOAL:
        follow_goal(title)
    st.html(STYLE + accessibility.STYLE)
    place = _navigation()
    lab = open_lab()
    with place:
        draw_activity(lab, title)
    return lab


def _stop_foreign_session() -> None:
    """Stop where another page opened the connection and the server did not refuse it."""
    headers = {name.lower(): value for name, value in st.context.headers.items()}
    if headers and (problem := refusal(headers)):
        st.error(plain(problem))
        st.stop()


def _freeze_modules(page: str) -> None:
    """Exclude the objects of imported modules from garbage collection.

    Streamlit collects garbage after each rerun, which takes 28 ms, and 46 ms with pandas and
    Plotly loaded.
    """
    _openings[page] += 1
    if _openings[page] <= LOADING_OPENINGS:
        gc.collect()
        gc.freeze()


def _navigation() -> DeltaGenerator:
    """The links to all pages. Returns the place for the active runs."""
    with st.container(horizontal=True, gap="small", vertical_alignment="center", key="navigation"):
        st.markdown("**Pruning Lab**", width="content")
        for name in PAGES:
            link(name)
        return st.container(width="content", key="activity")


def draw_link_problems() -> None:
    """Say which parts of the link that opened this page are not used, until a choice changes."""
    sentences = [plain(problem) for problem in address.problems()]
    opening = "Part of this link is not valid."
    if len(sentences) == 1:
        st.warning(f"{opening} {sentences[0]}")
    elif sentences:
        st.warning("\n".join([opening, "", *(f"- {sentence}" for sentence in sentences)]))
