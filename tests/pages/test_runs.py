"""Runs: the list that shows the queue, the log it opens, and what it says where nothing is."""

from __future__ import annotations

import re
import sqlite3
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from streamlit.testing.v1 import AppTest

from pages.components import live, shell
from pruning_core.common.paths import CACHE_VARIABLE, Cache
from pruning_core.planning.plan import plan
from pruning_core.planning.presets import QUICKSTART
from pruning_core.reports.charts.training import history_figure
from pruning_core.settings.spec import Spec
from pruning_core.storage import job_list
from pruning_core.storage.job_list import JobList, Run, StageProgress, run_from_progress
from pruning_core.storage.job_progress import job_progress
from pruning_core.storage.jobs import Queue
from pruning_core.storage.stage_queue import Row
from pruning_core.storage.store import Store
from tests.helpers.inspections import Facts
from tests.pages.test_pages import finished, open_page, texts


@pytest.fixture(autouse=True)
def no_worker(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pages see the test's cache, and start no process."""
    monkeypatch.setenv(CACHE_VARIABLE, str(cache.root))
    monkeypatch.setattr("pruning_core.worker.start.ensure_worker", lambda *_: "")


def seeded(i: int) -> Spec:
    return replace(QUICKSTART, seeds=(i,))


def waiting(queue: Queue, i: int = 0) -> str:
    """A job whose stages are all queued."""
    job = queue.submit(seeded(i), f"waiting {i}")
    queue.expand(job, plan(seeded(i), Facts(seeded(i))), ())
    return job


def cancelled(queue: Queue, i: int) -> str:
    job = queue.submit(seeded(i), f"cancelled {i}")
    queue.cancel(job)
    return job


def claimed(queue: Queue) -> Row:
    row = queue.claim("t", 2)
    assert row is not None
    return row


def rows(test: AppTest) -> list[str]:
    """The labels of the runs in the list, in order."""
    return [b.label for b in test.button if (b.key or "").startswith("open ")]


def press(test: AppTest, label: str) -> AppTest:
    return next(b for b in test.button if b.label == label).click().run()


def test_the_list_shows_every_run_with_its_state(cache: Cache, queue: Queue) -> None:
    waiting(queue, 1)
    finished(cache)
    test = open_page("pages/2_Runs.py")
    assert rows(test) == ["**waiting 1**", "**Quick start**"]
    badges = re.findall(r"badge\[(\w+)\]", "".join(m.value for m in test.markdown))
    assert badges[:2] == ["Waiting", "Finished"]
    assert "15 of 15 stages" in texts(test)


def test_a_click_opens_a_run_below_and_names_it_in_the_link(cache: Cache, queue: Queue) -> None:
    job = finished(cache)
    other = waiting(queue, 1)
    test = open_page("pages/2_Runs.py", job=other)
    assert "Cancel" in [b.label for b in test.button]
    test.button(key=f"open {job}").click().run()
    assert test.query_params["job"] in (job, [job])
    assert "Compare" in [b.label for b in test.button]
    assert not test.exception


def test_twenty_runs_a_page_and_the_linked_one_on_each(queue: Queue) -> None:
    names = [cancelled(queue, i) for i in range(25)]
    test = open_page("pages/2_Runs.py", job=names[0])
    assert len(rows(test)) == 21
    assert "cancelled 0" in rows(test)[-1]
    assert "cancelled 24" in rows(test)[0]
    press(test, "Older")
    assert [r.strip("*").split()[-1] for r in rows(test)] == ["4", "3", "2", "1", "0"]
    assert "cancelled 24" in rows(press(test, "Newer"))[0]


def test_what_is_active_stands_first_however_old(queue: Queue) -> None:
    old = waiting(queue, 100)
    for i in range(25):
        cancelled(queue, i)
    shown, more = JobList(queue.path).page(20)
    assert (shown[0].job.id, shown[0].state, more) == (old, "queued", True)
    assert [run.job.label for run in shown[1:]] == [f"cancelled {i}" for i in range(24, 4, -1)]
    second, more = JobList(queue.path).page(20, 2)
    assert (len(second), more) == (6, False)


def test_a_failed_run_that_blocks_stages_is_not_active(queue: Queue) -> None:
    job = waiting(queue, 100)
    queue.fail(claimed(queue).key, "t", "why")
    for row in queue.stages_of(job):
        if not row.parent and row.status == "queued":
            queue.fail(claimed(queue).key, "t", "why")
    for i in range(25):
        cancelled(queue, i)
    assert job not in [run.job.id for run in JobList(queue.path).page(20)[0]]


def test_a_page_of_the_list_is_one_query(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(30):
        waiting(queue, i)
    found = JobList(queue.path)
    asked: list[str] = []
    connect = sqlite3.connect

    def watched(*arguments: object, **options: object) -> sqlite3.Connection:
        db = connect(*arguments, **options)  # type: ignore[call-overload]
        db.set_trace_callback(asked.append)
        return db

    monkeypatch.setattr("pruning_core.storage.database.sqlite3.connect", watched)
    found.page(20)
    assert len([query for query in asked if "jobs" in query or "stages" in query]) == 1


def test_a_page_of_the_list_reads_no_table_from_end_to_end(queue: Queue) -> None:
    values = {"limit": 21, "offset": 0, "wanted": ""}
    with queue._connect() as db:
        steps = [
            row["detail"] for row in db.execute(f"EXPLAIN QUERY PLAN {job_list.QUERY}", values)
        ]
    scans = [step for step in steps if step.startswith("SCAN") and "INDEX" not in step]
    assert [s for s in scans if re.fullmatch(r"SCAN (jobs|stages|wants|[jswp])", s)] == []


def test_the_list_and_the_opened_run_tell_the_same(cache: Cache, queue: Queue) -> None:
    job = waiting(queue)
    row = claimed(queue)
    queue.beat(row.key, "t", 1, {"fraction": 0.5, "history": []})
    (listed,), _ = JobList(queue.path).page(20)
    opened = run_from_progress(job_progress(queue, job))
    assert (listed.state, listed.done) == (opened.state, opened.done) == ("running", 0)
    told = [(step.status, step.work, step.fraction) for step in listed.steps]
    assert sorted(told) == sorted((s.status, s.work, s.fraction) for s in opened.steps)
    assert 0 < listed.fraction < 0.02  # half a look at the images is no half of the run


def run(*steps: StageProgress, state: str = "running") -> Run:
    return Run(None, state, steps)  # type: ignore[arg-type]


def done(begin: float, end: float, work: float = 1.0) -> StageProgress:
    return StageProgress("done", work, 1.0, begin, end)


def test_time_left_goes_by_the_epochs_done_and_the_cores() -> None:
    steps = (done(10, 30, 10.0), *[StageProgress("queued", 5.0, 0.0, None, None)] * 4)
    assert run(*steps).seconds_left(1) == pytest.approx(40)
    assert run(*steps).seconds_left(2) == pytest.approx(20)
    assert run(*steps, state="queued").seconds_left(2) is None
    assert run(StageProgress("queued", 1.0, 0.0, None, None)).seconds_left(2) is None


def test_time_spent_leaves_out_the_nights_between() -> None:
    assert run(done(0.5, 10), done(5, 12), done(1000, 1003)).seconds_spent == pytest.approx(14.5)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(1, 50), st.integers(0, 20)), max_size=6))
def test_time_spent_is_the_seconds_in_which_something_ran(spans: list[tuple[int, int]]) -> None:
    busy = {t for begin, length in spans for t in range(begin, begin + length)}
    steps = [done(begin, begin + length) for begin, length in spans]
    assert run(*steps).seconds_spent == pytest.approx(len(busy))


def log_box(test: AppTest) -> str:
    return next(box for box in test.selectbox if box.label == "Stage").value


def test_the_log_opens_on_the_stage_that_failed(cache: Cache, queue: Queue) -> None:
    job = waiting(queue)
    keys = [row.key for row in queue.stages_of(job)]
    for key in keys[:4]:
        cache.log(key).write_text(f"log of {key}")
    first, second = claimed(queue), claimed(queue)
    queue.finish(first.key, "t")
    assert log_box(open_page("pages/2_Runs.py", job=job)) == second.key
    queue.fail(second.key, "t", "Traceback\nValueError: no")
    test = open_page("pages/2_Runs.py", job=job)
    assert log_box(test) == second.key
    assert f"log of {second.key}" in [code.value for code in test.code]


def test_where_nothing_failed_or_runs_the_log_is_that_of_the_last(queue: Queue) -> None:
    job = waiting(queue)
    made = queue.stages_of(job)
    ended = [replace(row, status="done", started=float(i)) for i, row in enumerate(made)]
    assert live.told_first(ended) == made[-1].key
    failed = [*ended[:3], replace(ended[3], status="running"), replace(ended[4], status="failed")]
    assert live.told_first(failed) == made[4].key


@pytest.mark.parametrize("end", ["cancel", "refuse"])
def test_an_ended_run_promises_no_curves(queue: Queue, end: str) -> None:
    job = queue.submit(QUICKSTART, "ended")
    assert "The curves begin" in texts(open_page("pages/2_Runs.py", job=job))
    if end == "cancel":
        queue.cancel(job)
    else:
        queue.refuse(job, "data.train_size", "9 images were asked for, but there are 3.")
    said = texts(open_page("pages/2_Runs.py", job=job))
    assert "The curves begin" not in said
    assert "No epoch was trained" in said


def epochs(n: int) -> list[dict[str, float]]:
    return [{"epoch": e, "loss": 1.0 / e, "accuracy": 0.5} for e in range(1, n + 1)]


def test_the_steps_of_the_chain_are_one_curve_in_whole_epochs(cache: Cache, queue: Queue) -> None:
    job = waiting(queue)
    for _ in range(15):
        row = claimed(queue)
        n = row.settings.get("epochs", 0)
        queue.beat(row.key, "t", 1, {"fraction": 1.0, "history": epochs(n)})
        queue.finish(row.key, "t")
    now = job_progress(queue, job)
    lab = shell.Lab(cache, Store(cache), queue)
    found, strategies = live.histories(lab, now, 0)
    each, steps = QUICKSTART.iterative.epochs, QUICKSTART.iterative.iterations
    assert [e["epoch"] for e in found["iterative"]] == list(range(1, int(each) * steps + 1))
    assert found["iterative"][-1]["stage"].startswith(f"step {steps}")
    assert set(strategies) == {"baseline", "dense control", "iterative", "same epochs 90 %"} | {
        f"one-shot {amount:.0%}".replace("%", " %") for amount in (0.3, 0.5, 0.7, 0.9)
    }
    test = open_page("pages/2_Runs.py", job=job)
    assert len(test.get("plotly_chart")) == 2


def test_half_epoch_steps_and_the_tail_follow_one_another(cache: Cache, queue: Queue) -> None:
    chain = replace(QUICKSTART.iterative, iterations=2, epochs=0.5, final_epochs=1.5)
    spec = replace(QUICKSTART, iterative=chain)
    job = queue.submit(spec, "halves")
    queue.expand(job, plan(spec, Facts(spec)), ())
    while row := queue.claim("t", 2):
        ends = [*range(1, int(n) + 1), n] if (n := row.settings.get("epochs", 0)) % 1 else []
        history = [{"epoch": end, "loss": 1.0, "accuracy": 0.5} for end in ends]
        queue.beat(row.key, "t", 1, {"fraction": 1.0, "history": history})
        queue.finish(row.key, "t")
    lab = shell.Lab(cache, Store(cache), queue)
    found, _ = live.histories(lab, job_progress(queue, job), 0)
    told = [(entry["epoch"], entry["stage"]) for entry in found["iterative"]]
    steps = [(0.5, "step 1, 68.4 %"), (1, "step 2, 90 %")]
    assert told == [*steps, (2, "tail, 90 %"), (2.5, "tail, 90 %")]


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 5000))
def test_ticks_stand_at_whole_epochs_only(last: int) -> None:
    step = history_figure({"a": [{"epoch": last, "loss": 1.0}]}).layout.xaxis.dtick
    assert step == int(step) >= 1
    assert last / step <= 8


def test_a_damaged_result_does_not_break_the_page(cache: Cache) -> None:
    job = finished(cache)
    for row in Queue(cache.queue).stages_of(job):
        (cache.stage(row.key) / "manifest.json").write_text("{")
    test = open_page("pages/2_Runs.py", job=job)
    assert not test.exception


def test_each_seed_has_its_curves(cache: Cache) -> None:
    job = finished(cache, replace(QUICKSTART, seeds=(0, 1)))
    test = open_page("pages/2_Runs.py", job=job)
    assert not test.exception
    assert "Seed" in [control.label for control in test.get("button_group")]
