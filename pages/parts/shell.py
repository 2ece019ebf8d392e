"""What every page shares: its frame, the way to the other pages, and the worker."""

from __future__ import annotations

import re
import sqlite3
from dataclasses import dataclass

import streamlit as st
from streamlit.errors import StreamlitAPIException

from pruning_core.paths import Cache, CacheError, cache_at
from pruning_core.queue.crew import Crew
from pruning_core.queue.jobs import Queue
from pruning_core.store import Store
from pruning_core.worker.supervisor import ensure_worker

PAGES = {
    "Home": "app.py",
    "Tune": "pages/1_Tune.py",
    "Runs": "pages/2_Runs.py",
    "Compare": "pages/3_Compare.py",
}
STYLE = """
<style>
.block-container {padding-top: 2.6rem; padding-bottom: 4rem; max-width: 1240px;}
h1 {font-size: 1.7rem !important; padding: 0.2rem 0 0.1rem 0 !important;}
h2 {font-size: 1.2rem !important; padding: 0.6rem 0 0.2rem 0 !important;}
h3 {font-size: 1.0rem !important; padding: 0.3rem 0 0.1rem 0 !important;}
[data-testid="stMetricValue"] {font-size: 1.45rem;}
@media (min-width: 900px) {.st-key-outlook {position: sticky; top: 3.5rem;}}
@media (max-width: 640px) {.block-container {padding-left: 0.9rem; padding-right: 0.9rem;}}
</style>
"""


@dataclass(frozen=True)
class Lab:
    """The cache that this app shows."""

    cache: Cache
    store: Store
    queue: Queue


def open_page(title: str) -> Lab:
    """Draw the frame of a page and see that a worker is alive."""
    st.set_page_config(page_title=f"{title} - Pruning Lab", page_icon="✂️", layout="wide")
    st.html(STYLE)
    _navigation()
    lab = _lab()
    _worker_line(lab)
    return lab


def _navigation() -> None:
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        st.markdown("**Pruning Lab**", width="content")
        for name in PAGES:
            link(name)


def link(page: str, label: str = "", **params: str) -> None:
    """A link to a page, with parameters for its address."""
    try:
        st.page_link(PAGES[page], label=label or page, query_params=params)
    except StreamlitAPIException:
        # A page that is run by itself, without app.py, knows no other pages.
        st.markdown(label or page, width="content")


def _lab() -> Lab:
    """The cache, ready to use; where it is not, the page says why and ends here."""
    cache = cache_at()
    try:
        cache.prepare()
        lab = Lab(cache, Store(cache), Queue(cache.queue))
        ensure_worker(cache)
    except CacheError as error:
        st.error(str(error))
        st.stop()
    except sqlite3.Error as error:
        st.error(
            f"The queue {cache.queue} cannot be used now ({error}). Finished results are safe. "
            "Reload the page; if this stays, move the file away and start again."
        )
        st.stop()
    return lab


def plain(text: str) -> str:
    """A text of the user's as it stands, with nothing in it read as Markdown."""
    return re.sub(r"([\\`*_{}\[\]()#+\-.!|~$<>:])", r"\\\1", text)


def _worker_line(lab: Lab) -> None:
    if Crew(lab.cache.queue).worker() is None:
        st.caption(f"The worker is starting. If this line stays, see {lab.cache.worker_log}.")
