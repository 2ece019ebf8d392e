"""The queue for pages, whose failed writes are errors on the page."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import TypeVar

import streamlit as st

from pages.components.markdown import plain
from pruning_core.planning.stage import Stage
from pruning_core.settings.spec import Spec
from pruning_core.storage.job_edits import Edit
from pruning_core.storage.jobs import Queue

Written = TypeVar("Written")


class PageQueue(Queue):
    """The queue for pages: a write that fails becomes an error on the page, which goes on.

    With `only_read` the inspections of a page are not written at all. `blocked` is the reason why
    no run may start, if there is one.
    """

    lock_seconds = 5.0  # a page that waits shows nothing

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

    def retry(self, *jobs: str) -> list[str]:
        return self._start(lambda: super(PageQueue, self).retry(*jobs)) or []

    def cancel(self, job: str) -> None:
        self._attempt(lambda: super(PageQueue, self).cancel(job))

    def delete(self, *jobs: str) -> None:
        self._attempt(lambda: super(PageQueue, self).delete(*jobs))

    def undelete(self, *jobs: str) -> None:
        self._attempt(lambda: super(PageQueue, self).undelete(*jobs))

    def edit(self, jobs: Collection[str], change: Edit) -> list[str]:
        return self._attempt(lambda: super(PageQueue, self).edit(jobs, change)) or []

    def forget(self, key: str) -> None:
        self._attempt(lambda: super(PageQueue, self).forget(key))

    def _start(self, write: Callable[[], Written]) -> Written | None:
        """Write what starts a run, unless none may start."""
        if not self.blocked:
            return self._attempt(write)
        st.error(plain(self.blocked))
        return None

    def _attempt(self, write: Callable[[], Written]) -> Written | None:
        try:
            return write()
        except sqlite3.Error as error:
            draw_write_error(error, self.path)
            return None


def draw_write_error(error: sqlite3.Error, path: Path) -> None:
    """That the queue could not be written, and what to do."""
    st.error(
        f"The queue cannot be written now ({plain(str(error))}). Nothing was changed, and "
        f"finished results are kept. Try again. If the problem stays, check {plain(str(path))}."
    )
