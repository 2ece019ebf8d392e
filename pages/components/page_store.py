"""The store for pages, which leaves the listing of a user's images to the worker."""

from __future__ import annotations

import functools
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import ParamSpec, TypeVar

from pruning_core.planning.inspection_types import ListFilesResult
from pruning_core.planning.inspections import list_files
from pruning_core.planning.stage import Stage, known
from pruning_core.storage.store import Store

# A page asks the worker to list the user's images again when the last listing is older.
LISTING_SECONDS = 10.0
P = ParamSpec("P")
R = TypeVar("R")


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


# The listings of all browsers, by the cache and the path that was typed, and their lock.
_listings: dict[tuple[Path, str], Listing] = {}
_lock = threading.RLock()


def _locked(method: Callable[P, R]) -> Callable[P, R]:
    """A method that only one session runs at a time."""

    @functools.wraps(method)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        with _lock:
            return method(*args, **kwargs)

    return run


class PageStore(Store):
    """The store for pages, which leaves the listing of a user's images to the worker.

    A large or slow folder would block the page. The last finished listing counts until the next
    one is finished; a run lists the images anew, whatever the pages know.
    """

    @_locked
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

    @_locked
    def next_listing(self, path: str) -> list[Stage]:
        """The stage of the next listing, where the last one is old; see `fingerprint`."""
        listing = self._listing(path)
        if not listing.request and time.monotonic() - listing.time < LISTING_SECONDS:
            return []
        listing.request = listing.request or time.time_ns()
        return [list_files(path, listing.request)]

    @_locked
    def past_listings(self, path: str) -> list[Stage]:
        """The stages of listings that may be deleted, each once; the newest one stays."""
        past = self._listing(path).past
        return [past.pop(0) for _ in past[1:]]

    @_locked
    def list_again(self) -> None:
        """Forget what is known about the user's images."""
        for root, path in list(_listings):
            if root == self.cache.root:
                _listings.pop((root, path), None)

    def _listing(self, path: str) -> Listing:
        return _listings.setdefault((self.cache.root, path), Listing())
