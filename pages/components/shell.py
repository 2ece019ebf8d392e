"""What all pages share: the frame, the navigation, the cache and the worker."""

from __future__ import annotations

import gc
import math
import re
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import streamlit as st
from streamlit.errors import StreamlitAPIException

from pages.components import address
from pages.components.host_check import refusal
from pruning_core.common.paths import Cache, CacheError, cache_at
from pruning_core.planning.inspection_types import ListFilesResult
from pruning_core.planning.inspections import list_files
from pruning_core.planning.stage import Stage, known
from pruning_core.settings.spec import Spec
from pruning_core.storage.jobs import Queue
from pruning_core.storage.store import Store
from pruning_core.storage.worker_record import WorkerRecord, silence_text
from pruning_core.worker import start

PAGES = {
    "Home": "app.py",
    "Tune": "pages/1_Tune.py",
    "Runs": "pages/2_Runs.py",
    "Compare": "pages/3_Compare.py",
    "Layers": "pages/4_Layers.py",
    "Export": "pages/5_Export.py",
    "Guide": "pages/6_Guide.py",
}
LOADING_OPENINGS = 3  # the first openings of a page import modules, some only while it is drawn
# A page asks the worker to list the user's images again when the last listing is older.
LISTING_SECONDS = 10.0
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
    """The queue for pages: a write that fails becomes an error on the page, which goes on.

    With `only_read` the inspections of a page are not written at all. `blocked` is the reason why
    no run may start, if there is one.
    """

    def __init__(self, path: Path, only_read: bool = False, blocked: str = "") -> None:
        super().__init__(path)
        self.only_read, self.blocked = only_read or bool(blocked), blocked

    def submit(self, spec: Spec, label: str) -> str:
        job = self._start(lambda: super(PageQueue, self).submit(spec, label))
        return job or st.stop()

    def add(self, stages: Iterable[Stage], done: Iterable[str] = ()) -> None:
        missing = list(stages)
        if missing and not self.only_read:
            self._attempt(lambda: super(PageQueue, self).add(missing, done))

    def request(self, stages: Iterable[Stage]) -> None:
        missing = list(stages)
        if missing and not self.only_read:
            self._attempt(lambda: super(PageQueue, self).request(missing))

    def retry(self, job: str) -> None:
        self._start(lambda: super(PageQueue, self).retry(job))

    def cancel(self, job: str) -> None:
        self._attempt(lambda: super(PageQueue, self).cancel(job))

    def delete(self, job: str) -> None:
        self._attempt(lambda: super(PageQueue, self).delete(job))

    def forget(self, key: str) -> None:
        self._attempt(lambda: super(PageQueue, self).forget(key))

    def _start(self, write: Callable[[], str | None]) -> str | None:
        """Write what starts a run, unless none may start."""
        if not self.blocked:
            return self._attempt(write)
        st.error(plain(self.blocked))
        return None

    def _attempt(self, write: Callable[[], str | None]) -> str | None:
        try:
            return write()
        except sqlite3.Error as error:
            st.error(
                f"The queue cannot be written now ({plain(str(error))}). Nothing was changed, and "
                "finished results are kept. Try again. If the problem stays, check "
                f"{plain(str(self.path))}."
            )
            return None


@dataclass
class Listing:
    """The listings of a user's images for the pages of one cache.

    `request` is the number of the listing that is asked for, 0 where none is; `fingerprint` that
    of the last finished listing, taken at `time` (of `time.monotonic`); `past` are the stages of
    listings that are not needed any more.
    """

    request: int = 0
    fingerprint: str = ""
    time: float = -math.inf
    past: list[Stage] = field(default_factory=list)


class PageStore(Store):
    """The store for pages, which leaves the listing of a user's images to the worker.

    A large or slow folder would block the page. The last finished listing counts until the next
    one is finished; a run lists the images anew, whatever the pages know.
    """

    def fingerprint(self, path: str) -> str | Stage:
        listing = self._listing(path)
        if listing.request and self.exists((stage := list_files(path, listing.request)).key):
            if result := known(self, stage.key, ListFilesResult):
                listing.fingerprint, listing.time = result.fingerprint, time.monotonic()
            listing.past.append(stage)
            listing.request = 0
        if listing.fingerprint:
            return listing.fingerprint
        listing.request = listing.request or time.time_ns()
        return list_files(path, listing.request)

    def next_listing(self, path: str) -> list[Stage]:
        """The stage of the next listing, where the last one is old; see `fingerprint`."""
        listing = self._listing(path)
        if not listing.request and time.monotonic() - listing.time < LISTING_SECONDS:
            return []
        listing.request = listing.request or time.time_ns()
        return [list_files(path, listing.request)]

    def past_listings(self, path: str) -> list[Stage]:
        """The stages of listings that may be deleted, each once; the newest one stays."""
        past = self._listing(path).past
        return [past.pop(0) for _ in past[1:]]

    def list_again(self) -> None:
        """Forget what is known about the user's images."""
        for root, path in list(_listings):
            if root == self.cache.root:
                _listings.pop((root, path), None)

    def _listing(self, path: str) -> Listing:
        return _listings.setdefault((self.cache.root, path), Listing())


@dataclass(frozen=True)
class Lab:
    """The cache that this app shows."""

    cache: Cache
    store: PageStore
    queue: Queue


# The listings of all browsers, by the cache and the path that was typed.
_listings: dict[tuple[Path, str], Listing] = {}


def open_page(title: str) -> Lab:
    """Draw the frame of a page and start a worker if none is alive."""
    st.set_page_config(page_title=f"{title} - Pruning Lab", page_icon="✂️", layout="wide")
    _stop_foreign_session()
    _freeze_modules(title)
    address.visit_page(title)
    st.html(STYLE)
    _navigation()
    return _lab()


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


def _navigation() -> None:
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        st.markdown("**Pruning Lab**", width="content")
        for name in PAGES:
            link(name)


def link(page: str, label: str = "", **params: str) -> None:
    """A link to a page with these parameters, else with those of the last visit to it."""
    try:
        parameters = params or address.last_address(page)
        st.page_link(PAGES[page], label=label or page, query_params=parameters)
    except StreamlitAPIException:
        # A page that runs without app.py, as in a test, has no other pages to link.
        st.markdown(label or page, width="content")


def draw_link_problems() -> None:
    """Say which parts of the link that opened this page are not used, until a choice changes."""
    sentences = [plain(problem) for problem in address.problems()]
    opening = "Part of this link is not valid, so a default is shown."
    if len(sentences) == 1:
        st.warning(f"{opening} {sentences[0]}")
    elif sentences:
        st.warning("\n".join([opening, "", *(f"- {sentence}" for sentence in sentences)]))


def _lab() -> Lab:
    """The cache, ready for use or for reading only; the page stops where it is neither."""
    cache, problem = cache_at(), ""
    try:
        cache.prepare()
    except CacheError as error:
        problem = str(error)
        if not cache.queue.is_file():
            st.error(plain(problem))
            st.stop()
    try:
        blocked = start.other_code(cache)
        lab = Lab(cache, PageStore(cache), PageQueue(cache.queue, bool(problem), blocked))
        _worker_line(cache, problem)
    except CacheError as error:
        st.error(plain(str(error)))
        st.stop()
    except sqlite3.Error as error:
        st.error(plain(problem) or _unusable(cache, error))
        st.stop()
    return lab


def _unusable(cache: Cache, error: sqlite3.Error) -> str:
    return (
        f"The queue {plain(str(cache.queue))} cannot be read now ({plain(str(error))}). Finished "
        "results are safe. Reload the page. If the problem stays, move this file to another "
        "folder and restart the app."
    )


def _worker_line(cache: Cache, cache_problem: str) -> None:
    """Start a worker if none is alive, and say why where that fails."""
    if cache_problem:
        st.warning(
            f"{plain(cache_problem)} Finished results can be read. New runs cannot start until "
            "this is fixed."
        )
    elif problem := start.ensure_worker(cache):
        st.warning(plain(problem))
    elif row := WorkerRecord(cache.queue).silent():
        st.warning(plain(silence_text(row)))
    elif WorkerRecord(cache.queue).current() is None:
        log = plain(str(cache.worker_log))
        st.caption(f"The worker is starting. If this message stays, see {log}.")


def plain(text: str) -> str:
    """Text without any Markdown: every special character is escaped."""
    return re.sub(r"([\\`*_{}\[\]()#+\-.!|~$<>:])", r"\\\1", text)
