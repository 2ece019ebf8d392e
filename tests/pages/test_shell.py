"""Pages over a cache that cannot be written, a locked queue, and a worker that does not start."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from pruning_core.common import paths
from pruning_core.common.paths import CACHE_VARIABLE, Cache, CacheError
from pruning_core.storage import database
from pruning_core.storage.jobs import Queue
from pruning_core.storage.store import Store
from pruning_core.storage.worker_record import WorkerRecord
from pruning_core.worker import start
from tests.helpers.pages import finished, texts
from tests.helpers.workers import ROOT
from tests.pages.test_pages import PAGES

FULL = os.strerror(errno.ENOSPC)


pytestmark = pytest.mark.usefixtures("no_worker")


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Call it to make every write fail: no folder, no row."""

    def no_room(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, FULL)

    connect = sqlite3.connect

    def only_read(name: str, **options: object) -> sqlite3.Connection:
        if "immutable" in str(name):
            return connect(name, **options)  # type: ignore[call-overload]
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR
        raise error

    def fill() -> None:
        monkeypatch.setattr(Path, "mkdir", no_room)
        monkeypatch.setattr(paths.tempfile, "TemporaryFile", no_room)
        monkeypatch.setattr(database.sqlite3, "connect", only_read)

    return fill


def page(name: str, **params: str) -> AppTest:
    test = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
    test.switch_page(name)
    for key, value in params.items():
        test.query_params[key] = value
    return test.run()


@pytest.mark.parametrize("name", PAGES)
def test_finished_results_can_be_read_on_a_full_disk(
    cache: Cache, full_disk: Callable[[], None], name: str
) -> None:
    job = finished(cache)
    full_disk()
    with pytest.raises(CacheError):
        cache.prepare()
    test = page(name, job=job, runs=job)
    assert not test.exception
    assert len(test.title) == 1
    (warning,) = [str(box.value) for box in test.warning if FULL in str(box.value)]
    assert "Finished results can be read." in warning
    assert not test.error
    if "Compare" in name:
        assert len(test.get("plotly_chart")) >= 4


def test_a_run_is_refused_on_a_full_disk_and_the_page_goes_on(
    cache: Cache, full_disk: Callable[[], None]
) -> None:
    test = page("app.py")
    full_disk()
    test.button(key="run quickstart").click().run()
    assert not test.exception
    assert "The queue cannot be written now" in texts(test)


def test_actions_on_a_locked_queue_are_refused_and_the_page_goes_on(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = finished(cache)
    test = page("pages/2_Runs.py", job=job)
    monkeypatch.setattr(database, "LOCK_SECONDS", 0.01)
    other = sqlite3.connect(cache.queue, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    next(button for button in test.button if button.label == "Delete this run").click().run()
    assert not test.exception
    assert "database is locked" in test.error[0].value
    assert "Quick start" in texts(test)
    assert "Deleted" not in texts(test)
    field = next(field for field in test.text_input if field.label == "Name of this run")
    field.set_value("Another name").run()
    assert "database is locked" in test.error[0].value
    other.close()
    (kept,) = Queue(cache.queue).jobs()
    assert (kept.id, kept.label) == (job, "Quick start")


def waiting_page() -> None:
    """A page whose queue could not be read ten seconds ago."""
    import time

    import streamlit as st

    from pages.components import lab
    from pruning_core.common.paths import cache_at

    if st.session_state.setdefault("drawn", 0):
        st.write("drawn again")
    else:
        st.session_state.drawn = 1
        lab._try_again(cache_at(), time.monotonic() - 10)


def test_a_page_whose_queue_could_not_be_read_is_drawn_again_once_it_can(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished(cache)
    monkeypatch.setattr(database, "LOCK_SECONDS", 0.01)
    other = sqlite3.connect(cache.queue, isolation_level=None)
    other.execute("PRAGMA locking_mode = EXCLUSIVE")
    other.execute("PRAGMA journal_mode = DELETE")
    other.execute("BEGIN EXCLUSIVE")
    assert "drawn again" not in texts(AppTest.from_function(waiting_page).run())
    other.close()
    assert "drawn again" in texts(AppTest.from_function(waiting_page).run())


def test_every_page_reports_a_worker_that_cannot_start(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    why = "The worker was started 5 times. Its log ends with: \"No module named 'torch'\"."
    monkeypatch.setattr(start, "ensure_worker", lambda *_: why)
    test = page("pages/3_Compare.py")
    assert not test.exception
    assert "No module named" in test.warning[0].value


def test_a_cache_that_cannot_be_created_stops_the_page_with_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "file" / "cache"))
    test = page("app.py")
    assert not test.exception
    (error,) = test.error
    assert "cannot be written" in error.value


def test_a_damaged_result_on_a_read_only_disk_counts_as_missing(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store cannot move the damaged entry away."""
    job = finished(cache)
    store = Store(cache)
    row = next(row for row in Queue(cache.queue).stages_of(job) if row.kind == "pruned")
    (cache.stage(row.key) / "manifest.json").write_text("{}")

    def read_only(*_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "replace", read_only)
    assert not store.intact(row.key)
    test = page("pages/3_Compare.py", runs=job)
    assert not test.exception


def test_a_queue_of_a_later_version_stops_the_page_with_a_sentence(cache: Cache) -> None:
    with sqlite3.connect(cache.queue) as db:
        db.execute("PRAGMA user_version = 1000")
    db.close()
    test = page("pages/2_Runs.py")
    assert not test.exception
    (error,) = test.error
    assert "was written by a later version" in error.value


def test_a_folder_with_other_files_does_not_become_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "project"
    (folder / "logs").mkdir(parents=True)
    (folder / "logs" / "mine").touch()
    monkeypatch.setenv(CACHE_VARIABLE, str(folder))
    test = page("app.py")
    assert not test.exception
    assert "holds other files" in test.error[0].value
    assert [path.name for path in folder.iterdir()] == ["logs"]


def test_a_silent_worker_is_named(cache: Cache) -> None:
    record = WorkerRecord(cache.queue)
    record.register("token", start.code_digest())
    with record._write() as db:
        db.execute("UPDATE worker SET heartbeat = heartbeat - 60")
    test = page("pages/2_Runs.py")
    assert not test.exception
    assert f"process {os.getpid()}, started" in test.warning[0].value.replace("\\", "")


def test_no_run_starts_beside_a_worker_of_another_checkout(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its source code would compute the run."""
    problem = "The worker of this cache runs other source code."
    monkeypatch.setattr(start, "other_code", lambda _: problem)
    test = page("app.py")
    test.button(key="run quickstart").click().run()
    assert not test.exception
    assert problem in texts(test).replace("\\", "")
    assert not Queue(cache.queue).busy()
