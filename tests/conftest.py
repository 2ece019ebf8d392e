"""Fixtures that every room's tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

from pruning_core.paths import Cache
from pruning_core.queue.jobs import Queue
from pruning_core.store import Store


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
