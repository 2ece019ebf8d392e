"""The columns of the list of runs: each has a text and an order, on every page of the list."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pruning_core.results.run_columns import COLUMNS, needs_results, order_of
from pruning_core.results.run_summary import RunSummary
from pruning_core.storage.job_edits import Edit
from pruning_core.storage.job_list import JobList
from pruning_core.storage.jobs import Queue
from tests.helpers.queues import SMALL

NAMES = ("beta", "Alpha", "gamma")
SUMMARIES = (
    RunSummary("70 %", "90 %", 0.7, 0.9),
    RunSummary("none", "80 %", None, 0.8),
    RunSummary("90 %", "", 0.9, None),
)
# The names of the runs in the order of a column, and in the reverse order. Runs without a value
# come last in both, and equal ones newest first.
EXPECTED = {
    "star": ("Alpha gamma beta", "gamma beta Alpha"),
    "name": ("Alpha beta gamma", "gamma beta Alpha"),
    "state": ("gamma beta Alpha", "Alpha beta gamma"),
    "tags": ("gamma beta Alpha", "beta gamma Alpha"),
    "dataset": ("gamma Alpha beta", "gamma Alpha beta"),
    "model": ("gamma Alpha beta", "gamma Alpha beta"),
    "changes": ("Alpha gamma beta", "gamma Alpha beta"),
    "best": ("gamma beta Alpha", "beta gamma Alpha"),
    "accuracy": ("beta Alpha gamma", "Alpha beta gamma"),
    "started": ("gamma Alpha beta", "beta Alpha gamma"),
    "took": ("Alpha gamma beta", "gamma Alpha beta"),
    "notes": ("Alpha beta gamma", "beta Alpha gamma"),
}


@pytest.fixture
def ids(queue: Queue) -> list[str]:
    """Three runs that differ in every column: refused, cancelled and planned ones."""
    jobs = []
    for seed, name in enumerate(NAMES):
        jobs.append(queue.submit(replace(SMALL, seeds=(seed,)), name))
    first, second, third = jobs
    queue.refuse(first, "seeds", "no")
    queue.cancel(second)
    queue.edit([first], Edit(notes="b", add_tags=("z",)))
    queue.edit([second], Edit(starred=True, notes="a"))
    queue.edit([third], Edit(add_tags=("a",)))
    with queue._write() as db:
        # Stages of the second run took 5 s and then 3 s; a refused one has taken no time.
        for job, spans in ((second, ((0, 5), (4, 8))), (third, ((0, 3),))):
            for number, (begin, end) in enumerate(spans):
                key = f"{job}{number}"
                created = queue.job(job).created  # type: ignore[union-attr]
                db.execute(
                    "INSERT INTO stages (key, kind, parent, settings, hints, threads, urgency,"
                    " status, created, started, finished)"
                    " VALUES (?, 'pruned', '', '{}', '{}', 1, 1, 'done', 0, ?, ?)",
                    (key, created + begin, created + end),
                )
                db.execute("INSERT INTO wants VALUES (?, ?, ?)", (job, key, number))
    return jobs


@pytest.mark.parametrize("name", COLUMNS)
@pytest.mark.parametrize("reverse", [False, True])
def test_every_column_sorts_the_list_over_its_pages(
    queue: Queue, ids: list[str], name: str, reverse: bool
) -> None:
    summaries = dict(zip(ids, SUMMARIES, strict=True))
    order = order_of(name, reverse, summaries if needs_results(name) else None)
    shown: list[str] = []
    for page in range(1, 4):
        runs, more = JobList(queue.path).page(1, page, order=order)
        assert more == (page < len(ids))
        shown += [run.job.label for run in runs]
    assert shown == EXPECTED[name][reverse].split()


def test_every_column_is_expected() -> None:
    assert list(EXPECTED) == list(COLUMNS)
