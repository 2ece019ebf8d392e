"""A page costs what it shows, however many runs the cache holds, and stays right when it is quick.

No test asserts a time: they count what is read, and what SQLite does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from streamlit.testing.v1 import AppTest

from pruning_core.common.paths import CACHE_VARIABLE, Cache
from pruning_core.planning.stage import Missing, Outline
from pruning_core.results import models
from pruning_core.results.best_model import answers
from pruning_core.results.rows import MEANS, POINT, mean_over_seeds, rows_of
from pruning_core.storage import store as stores
from pruning_core.storage.database import Database
from pruning_core.storage.job_list import JobList
from pruning_core.storage.jobs import Queue
from pruning_core.storage.store import MANIFEST, Store
from tests.helpers.frames import comparison, frame
from tests.helpers.many_runs import CONTROLS, ROOT, fill

FEW, MANY = 22, 60  # both more than a page of the list holds
STEPS = 50
KEY = "ab" * 32


@pytest.fixture(scope="module")
def caches(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Cache]:
    """Two caches whose newest runs have as many stages, but which hold few and many runs."""
    made = {runs: Cache(tmp_path_factory.mktemp(f"runs{runs}")) for runs in (FEW, MANY)}
    for runs, cache in made.items():
        fill(cache, runs)
    return made


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Callable[[Cache, str], AppTest]:
    """Opens a page on a cache without a worker."""
    monkeypatch.setattr("pruning_core.worker.start.ensure_worker", lambda *_: "")

    def show(cache: Cache, page: str) -> AppTest:
        monkeypatch.setenv(CACHE_VARIABLE, str(cache.root))
        test = AppTest.from_file(str(ROOT / page), default_timeout=60).run()
        assert not test.exception
        return test

    return show


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """Counts the manifests that are asked for, the connections, and SQLite's steps in fifties."""
    found: Counter[str] = Counter()
    read, connected = Store._manifest, Database._connected

    def reading(self: Store, key: str) -> dict[str, Any]:
        found["manifests"] += 1
        return read(self, key)

    def connecting(self: Database, name: str) -> Any:
        db = connected(self, name)
        found["connections"] += 1
        db.set_progress_handler(lambda: found.update(steps=1), STEPS)
        return db

    with (
        mock.patch.object(Store, "_manifest", reading),
        mock.patch.object(Database, "_connected", connecting),
    ):
        yield found


@pytest.mark.parametrize("page", CONTROLS)
def test_a_page_reads_no_more_where_there_are_more_runs(
    caches: dict[int, Cache], shown: Callable[[Cache, str], AppTest], page: str
) -> None:
    costs = {}
    for runs, cache in caches.items():
        test = shown(cache, page)
        with counted() as costs[runs]:
            CONTROLS[page](test, 1)
        assert not test.exception
    for what in ("manifests", "connections"):
        assert costs[FEW][what] == costs[MANY][what] > 0, what


ASKED: dict[str, Callable[[Queue], object]] = {
    "what is unfinished": lambda queue: queue.unfinished(5),
    "the newest results": lambda queue: queue.started(5),
    "one run": lambda queue: queue.job(queue.jobs(1)[0].id),
    "no run": lambda queue: queue.job("x"),
    "is anything busy": lambda queue: queue.busy(),
    "a page of the list": lambda queue: JobList(queue.path).page(20),
}


@pytest.mark.parametrize("question", ASKED)
def test_the_queue_looks_at_no_run_that_is_not_asked_for(
    caches: dict[int, Cache], question: str
) -> None:
    steps = {}
    for runs, cache in caches.items():
        queue = Queue(cache.queue)
        with counted() as found:
            ASKED[question](queue)
        steps[runs] = found["steps"]
    assert steps[MANY] <= steps[FEW] + 2


def test_a_run_is_found_by_the_start_of_its_id(caches: dict[int, Cache]) -> None:
    queue = Queue(caches[MANY].queue)
    ids = [job.id for job in queue.jobs()]
    for start in (*ids[:5], *(name[:6] for name in ids[:5])):
        (only,) = [name for name in ids if name.startswith(start)]
        found = queue.job(start)
        assert found is not None
        assert found.id == only
    for nobodys in ("", "%", ids[0] + "0", "\U0010ffff"):
        assert queue.job(nobodys) is None


def publish(store: Store, accuracy: float) -> Path:
    with store.building(KEY) as folder:
        found = {"accuracy": accuracy}
        store.publish(KEY, folder, kind="pruned", parent="p", settings={}, result=found)
    return store.cache.stage(KEY) / MANIFEST


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files count as long unchanged as soon as they are written."""
    monkeypatch.setattr("pruning_core.storage.store.SETTLED_SECONDS", float("-inf"))


@contextmanager
def checks() -> Iterator[mock.Mock]:
    """How often a manifest is read and checked against its seal."""
    with mock.patch("pruning_core.storage.store._checked", wraps=stores._checked) as counted_checks:
        yield counted_checks


def test_a_manifest_is_checked_once_while_it_stays_the_same(store: Store, settled: None) -> None:
    publish(store, 0.5)
    with checks() as done:
        first = store.read(KEY)
        first["accuracy"] = 0.0  # whoever changes what was read changes it for nobody else
        assert store.read(KEY) == {"accuracy": 0.5}
        assert done.call_count == 1
        assert store.verify(KEY)
        assert done.call_count == 2


def test_damage_after_it_was_read_is_noticed(store: Store, settled: None) -> None:
    path = publish(store, 0.5)
    assert store.read(KEY) == {"accuracy": 0.5}
    path.write_text(path.read_text() + " damage")
    with pytest.raises(Missing):
        store.read(KEY)
    assert not store.exists(KEY)


def test_damage_that_hides_in_size_and_time_is_noticed_while_it_is_fresh(store: Store) -> None:
    path = publish(store, 0.5)
    assert store.read(KEY) == {"accuracy": 0.5}
    path.write_text(path.read_text().replace("0.5", "0.9"))
    with pytest.raises(Missing):
        store.read(KEY)


def test_a_stage_that_was_made_anew_is_read_anew(store: Store, settled: None) -> None:
    publish(store, 0.5)
    assert store.read(KEY) == {"accuracy": 0.5}
    store.remove(KEY)
    with pytest.raises(Missing):
        store.read(KEY)
    publish(store, 0.7)
    assert store.read(KEY) == {"accuracy": 0.7}


def points_of(cache: Cache) -> Any:
    """The table of the newest run, which Compare shows where no other is named."""
    (job,) = Queue(cache.queue).started(1)
    outline = Outline.from_json(job.outline)
    return models.points(outline, Store(cache), job.label, job.id, "digits")


def test_the_answer_follows_the_slider_and_the_report_asks_the_same(
    caches: dict[int, Cache],
    shown: Callable[[Cache, str], AppTest],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files: dict[str, Any] = {}
    monkeypatch.setattr(
        "streamlit.download_button", lambda label, make, *_, **__: files.update({label: make})
    )
    test, points = shown(caches[FEW], "pages/3_Compare.py"), points_of(caches[FEW])
    told = set()
    for tolerance in (0.1, 5.0, 10.0):
        test.slider(key="tolerance").set_value(tolerance).run()
        (answer,) = answers(points, tolerance / 100)
        figures = answer.headline.figures if answer.headline else ()
        assert [metric.value for metric in test.metric] == [value for _, value in figures]
        assert answer.text in files["HTML report"]()
        told.add(answer.text)
    assert len(told) == 3


def test_a_mean_over_seeds_is_that_of_pandas() -> None:
    points = frame(comparison(), comparison(1, 8), comparison(2, -2))
    points.loc[3, "seconds"] = float("nan")
    expected = points.groupby(POINT, sort=False)[MEANS].mean().reset_index()
    found = mean_over_seeds(rows_of(points))
    assert {row["seeds"] for row in found} == {3}
    for row, other in zip(found, expected.to_dict("records"), strict=True):
        assert {name: row[name] for name in POINT} == {name: other[name] for name in POINT}
        assert [row[n] for n in MEANS] == pytest.approx(
            [other[n] for n in MEANS], rel=1e-12, nan_ok=True
        )
