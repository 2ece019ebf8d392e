"""Fixtures of all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pruning_core.common.paths import CACHE_VARIABLE, Cache
from pruning_core.storage.jobs import Queue
from pruning_core.storage.store import Store
from tests.helpers.workers import SHARED_VARIABLE

# Set before torch is loaded: tests run in parallel, so each process computes with one thread, and
# the threads of stages that ask for more must not spin while they wait.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


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
