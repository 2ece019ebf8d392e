"""Runs: the list of runs, the log, the curves, and the texts of ended runs."""

from __future__ import annotations

import re
import sqlite3
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from streamlit.testing.v1 import AppTest

from pages.components import live, run_table
from pages.components.lab import Lab
from pages.components.page_store import PageStore
from pruning_core.common.errors import Share, SpecError
from pruning_core.common.paths import Cache
from pruning_core.planning.measurement_types import SensitivitySettings
from pruning_core.planning.plan import plan
from pruning_core.planning.presets import QUICKSTART
from pruning_core.planning.stage import Plan, Stage, outline
from pruning_core.planning.stage_types import stored
from pruning_core.reports.charts.training import training_curves
from pruning_core.results.models import titles
from pruning_core.results.run_columns import COLUMNS, time_text
from pruning_core.settings.spec import Spec
from pruning_core.storage import job_list
from pruning_core.storage.job_edits import Edit
from pruning_core.storage.job_list import JobFilter, JobList, Run, StageProgress, run_from_progress
from pruning_core.storage.job_progress import job_progress
from pruning_core.storage.job_record import Job
from pruning_core.storage.jobs import Queue
from pruning_core.storage.stage_queue import Row
from tests.helpers.inspections import Facts
from tests.helpers.pages import finished, open_page, texts
from tests.helpers.refusals import ended

pytestmark = pytest.mark.usefixtures("no_worker")


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


def listed(test: AppTest, column: str = "Name") -> list[str]:
    """The texts of a column of the list, in order."""
    return list(test.dataframe[0].value[column])


def press(test: AppTest, label: str) -> AppTest:
    return next(b for b in test.button if b.label == label).click().run()


def test_the_list_shows_every_run_with_its_state(cache: Cache, queue: Queue) -> None:
    waiting(queue, 1)
    finished(cache)
    test = open_page("pages/2_Runs.py")
    assert listed(test) == ["waiting 1", "Quick start"]
    assert listed(test, "State") == ["Waiting", "Finished"]
    assert listed(test, "Data set") == ["digits"] * 2
    assert listed(test, "Changed settings") == ["", "seeds=0"]
    assert listed(test, "Accuracy at target") == ["", "63 % at 90 %"]
    assert listed(test, "Best within goal")[1] == "none"


def test_twenty_runs_a_page(queue: Queue) -> None:
    for i in range(25):
        cancelled(queue, i)
    test = open_page("pages/2_Runs.py")
    assert len(listed(test)) == 20
    assert listed(test)[0] == "cancelled 24"
    press(test, "Next page")
    assert listed(test) == [f"cancelled {i}" for i in (4, 3, 2, 1, 0)]
    assert test.query_params["page"] == "2"
    assert listed(press(test, "Previous page"))[0] == "cancelled 24"
    test = open_page("pages/2_Runs.py", page="3")
    assert len(listed(test)) == 20
    assert "The list has no page 3" in texts(test)


def test_active_runs_come_first_however_old(queue: Queue) -> None:
    old = waiting(queue, 100)
    for i in range(25):
        cancelled(queue, i)
    shown, more = JobList(queue.path).page(20)
    assert (shown[0].job.id, shown[0].state, more) == (old, "queued", True)
    assert [run.job.label for run in shown[1:]] == [f"cancelled {i}" for i in range(24, 4, -1)]
    second, more = JobList(queue.path).page(20, 2)
    assert (len(second), more) == (6, False)
    third, _ = JobList(queue.path).page(20, 1, JobFilter(state="cancelled"))
    assert old not in [run.job.id for run in third]


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
    listing = JobList(queue.path)
    queries: list[str] = []
    connect = sqlite3.connect

    def watched(*arguments: object, **options: object) -> sqlite3.Connection:
        db = connect(*arguments, **options)  # type: ignore[call-overload]
        db.set_trace_callback(queries.append)
        return db

    monkeypatch.setattr("pruning_core.storage.database.sqlite3.connect", watched)
    listing.page(20)
    assert len([query for query in queries if "jobs" in query or "stages" in query]) == 1


def test_a_page_of_the_list_reads_no_table_from_end_to_end(queue: Queue) -> None:
    where, _ = JobFilter().where()
    query = job_list.QUERY.format(where=where, order="")
    with queue._connect() as db:
        values = {"limit": 21, "offset": 0, "first": True}
        steps = [row["detail"] for row in db.execute(f"EXPLAIN QUERY PLAN {query}", values)]
    scans = [step for step in steps if step.startswith("SCAN") and "INDEX" not in step]
    assert [s for s in scans if re.fullmatch(r"SCAN (jobs|stages|wants|[jswp])", s)] == []


def test_the_list_and_the_opened_run_agree(cache: Cache, queue: Queue) -> None:
    job = waiting(queue)
    row = claimed(queue)
    queue.beat(row.key, "t", 1, {"fraction": 0.5, "history": []})
    (entry,), _ = JobList(queue.path).page(20)
    opened = run_from_progress(job_progress(queue, job))
    assert (entry.state, entry.done) == (opened.state, opened.done) == ("running", 0)
    assert job_progress(queue, job).fraction == pytest.approx(
        entry.fraction
    )  # in the navigation and the list
    steps = [(step.status, step.work, step.fraction) for step in entry.steps]
    assert sorted(steps) == sorted((s.status, s.work, s.fraction) for s in opened.steps)
    assert 0 < entry.fraction < 0.02  # half of an inspection is not half of the run


def run(*steps: StageProgress, state: str = "running", created: float = 0.0, cores: int = 1) -> Run:
    job = Job("0" * 12, "run", "{}", created, "active", "", "", "")
    return Run(job, state, steps, cores)


def done(begin: float, end: float, work: float = 1.0) -> StageProgress:
    return StageProgress("done", work, 1.0, begin, end)


def test_the_remaining_time_follows_from_epochs_and_cores() -> None:
    steps = (done(10, 30, 10.0), *[StageProgress("queued", 5.0, 0.0, None, None)] * 4)
    assert run(*steps).remaining_seconds() == pytest.approx(40)
    assert run(*steps, cores=2).remaining_seconds() == pytest.approx(20)
    assert run(*steps, state="queued").remaining_seconds() is None
    assert run(StageProgress("queued", 1.0, 0.0, None, None)).remaining_seconds() is None


def test_a_stage_on_two_cores_leaves_none_for_others() -> None:
    """Two baselines of a minute each, on the two cores of the machine: another one remains."""
    second = StageProgress("queued", 10.0, 0.0, None, None, cores=2)
    steps = (StageProgress("done", 10.0, 1.0, 10, 70, cores=2), second)
    assert run(*steps, cores=2).remaining_seconds() == pytest.approx(60)


def test_stages_without_epochs_take_an_unknown_time() -> None:
    """Corrections may take minutes each."""
    corrections = [StageProgress("queued", 0.2, 0.0, None, None)] * 4
    assert run(done(10, 30, 10.0), *corrections).remaining_seconds() is None
    training = [StageProgress("queued", 10.0, 0.0, None, None)] * 5
    assert run(done(10, 30, 10.0), *corrections, *training).remaining_seconds() is not None


def test_a_running_stage_ends_by_its_own_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_list.time, "time", lambda: 200.0)
    slow = StageProgress("running", 10.0, 0.25, 100.0, None)
    assert run(done(10, 30, 10.0), slow).remaining_seconds() == pytest.approx(300)
    begun = StageProgress("running", 10.0, 0.01, 199.0, None)
    assert run(done(10, 30, 10.0), begun).remaining_seconds() == pytest.approx(
        21 / 10.1 * 10 * 0.99
    )


def test_the_remaining_time_is_a_rounded_range() -> None:
    """As the estimate before a run, and the same in the list and on the page of the run."""
    steps = (done(10, 210, 10.0), *[StageProgress("queued", 5.0, 0.0, None, None)] * 4)
    assert run(*steps, cores=2).remaining_range() == (150.0, 300.0)
    assert time_text(run(*steps, cores=2)) == "2 to 5 min left"


def test_the_time_spent_excludes_pauses() -> None:
    assert run(done(0.5, 10), done(5, 12), done(1000, 1003)).seconds_spent == pytest.approx(14.5)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(1, 50), st.integers(0, 20)), max_size=6))
def test_the_time_spent_is_the_seconds_in_which_a_stage_ran(spans: list[tuple[int, int]]) -> None:
    busy = {t for begin, length in spans for t in range(begin, begin + length)}
    steps = [done(begin, begin + length) for begin, length in spans]
    assert run(*steps).seconds_spent == pytest.approx(len(busy))


def test_stages_from_the_cache_took_no_time_and_set_no_pace() -> None:
    """One stage ran before this run was submitted, one ran then, and one was in the store."""
    cached, stored = done(100, 200, 5.0), StageProgress("done", 5.0, 1.0, None, None)
    waiting = StageProgress("queued", 10.0, 0.0, None, None)
    steps = (cached, done(190, 230), done(300, 310), stored, waiting)
    assert run(*steps, created=210).seconds_spent == pytest.approx(30)
    pace = (100 + 40 + 10) / 7
    assert run(*steps, created=210).remaining_seconds() == pytest.approx(10 * pace)


def logged_stage(test: AppTest) -> str:
    """The key of the stage whose log is shown."""
    return str(next(box for box in test.selectbox if box.label == "Stage").value)


def test_the_log_opens_on_the_stage_that_failed(cache: Cache, queue: Queue) -> None:
    job = waiting(queue)
    keys = [row.key for row in queue.stages_of(job)]
    for key in keys[:4]:
        cache.log(key).write_text(f"log of {key}")
    first, second = claimed(queue), claimed(queue)
    queue.finish(first.key, "t")
    assert logged_stage(open_page("pages/2_Runs.py", job=job)) == second.key
    queue.fail(second.key, "t", "Traceback\nValueError: no")
    test = open_page("pages/2_Runs.py", job=job)
    assert logged_stage(test) == second.key
    assert f"log of {second.key}" in [code.value for code in test.code]


def test_the_log_is_that_of_the_last_stage_where_none_failed_or_runs(queue: Queue) -> None:
    job = waiting(queue)
    stages = queue.stages_of(job)
    ended = [replace(row, status="done", started=float(i)) for i, row in enumerate(stages)]
    assert live.first_log(ended) == stages[-1].key
    failed = [*ended[:3], replace(ended[3], status="running"), replace(ended[4], status="failed")]
    assert live.first_log(failed) == stages[4].key


@pytest.mark.parametrize("end", ["cancel", "refuse"])
def test_an_ended_run_promises_no_curves(queue: Queue, end: str) -> None:
    job = queue.submit(QUICKSTART, "ended")
    assert "Curves appear after the first epoch." in texts(open_page("pages/2_Runs.py", job=job))
    if end == "cancel":
        queue.cancel(job)
    else:
        error = SpecError("data.train_size", "{asked} is more than there are.", asked=Share(0.5))
        queue.refuse(job, error.field, error.to_json())
    text = texts(open_page("pages/2_Runs.py", job=job))
    assert "Curves appear" not in text
    assert "No epoch was trained" in text
    # The queue holds JSON; the page shows the sentence with the title and percent.
    assert ("Training images: 50 % is more than there are." in text) == (end == "refuse")
    assert "{" not in text
    assert "stages" not in text


def epochs(n: int) -> list[dict[str, float]]:
    return [{"epoch": e, "loss": 1.0 / e, "accuracy": 0.5} for e in range(1, n + 1)]


def test_the_iterative_steps_are_one_curve_in_whole_epochs(cache: Cache, queue: Queue) -> None:
    job = waiting(queue)
    for _ in range(15):
        row = claimed(queue)
        n = row.settings.get("epochs", 0)
        queue.beat(row.key, "t", 1, {"fraction": 1.0, "history": epochs(n)})
        queue.finish(row.key, "t")
    now = job_progress(queue, job)
    lab = Lab(cache, PageStore(cache), queue)
    histories, strategies = live.histories(lab, now, 0)
    each, steps = QUICKSTART.iterative.epochs, QUICKSTART.iterative.iterations
    assert [e["epoch"] for e in histories["iterative"]] == list(range(1, int(each) * steps + 1))
    planned = outline(plan(QUICKSTART, Facts(QUICKSTART)))
    names = {model: titles(planned)[model.key][0] for model in planned.models}
    iterative = [model for model in planned.models if model.strategy == "iterative"]
    assert histories["iterative"][-1]["stage"] == names[iterative[-1]]
    others = {name for model, name in names.items() if model not in iterative}
    assert set(strategies) == others | {"iterative"}
    test = open_page("pages/2_Runs.py", job=job)
    assert len(test.get("plotly_chart")) == 2


def test_half_epochs_and_final_fine_tuning_are_one_curve(cache: Cache, queue: Queue) -> None:
    chain = replace(QUICKSTART.iterative, iterations=2, epochs=0.5, final_epochs=1.5)
    spec = replace(QUICKSTART, iterative=chain)
    job = queue.submit(spec, "halves")
    queue.expand(job, plan(spec, Facts(spec)), ())
    while row := queue.claim("t", 2):
        ends = [*range(1, int(n) + 1), n] if (n := row.settings.get("epochs", 0)) % 1 else []
        history = [{"epoch": end, "loss": 1.0, "accuracy": 0.5} for end in ends]
        queue.beat(row.key, "t", 1, {"fraction": 1.0, "history": history})
        queue.finish(row.key, "t")
    lab = Lab(cache, PageStore(cache), queue)
    histories, _ = live.histories(lab, job_progress(queue, job), 0)
    entries = [(entry["epoch"], entry["stage"]) for entry in histories["iterative"]]
    planned = outline(plan(spec, Facts(spec)))
    names = titles(planned)
    first, second, final = [names[m.key][0] for m in planned.models if m.strategy == "iterative"]
    assert entries == [(0.5, first), (1, second), (2, final), (2.5, final)]


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 5000))
def test_ticks_are_whole_epochs(last: int) -> None:
    step = training_curves({"a": [{"epoch": last, "loss": 1.0}]}).layout.xaxis.dtick
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
    groups: list[Any] = list(test.get("button_group"))
    assert "Seed" in [control.label for control in groups]


def test_a_stage_about_a_layer_names_the_layer(queue: Queue) -> None:
    settings = SensitivitySettings("features.0.weight", [0.5], 9, seed=0, device="cpu")
    stage = Stage("sensitivity", "", stored(settings))
    job = queue.submit(QUICKSTART, "sensitive")
    queue.expand(job, Plan((stage,), (), True), ())
    ((_, title),) = live.titled(job_progress(queue, job))
    assert title.startswith("features.0.weight: sensitivity analysis")


def test_duplicate_and_edit_opens_the_settings_on_tune(queue: Queue) -> None:
    job = cancelled(queue, 7)
    test = press(open_page("pages/2_Runs.py", job=job), "Duplicate and edit")
    assert not test.exception
    assert test.title[0].value == "Set up a comparison"
    assert test.text_input(key="w.seeds").value == "7"


def test_stages_after_a_failed_one_are_skipped(
    queue: Queue, cache: Cache, capfd: pytest.CaptureFixture[str]
) -> None:
    job = waiting(queue)
    while (row := claimed(queue)).kind != "baseline":
        queue.finish(row.key, "t")
    queue.fail(row.key, "t", "why")
    test = open_page("pages/2_Runs.py", job=job)
    states = list(test.dataframe[1].value["State"])
    assert set(states) == {"Finished", "Failed", "Skipped"}
    assert states.count("Skipped") == len(states) - states.index("Failed") - 1
    _, out, _ = ended(capfd, "show", job, "--cache-dir", str(cache.root))
    assert out.count("  skipped") == states.count("Skipped")


def test_no_action_that_starts_work_takes_the_place_of_cancel(queue: Queue) -> None:
    job = waiting(queue)
    test = open_page("pages/2_Runs.py", job=job)
    before = actions(test)
    after = actions(press(test, "Cancel"))
    place = before.index("Cancel")
    assert after[:place] == before[:place]
    assert "Resume" in after
    assert after[place] == "Delete this run", "in a popover, so it takes two clicks"


def actions(test: AppTest) -> list[str]:
    names = ("Compare", "Duplicate and edit", "Cancel", "Delete this run", "Resume")
    return [button.label for button in test.button if button.label in names]


def tagged(queue: Queue, i: int, **values: Any) -> str:
    """A cancelled run with these changes."""
    job = cancelled(queue, i)
    queue.edit([job], Edit(**values))
    return job


def test_the_address_searches_filters_and_sorts(cache: Cache, queue: Queue) -> None:
    finished(cache)
    tagged(queue, 1, name="Über", add_tags=("thesis",), notes="slow machine")
    tagged(queue, 2, name="beta", add_tags=("thesis", "old"), starred=True)
    tagged(queue, 3, name="gone", archived=True)
    links = {
        "search=ÜBER": ["Über"],
        "search=machine slow": ["Über"],
        "search=100%": [],
        "tag=thesis": ["beta", "Über"],
        "tag=thesis&starred=True": ["beta"],
        "state=done": ["Quick start"],
        "state=cancelled&sort=name": ["beta", "Über"],
        "show=archived": ["gone"],
        "show=all&reverse=True": ["Quick start", "Über", "beta", "gone"],
        "dataset=digits&model=mobilenet_v2&sort=star": ["beta", "Über", "Quick start"],
    }
    for link, names in links.items():
        given = dict(part.split("=") for part in link.split("&"))
        test = open_page("pages/2_Runs.py", **given)
        assert not test.exception
        assert not test.warning, link
        shown = listed(test) if names else []
        assert shown == names, link
        kept = {name: test.query_params[name] for name in given}
        assert kept == given, "the address keeps what was chosen"
    assert "No run matches these filters." in texts(open_page("pages/2_Runs.py", search="zebra"))
    press(test, "Clear filters")
    assert listed(test) == ["beta", "Über", "Quick start"], "and keeps the order"


@pytest.mark.parametrize(
    ("parameter", "text", "problem"),
    [
        ("tag", "thesis", "There is no tag 'thesis'"),
        ("model", "vgg", "There is no model 'vgg'"),
        ("state", "paused", "use one of planning, queued, running"),
        ("columns", "name,size", "use some of star, name"),
        ("selected", "abc", "There is no run 'abc' to select"),
        ("log", "f" * 64, "This run has no stage 'fff"),
        ("job", "zz", "There is no run 'zz'"),
    ],
)
def test_an_unknown_value_in_a_link_is_told(
    queue: Queue, parameter: str, text: str, problem: str
) -> None:
    job = cancelled(queue, 1)
    test = open_page("pages/2_Runs.py", **{"job": job, parameter: text})
    assert not test.exception
    assert len(test.warning) == 1
    assert problem in test.warning[0].value.replace("\\", "")
    assert listed(test) == ["cancelled 1"]
    assert parameter == "job" or parameter not in test.query_params


def test_a_stage_without_a_log_is_told(queue: Queue) -> None:
    job = waiting(queue)
    key = queue.stages_of(job)[-1].key
    test = open_page("pages/2_Runs.py", job=job, log=key)
    assert "has no log" in test.warning[0].value


def test_results_that_are_not_read_yet_follow(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_table, "_summaries", {})
    for i in range(run_table.AT_ONCE + 1):
        finished(cache, seeded(i), f"run {i}")
    test = open_page("pages/2_Runs.py")
    assert listed(test, "Accuracy at target") == ["63 % at 90 %"] * 2 + ["…"]
    assert listed(test.run(), "Accuracy at target") == ["63 % at 90 %"] * 3


def test_the_order_by_results_follows_as_they_are_read(
    cache: Cache, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before that the page says how many are, and does not wait for the others."""
    monkeypatch.setattr(run_table, "_summaries", {})
    monkeypatch.setattr(run_table, "PAGE", 2)
    without = cancelled(queue, 50)
    sparsities = {0: 0.5, 1: 0.9, 2: 0.7}
    for seed, sparsity in sparsities.items():
        one_shot = replace(QUICKSTART.one_shot, amounts=(0.0, sparsity))
        chain = replace(QUICKSTART.iterative, enabled=False)
        spec = replace(QUICKSTART, seeds=(seed,), one_shot=one_shot, iterative=chain)
        finished(cache, spec, f"{sparsity}")
    cancelled(queue, 51)
    test = open_page("pages/2_Runs.py", sort="accuracy", job=without)
    test.run()
    assert "Reading results to sort by" in texts(test) or listed(test) == ["0.5", "0.7"]
    assert listed(test.run().run()) == ["0.5", "0.7"]
    assert listed(press(test, "Next page")) == ["0.9", "cancelled 51"]
    assert listed(open_page("pages/2_Runs.py", sort="accuracy", reverse="True")) == ["0.9", "0.7"]


def test_the_columns_are_those_of_the_address(queue: Queue) -> None:
    cancelled(queue, 1)
    test = open_page("pages/2_Runs.py", columns="took,name")
    assert list(test.dataframe[0].value) == ["Name", "Took"]
    assert list(open_page("pages/2_Runs.py").dataframe[0].value) == [
        column.title for column in COLUMNS.values()
    ]


def test_actions_on_selected_runs(queue: Queue) -> None:
    jobs = [cancelled(queue, i) for i in range(3)]
    first = ",".join(jobs[:2])
    test = open_page("pages/2_Runs.py", selected=first, job=jobs[2])
    assert "2 selected" in texts(test)
    press(test, "Star selected")
    assert listed(test, "Star") == ["", "★", "★"]
    assert "Unstar selected" in [button.label for button in test.button]
    box = next(box for box in test.multiselect if box.label == "Tags to add or remove")
    box.set_value(["thesis"])
    press(test, "Add tags")
    assert listed(test, "Tags") == ["", "thesis", "thesis"]
    press(test, "Archive selected")
    assert listed(test) == ["cancelled 2"]
    assert "selected" not in test.query_params
    assert "Archived 2 runs." in texts(test)
    press(test, "Undo")
    assert listed(test) == ["cancelled 2", "cancelled 1", "cancelled 0"]
    queue.edit(jobs[:2], Edit(archived=True))
    test = open_page("pages/2_Runs.py", selected=first, show="archived")
    press(test, "Unarchive selected")
    assert [job.archived for job in queue.jobs()] == [False] * 3


def test_deleted_runs_come_back_with_undo(queue: Queue) -> None:
    jobs = [cancelled(queue, i) for i in range(3)]
    test = open_page("pages/2_Runs.py", selected=",".join(jobs[:2]), job=jobs[0])
    press(test, "Delete selected")
    assert listed(test) == ["cancelled 2"]
    assert test.header[0].value.startswith("cancelled 2"), "the opened run was deleted"
    assert "Deleted 2 runs" in texts(test)
    press(test, "Undo")
    assert listed(test) == ["cancelled 2", "cancelled 1", "cancelled 0"]
    assert "Deleted" not in [button.label for button in test.button]
    assert "Restored 2 runs. They stay cancelled. Resume starts them." in texts(test)
    press(test, "Delete this run")
    assert "Deleted the run cancelled 2" in texts(test)
    test = open_page("pages/2_Runs.py", job=jobs[2])
    assert "The run 'cancelled 2' was deleted" in test.warning[0].value
    test = open_page("pages/2_Runs.py", show="deleted", selected=jobs[2])
    assert listed(test) == ["cancelled 2"]
    press(test, "Restore selected")
    assert {job.id for job in queue.jobs()} == set(jobs)
    assert "Restored the run cancelled 2. It stays cancelled. Resume starts it." in texts(test)
    press(test, "Resume restored run")
    assert "Resume" not in actions(test)
    assert [job.id for job in queue.planning()] == [jobs[2]]


def test_a_finished_run_is_restored_as_it_was(cache: Cache, queue: Queue) -> None:
    finished(cache)
    test = press(open_page("pages/2_Runs.py"), "Delete this run")
    press(test, "Undo")
    assert "Restored the run Quick start." in texts(test)
    assert "It stays cancelled" not in texts(test)
    assert listed(test, "State") == ["Finished"]


def test_a_run_deleted_in_another_browser_is_told(queue: Queue) -> None:
    """Each action of a page that still shows the run says what happened, and changes nothing."""
    first, other = cancelled(queue, 1), cancelled(queue, 2)
    test = open_page("pages/2_Runs.py", job=first, selected=f"{first},{other}")
    queue.delete(first)
    press(test, "Star selected")
    assert "The run 'cancelled 1' was deleted, so it was not changed." in texts(test)
    assert [job.starred for job in (*queue.jobs(), *queue.deleted())] == [True, False]
    queue.undelete(first)
    test = open_page("pages/2_Runs.py", job=first)
    queue.delete(first)
    press(test, "Resume")
    assert "The run 'cancelled 1' was deleted, so it was not started." in texts(test)
    assert queue.planning() == []


def test_the_name_tags_and_notes_of_a_run_are_edited(queue: Queue) -> None:
    job = cancelled(queue, 1)
    tagged(queue, 2, add_tags=("thesis",))
    test = open_page("pages/2_Runs.py", job=job)
    named(test.text_input, "Name of this run").set_value("Wide *and* slow").run()
    assert listed(test) == ["cancelled 2", "Wide *and* slow"]
    named(test.multiselect, "Tags of this run").set_value(["thesis"]).run()
    named(test.text_area, "Notes on this run").set_value("one\ntwo").run()
    named(test.toggle, "Star").set_value(True).run()
    edited = queue.job(job)
    assert edited is not None
    assert (edited.tags, edited.notes, edited.starred) == (("thesis",), "one\ntwo", True)
    assert listed(test, "Notes")[1] == "one two"
    named(test.multiselect, "Tags of this run").set_value([]).run()
    assert listed(test, "Tags") == ["thesis", ""]
    named(test.text_input, "Name of this run").set_value("").run()
    assert listed(test)[1] == "Quick start", "the name in the settings"
    queue.edit([job], Edit(name="renamed elsewhere"))
    test.run()
    assert named(test.text_input, "Name of this run").value == "renamed elsewhere"


def named(elements: Any, label: str) -> Any:
    return next(element for element in elements if element.label == label)
