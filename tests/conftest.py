"""Fixtures of all tests."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest

from pruning_core.common.paths import CACHE_VARIABLE, Cache
from pruning_core.common.processes import ENVIRONMENT
from pruning_core.storage.jobs import Queue
from pruning_core.storage.store import Store
from tests.helpers.workers import SHARED_VARIABLE

# For the processes of pytest-xdist, which start after this file is read: each computes with one
# thread, because tests run in parallel, and keeps its memory, as the processes of the worker do.
for name, value in {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", **ENVIRONMENT}.items():
    os.environ.setdefault(name, value)
# The folders of the longest tests: their modules start first, so that both processes end together.
LONGEST_FIRST = ("worker", "cli", "engine", "pages")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with the longest folders; modules keep their order otherwise."""
    ranks = {Path(__file__).parent / name: rank for rank, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: min(ranks.get(p, len(ranks)) for p in item.path.parents))


def pytest_collection_finish() -> None:
    """The imported modules and collected tests stay: garbage collection need not visit them."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def session_folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The folder of the stages that fixtures share; pytest deletes it some sessions later."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # each process has a folder inside that of the session
        folder = folder.parent
    os.environ[SHARED_VARIABLE] = str(folder / "stages")


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    """An empty cache."""
    empty = Cache(tmp_path / "cache")
    empty.prepare()
    return empty


@pytest.fixture
def store(cache: Cache) -> Store:
    """The store of the empty cache."""
    return Store(cache)


@pytest.fixture
def queue(cache: Cache) -> Queue:
    """The queue of the empty cache."""
    return Queue(cache.queue)


@pytest.fixture
def no_worker(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages and commands use the test's cache and start no worker."""
    monkeypatch.setenv(CACHE_VARIABLE, str(cache.root))
    monkeypatch.setattr("pruning_core.worker.start.ensure_worker", lambda *_: None)
