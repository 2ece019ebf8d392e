"""Fixtures that every room's tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pruning_core.common.paths import CACHE_VARIABLE, Cache
from pruning_core.storage.jobs import Queue
from pruning_core.storage.store import Store

# Before torch is loaded: the tests share the cores with each other and must not spin.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    made = Cache(tmp_path / "cache")
    made.prepare()
    return made


@pytest.fixture
def store(cache: Cache) -> Store:
    return Store(cache)


@pytest.fixture
def queue(cache: Cache) -> Queue:
    return Queue(cache.queue)


@pytest.fixture
def no_worker(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page sees the test's cache, and starts no process."""
    monkeypatch.setenv(CACHE_VARIABLE, str(cache.root))
    monkeypatch.setattr("pruning_core.worker.start.ensure_worker", lambda *_: None)
