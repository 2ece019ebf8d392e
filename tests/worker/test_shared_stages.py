"""Two caches and the store that they share."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from pruning_core.cli.main import main
from pruning_core.common.paths import Cache
from pruning_core.planning.stage_kinds import ESTIMATED_KINDS
from pruning_core.storage.connections import SHARED_STORE, Connections
from pruning_core.storage.jobs import Queue
from pruning_core.storage.shared_store import SharedStore, SharedStoreError
from pruning_core.storage.store import Store
from pruning_core.worker import shared_stages
from pruning_core.worker.shared_stages import SharedStages
from tests.helpers.workers import (
    ONE_CUT,
    TINY_OPTIONS,
    bits,
    call,
    finished_run,
    planned,
    serve,
    until,
    worker,
)


def connect(cache: Cache, address: object) -> None:
    Connections(cache.queue).connect(SHARED_STORE, str(address))


@pytest.fixture
def filled(tmp_path: Path) -> Cache:
    """A cache with a finished run, which a worker has written to the store in `shared`."""
    cache = finished_run(tmp_path / "first")
    connect(cache, tmp_path / "shared")
    trained = trained_keys(cache)
    with worker(cache):
        until(lambda: SharedStore(str(tmp_path / "shared")).keys() >= trained, "the upload")
    return cache


def trained_keys(cache: Cache) -> set[str]:
    return {s.key for s in planned(cache, ONE_CUT).stages if s.kind in ESTIMATED_KINDS}


def test_a_run_takes_its_models_from_the_store_and_computes_the_rest(
    filled: Cache, cache: Cache, queue: Queue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images and measured speeds are of this machine, and are neither written nor read."""
    assert SharedStore(str(tmp_path / "shared")).keys() == trained_keys(filled)
    connect(cache, tmp_path / "shared")
    queue.submit(ONE_CUT, "second")
    serve(cache)
    assert bits(cache, ONE_CUT) == bits(filled, ONE_CUT)
    for key in trained_keys(cache):
        results = [Store(of).read(key) for of in (cache, filled)]
        assert results[0]["seconds"] == results[1]["seconds"], "it was trained here"


def test_a_store_that_fails_stops_no_run_and_is_said(
    cache: Cache,
    queue: Queue,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    finished_run(cache.root)
    connect(cache, tmp_path / "shared")
    calls, error = [], SharedStoreError("The shared store X cannot be read (gone).")

    def fail(self: SharedStore, store: Store, key: str) -> bool:
        calls.append(key)
        raise error

    stages = SharedStages(cache)
    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.setattr(SharedStore, "fetch", fail)
        assert not stages.fetch("aa", "pruned")
        assert not stages.fetch("bb", "pruned")
    assert calls == ["aa"], "a store that has failed is not asked again at once"
    assert f"{error} Stages are computed here and shared later." in caplog.messages
    assert Connections(cache.queue).get(SHARED_STORE).error.startswith(str(error))
    assert main(["cache", "size", "--cache-dir", str(cache.root)]) == 0
    assert str(error) in capsys.readouterr().out
    monkeypatch.setattr(shared_stages, "RETRY_SECONDS", 0.0)
    assert stages.upload()
    assert Connections(cache.queue).get(SHARED_STORE).error == ""
    assert SharedStore(str(tmp_path / "shared")).keys() == trained_keys(cache)


def test_a_store_that_can_only_be_read_keeps_its_error(
    filled: Cache, cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: SharedStore, store: Store, key: str) -> bool:
        raise SharedStoreError("The shared store X cannot be written (access denied).")

    finished_run(cache.root)
    connect(cache, tmp_path / "shared")
    monkeypatch.setattr(shared_stages, "RETRY_SECONDS", 0.0)
    monkeypatch.setattr(SharedStore, "put", refuse)
    monkeypatch.setattr(SharedStore, "keys", lambda self: set())
    stages, reader, key = SharedStages(cache), SharedStages(cache), min(trained_keys(filled))
    assert not stages.upload()
    Store(cache).remove(key)
    assert reader.fetch(key, Store(filled).settings(key)["kind"])
    assert "access denied" in Connections(cache.queue).get(SHARED_STORE).error


def test_a_new_address_gets_all_stages(filled: Cache, tmp_path: Path) -> None:
    stages = SharedStages(filled)
    assert stages.upload()
    connect(filled, tmp_path / "other")
    assert stages.upload()
    assert SharedStore(str(tmp_path / "other")).keys() == trained_keys(filled)
    connect(filled, "")
    assert stages.upload()
    assert not stages.fetch("aa", "pruned")


def test_the_option_connects_until_none_is_given(cache: Cache, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no store")
    refused = call(cache, "compare", "--store", "nonsense://team", *TINY_OPTIONS)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "--store: The shared store nonsense://team cannot be opened" in refused.stderr
    assert Connections(cache.queue).get(SHARED_STORE).address == ""
    main(
        ["worker", "--idle-seconds", "0", "--store", str(tmp_path), "--cache-dir", str(cache.root)]
    )
    assert Connections(cache.queue).get(SHARED_STORE).address == str(tmp_path)
    main(["worker", "--idle-seconds", "0", "--store", "none", "--cache-dir", str(cache.root)])
    assert Connections(cache.queue).get(SHARED_STORE).address == ""
