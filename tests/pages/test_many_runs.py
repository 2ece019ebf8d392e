"""The cost of a page depends on what it shows, not on how many runs the cache holds.

No test asserts a time: the tests count reads, and the steps of SQLite.
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
from pruning_core.results.goal import Goal
from pruning_core.results.models import results_frame
from pruning_core.results.rows import MEAN_COLUMNS, MODEL_COLUMNS, mean_over_seeds, rows_of
from pruning_core.results.verdict import verdicts
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
    by_runs = {runs: Cache(tmp_path_factory.mktemp(f"runs{runs}")) for runs in (FEW, MANY)}
    for runs, cache in by_runs.items():
        fill(cache, runs)
    return by_runs


@pytest.fixture
def shown(no_worker: None, monkeypatch: pytest.MonkeyPatch) -> Callable[[Cache, str], AppTest]:
    """Opens a page on a cache without a worker."""

    def show(cache: Cache, page: str) -> AppTest:
        monkeypatch.setenv(CACHE_VARIABLE, str(cache.root))
        test = AppTest.from_file(str(ROOT / page), default_timeout=60).run()
        assert not test.exception
        return test

    return show


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """Counts the manifests that are read, the connections, and SQLite's steps in fifties."""
    counts: Counter[str] = Counter()
    read, connected = Store._manifest, Database._connected

    def reading(self: Store, key: str) -> dict[str, Any]:
        counts["manifests"] += 1
        return read(self, key)

    def connecting(self: Database, name: str) -> Any:
        db = connected(self, name)
        counts["connections"] += 1
        db.set_progress_handler(lambda: counts.update(steps=1), STEPS)
        return db

    with (
        mock.patch.object(Store, "_manifest", reading),
        mock.patch.object(Database, "_connected", connecting),
    ):
        yield counts


@pytest.mark.parametrize("page", CONTROLS)
def test_a_page_reads_no_more_when_there_are_more_runs(
    caches: dict[int, Cache], shown: Callable[[Cache, str], AppTest], settled: None, page: str
) -> None:
    costs = {}
    for runs, cache in caches.items():
        test = shown(cache, page)
        with counted() as costs[runs]:
            CONTROLS[page](test, 1)
        assert not test.exception
    for what in ("manifests", "connections"):
        assert costs[FEW][what] == costs[MANY][what] > 0, what


QUERIES: dict[str, Callable[[Queue], object]] = {
    "what is unfinished": lambda queue: queue.unfinished(5),
    "the newest results": lambda queue: queue.started(5),
    "the newest pruned model": lambda queue: queue.pruned(5),
    "one run": lambda queue: queue.job(queue.jobs(1)[0].id),
    "no run": lambda queue: queue.job("x"),
    "is anything busy": lambda queue: queue.busy(),
    "a page of the list": lambda queue: JobList(queue.path).page(20),
}


@pytest.mark.parametrize("question", QUERIES)
def test_a_query_of_the_queue_reads_no_other_runs(caches: dict[int, Cache], question: str) -> None:
    steps = {}
    for runs, cache in caches.items():
        queue = Queue(cache.queue)
        with counted() as counts:
            QUERIES[question](queue)
        steps[runs] = counts["steps"]
    # The place of the rows in the index differs a little.
    assert steps[MANY] <= 1.5 * steps[FEW] + 2


def test_a_run_is_found_by_the_start_of_its_id(caches: dict[int, Cache]) -> None:
    queue = Queue(caches[MANY].queue)
    ids = [job.id for job in queue.jobs()]
    for start in (*ids[:5], *(name[:6] for name in ids[:5])):
        (only,) = [name for name in ids if name.startswith(start)]
        job = queue.job(start)
        assert job is not None
        assert job.id == only
    for unknown in ("", "%", ids[0] + "0", "\U0010ffff"):
        assert queue.job(unknown) is None


def publish(store: Store, accuracy: float) -> Path:
    with store.building(KEY) as folder:
        result = {"accuracy": accuracy}
        store.publish(KEY, folder, kind="pruned", parent="p", settings={}, result=result)
    return store.cache.stage(KEY) / MANIFEST


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files count as settled as soon as they are written."""
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
        first["accuracy"] = 0.0  # the reader has its own copy
        assert store.read(KEY) == {"accuracy": 0.5}
        assert done.call_count == 1
        assert store.verify(KEY)
        assert done.call_count == 2


def test_damage_after_a_read_is_detected(store: Store, settled: None) -> None:
    path = publish(store, 0.5)
    assert store.read(KEY) == {"accuracy": 0.5}
    path.write_text(path.read_text() + " damage")
    with pytest.raises(Missing):
        store.read(KEY)
    assert not store.exists(KEY)


def test_damage_with_the_same_size_and_time_is_detected_in_a_fresh_file(store: Store) -> None:
    path = publish(store, 0.5)
    assert store.read(KEY) == {"accuracy": 0.5}
    path.write_text(path.read_text().replace("0.5", "0.9"))
    with pytest.raises(Missing):
        store.read(KEY)


def test_a_replaced_stage_is_read_again(store: Store, settled: None) -> None:
    publish(store, 0.5)
    assert store.read(KEY) == {"accuracy": 0.5}
    store.remove(KEY)
    with pytest.raises(Missing):
        store.read(KEY)
    publish(store, 0.7)
    assert store.read(KEY) == {"accuracy": 0.7}


def points_of(cache: Cache) -> Any:
    """The table of the newest run, which Compare shows without a link."""
    (job,) = Queue(cache.queue).started(1)
    outline = Outline.from_json(job.outline)
    return results_frame(outline, Store(cache), job.label, job.id, "digits")


def test_the_best_model_follows_the_slider_and_the_report_agrees(
    caches: dict[int, Cache],
    shown: Callable[[Cache, str], AppTest],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files: dict[str, Any] = {}
    monkeypatch.setattr(
        "streamlit.download_button", lambda label, make, *_, **__: files.update({label: make})
    )
    test, points = shown(caches[FEW], "pages/3_Compare.py"), points_of(caches[FEW])
    sentences = set()
    for tolerance in (0.1, 5.0, 10.0):
        test.text_input(key="Compare.max_drop").set_value(str(tolerance)).run()
        (verdict,) = verdicts(points, Goal(tolerance / 100))
        figures = [figure.value for figure in verdict.figures]
        assert [metric.value for metric in test.metric] == figures
        report = files["HTML report"]()
        assert all(text in report for text in (*figures, *verdict.reasons, verdict.sentence))
        sentences.add(verdict.text)
    assert len(sentences) == 3


def test_a_mean_over_seeds_is_that_of_pandas() -> None:
    points = frame(comparison(), comparison(1, 8), comparison(2, -2))
    points.loc[3, "seconds"] = float("nan")
    expected = points.groupby(MODEL_COLUMNS, sort=False)[MEAN_COLUMNS].mean().reset_index()
    means = mean_over_seeds(rows_of(points))
    assert {row["seeds"] for row in means} == {3}
    for row, other in zip(means, expected.to_dict("records"), strict=True):
        assert {name: row[name] for name in MODEL_COLUMNS} == {
            name: other[name] for name in MODEL_COLUMNS
        }
        assert [row[n] for n in MEAN_COLUMNS] == pytest.approx(
            [other[n] for n in MEAN_COLUMNS], rel=1e-12, nan_ok=True
        )
