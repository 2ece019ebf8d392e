"""The cache that the pages show, with its store, its queue and its worker."""

from __future__ import annotations

import sqlite3
import time
from dataclasses import dataclass

import streamlit as st

from pages.components.markdown import plain
from pages.components.page_queue import PageQueue
from pages.components.page_store import PageStore
from pruning_core.common.paths import Cache, CacheError, cache_at
from pruning_core.storage.jobs import Queue
from pruning_core.storage.worker_record import WorkerRecord, silence_text
from pruning_core.worker import start

RETRY_SECONDS = 5.0


@dataclass(frozen=True)
class Lab:
    """The cache that this app shows."""

    cache: Cache
    store: PageStore
    queue: Queue


def open_lab() -> Lab:
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
        # In a container of its own: a line that ends must not draw the page anew below it, which
        # would take the focus and a click from a table.
        with st.container():
            _worker_line(cache, problem)
    except CacheError as error:
        st.error(plain(str(error)))
        st.stop()
    except sqlite3.Error as error:
        st.error(plain(problem) or _unusable(cache, error))
        _try_again(cache, time.monotonic())
        st.stop()
    return lab


def _unusable(cache: Cache, error: sqlite3.Error) -> str:
    return (
        f"The queue {plain(str(cache.queue))} cannot be read now ({plain(str(error))}). Finished "
        "results are safe. This page tries again by itself. If the problem stays, move this file "
        "to another folder and restart the app."
    )


@st.fragment(run_every=RETRY_SECONDS)
def _try_again(cache: Cache, failed: float) -> None:
    """Draw the page again once the queue can be read; `failed` is the time of the error.

    Another program, such as a backup, may lock the file for a while.
    """
    if time.monotonic() - failed < RETRY_SECONDS / 2:
        return  # the first run, within the page that has failed
    try:
        Queue(cache.queue).busy()
    except sqlite3.Error:
        return
    st.rerun()


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
