"""What every page shares: its frame, the way to the other pages, and the worker."""

from __future__ import annotations

import gc
import re
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import streamlit as st
from streamlit.errors import StreamlitAPIException

from pruning_core.common.paths import Cache, CacheError, cache_at
from pruning_core.planning.stage import Stage
from pruning_core.settings.spec import Spec
from pruning_core.storage.jobs import Queue
from pruning_core.storage.store import Store
from pruning_core.storage.worker_record import WorkerRecord
from pruning_core.worker import start

PAGES = {
    "Home": "app.py",
    "Tune": "pages/1_Tune.py",
    "Runs": "pages/2_Runs.py",
    "Compare": "pages/3_Compare.py",
    "Layers": "pages/4_Layers.py",
    "Export": "pages/5_Export.py",
}
LOADING_OPENINGS = 3
_openings: Counter[str] = Counter()
STYLE = """
<style>
.block-container {padding-top: 2.6rem; padding-bottom: 4rem; max-width: 1240px;}
h1 {font-size: 1.7rem !important; padding: 0.2rem 0 0.1rem 0 !important;}
h2 {font-size: 1.2rem !important; padding: 0.6rem 0 0.2rem 0 !important;}
h3 {font-size: 1.0rem !important; padding: 0.3rem 0 0.1rem 0 !important;}
[data-testid="stMetricValue"] {font-size: 1.45rem;}
@media (min-width: 900px) {
    [data-testid="stColumn"]:has(.st-key-outlook) > div {height: 100%;}
    [data-testid="stLayoutWrapper"]:has(> .st-key-outlook) {
        position: sticky; top: 3.5rem; max-height: calc(100vh - 4rem); overflow-y: auto;
    }
}
@media (max-width: 640px) {.block-container {padding-left: 0.9rem; padding-right: 0.9rem;}}
</style>
"""


class PageQueue(Queue):
    """The queue as pages write it: what it cannot take is said on the page, and the page lives.

    One that can `only_read` is not even asked to take a page's own inspections.
    """

    def __init__(self, path: Path, only_read: bool = False) -> None:
        super().__init__(path)
        self.only_read = only_read

    def submit(self, spec: Spec, label: str) -> str:
        job = self._or_say(lambda: super(PageQueue, self).submit(spec, label))
        return job or st.stop()

    def add(self, stages: Iterable[Stage], done: Iterable[str] = ()) -> None:
        wanted = list(stages)
        if wanted and not self.only_read:
            self._or_say(lambda: super(PageQueue, self).add(wanted, done))

    def retry(self, job: str) -> None:
        self._or_say(lambda: super(PageQueue, self).retry(job))

    def cancel(self, job: str) -> None:
        self._or_say(lambda: super(PageQueue, self).cancel(job))

    def delete(self, job: str) -> None:
        self._or_say(lambda: super(PageQueue, self).delete(job))

    def forget(self, key: str) -> None:
        self._or_say(lambda: super(PageQueue, self).forget(key))

    def _or_say(self, write: Callable[[], str | None]) -> str | None:
        try:
            return write()
        except sqlite3.Error as error:
            st.error(
                f"The queue takes nothing now ({plain(str(error))}), so nothing was changed. "
                "What is finished is kept. Try again; if this stays, look at "
                f"{plain(str(self.path))}."
            )
            return None


@dataclass(frozen=True)
class Lab:
    """The cache that this app shows."""

    cache: Cache
    store: Store
    queue: Queue


def open_page(title: str) -> Lab:
    """Draw the frame of a page and see that a worker is alive."""
    st.set_page_config(page_title=f"{title} - Pruning Lab", page_icon="✂️", layout="wide")
    _spare_modules(title)
    st.html(STYLE)
    _navigation()
    return _lab()


def _spare_modules(page: str) -> None:
    """Keep what a page's modules hold out of the search for garbage.

    Streamlit searches everything after each answer: 28 ms by itself, 46 ms with pandas and
    Plotly. A page's first openings load all it needs, some of it only while it is drawn.
    """
    _openings[page] += 1
    if _openings[page] <= LOADING_OPENINGS:
        gc.collect()
        gc.freeze()


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
    """The cache, ready to use, or to be read; where it is neither, the page ends here."""
    cache, trouble = cache_at(), ""
    try:
        cache.prepare()
    except CacheError as error:
        trouble = str(error)
    try:
        lab = Lab(cache, Store(cache), PageQueue(cache.queue, only_read=bool(trouble)))
        _worker_line(cache, trouble)
    except sqlite3.Error as error:
        st.error(plain(trouble) or _unusable(cache, error))
        st.stop()
    return lab


def _unusable(cache: Cache, error: sqlite3.Error) -> str:
    return (
        f"The queue {plain(str(cache.queue))} cannot be used now ({plain(str(error))}). Finished "
        "results are safe. Reload the page; if this stays, move the file away and start again."
    )


def _worker_line(cache: Cache, trouble: str) -> None:
    """See that a worker is alive, and say where there is none."""
    if trouble:
        st.warning(
            f"{plain(trouble)} What is finished can be read; until then nothing new is queued "
            "and nothing runs."
        )
    elif problem := start.ensure_worker(cache):
        st.warning(plain(problem))
    elif WorkerRecord(cache.queue).current() is None:
        log = plain(str(cache.worker_log))
        st.caption(f"The worker is starting. If this line stays, see {log}.")


def plain(text: str) -> str:
    """A text of the user's as it stands, with nothing in it read as Markdown."""
    return re.sub(r"([\\`*_{}\[\]()#+\-.!|~$<>:])", r"\\\1", text)
