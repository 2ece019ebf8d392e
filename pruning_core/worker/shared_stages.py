"""The shared store behind a cache: stages are read from it, and written to it when they are done.

It never stops a run. Where it cannot be used, stages are computed here; the pages and the command
line show the reason.
"""

from __future__ import annotations

import logging
import math
import sqlite3
import threading
import time

from pruning_core.common.paths import Cache
from pruning_core.planning.stage import Missing
from pruning_core.planning.stage_kinds import ESTIMATED_KINDS
from pruning_core.storage.connections import SHARED_STORE, Connections
from pruning_core.storage.shared_store import SharedStore, SharedStoreError
from pruning_core.storage.store import Store

# After an error, a store is not used for so long: each attempt may take some seconds.
RETRY_SECONDS = 60.0
log = logging.getLogger(__name__)


class SharedStages:
    """The finished stages of a cache, and those of its shared store.

    Only stages that take long are shared: those of `ESTIMATED_KINDS`. Their results do not depend
    on this machine's speed, and they hold no images.
    """

    def __init__(self, cache: Cache) -> None:
        self.store, self.connections = Store(cache), Connections(cache.queue)
        self.shared: SharedStore | None = None
        self.written: set[str] = set()
        self.failed = -math.inf

    def fetch(self, key: str, kind: str) -> bool:
        """Publish a stage of the shared store in the cache. False where it has to be computed.

        A success does not end an error that is shown: the store may not be writable.
        """
        shared = self._open() if kind in ESTIMATED_KINDS else None
        if shared is None:
            return False
        try:
            return shared.fetch(self.store, key)
        except SharedStoreError as error:
            self._report(shared.url, str(error))
            return False

    def upload(self) -> bool:
        """Write the finished stages that the shared store lacks. False where it failed."""
        shared = self._open()
        if shared is None:
            return not self.connections.get(SHARED_STORE).address
        try:
            keys = [key for key in self.store.finished() if key not in self.written]
            if not keys:
                return True
            present = shared.keys()
            for key in keys:
                if key not in present and self._put(shared, key):
                    log.info("Stage %s was written to the shared store.", key[:12])
                self.written.add(key)
        except SharedStoreError as error:
            self._report(shared.url, str(error))
            return False
        self._report(shared.url, "")
        return True

    def _put(self, shared: SharedStore, key: str) -> bool:
        try:
            kind = self.store.settings(key)["kind"]
            return kind in ESTIMATED_KINDS and shared.put(self.store, key)
        except Missing:
            return False  # it was removed, or is damaged

    def _open(self) -> SharedStore | None:
        """The shared store; None where there is none, or where it failed shortly before."""
        address = self.connections.get(SHARED_STORE).address
        if self.shared and self.shared.url != address:
            self.shared, self.written, self.failed = None, set(), -math.inf
        if not address or time.monotonic() - self.failed < RETRY_SECONDS:
            return None
        try:
            self.shared = self.shared or SharedStore(address)
        except SharedStoreError as error:
            self._report(address, str(error))
        return self.shared

    def _report(self, address: str, error: str) -> None:
        if error:
            error = f"{error} Stages are computed here and shared later."
            log.warning("%s", error)
            self.failed = time.monotonic()
        self.connections.report(SHARED_STORE, address, error)


class Uploads:
    """A thread that writes finished stages to the shared store, as long as the worker lives."""

    def __init__(self, cache: Cache) -> None:
        self.cache = cache
        self.requested, self.end = threading.Event(), threading.Event()
        self.writing, self.address = False, ""

    @property
    def busy(self) -> bool:
        """Whether stages wait to be written, or are being written now."""
        return self.writing or self.requested.is_set()

    def start(self) -> None:
        """Start the thread."""
        threading.Thread(target=self._run, daemon=True).start()

    def request(self) -> None:
        """Have the stages written that the store lacks."""
        self.requested.set()

    def check_address(self) -> None:
        """Have them written where the store is a new one."""
        address = Connections(self.cache.queue).get(SHARED_STORE).address
        if address != self.address:
            self.address = address
            self.request()

    def stop(self) -> None:
        """Write no further stage."""
        self.end.set()
        self.requested.set()

    def _run(self) -> None:
        stages = SharedStages(self.cache)
        while self.requested.wait() and not self.end.is_set():
            self.writing = True
            # Before the stages are listed, so that a later request is not lost.
            self.requested.clear()
            try:
                done = stages.upload()
            except (sqlite3.Error, OSError) as error:
                log.warning("Finished stages cannot be shared now (%s).", error)
                done = False
            self.writing = False
            if not done:
                self.end.wait(RETRY_SECONDS)
                self.request()
