"""Stages that a page runs: queued, watched, failed, retried, finished."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from pages.components import facts
from pages.components.run_stage import progress_text
from pruning_core.common.errors import Choice, Ref, Share, SpecError
from pruning_core.planning.exports import export_stage
from pruning_core.planning.presets import QUICKSTART
from pruning_core.planning.sensitivity import sensitivity_only
from pruning_core.planning.stage import Stage
from pruning_core.planning.timing import sparse_speedup_stage
from pruning_core.settings.spec import from_json
from pruning_core.storage import stage_queue
from pruning_core.storage.jobs import Queue
from pruning_core.storage.stage_queue import Row
from pruning_core.storage.store import Store
from tests.helpers.export_page import errors, labels, press, shown
from tests.helpers.pages import put

STAGES = [export_stage("", name) for name in ("onnx", "torch_export")]


@pytest.fixture(autouse=True)
def _no_worker(no_worker: None) -> None:
    """The pages see the test's cache, and start no process."""


def script(stages: list, options: dict, only_read: bool) -> None:
    # Streamlit runs this source alone, so its annotations are builtins.

    import streamlit as st

    from pages.components.run_stage import run_stage
    from pages.components.shell import open_page

    lab = open_page("Test")
    lab.queue.only_read = only_read  # type: ignore[attr-defined]
    stages = st.session_state.get("chosen", stages)
    finished = run_stage(lab, stages, "Go", busy="Exporting", **options)
    st.write(f"{len(finished)} finished")


def opened(stages: list[Stage], only_read: bool = False, **options: Any) -> AppTest:
    at = AppTest.from_function(script, args=(stages, options, only_read), default_timeout=60)
    return checked(at.run())


def checked(at: AppTest) -> AppTest:
    assert not at.exception
    return at


def statuses(queue: Queue, stages: list[Stage]) -> list[str]:
    return [queued.status if (queued := queue.stage(stage.key)) else "" for stage in stages]


def fail(queue: Queue, stage: Stage, error: str, field: str = "") -> None:
    """Let a worker claim the queued stage and fail."""
    row = queue.claim("token", 99)
    assert row is not None
    assert row.key == stage.key
    queue.fail(stage.key, "token", error, field)


def test_a_click_queues_the_stages_and_the_page_shows_their_progress(
    queue: Queue, store: Store
) -> None:
    at = opened(STAGES)
    assert statuses(queue, STAGES) == ["", ""]
    at = checked(press(at, "Go"))
    assert statuses(queue, STAGES) == ["queued", "queued"]
    assert "Queued; 2 left." in shown(at)
    assert "Go" not in labels(at)
    row = queue.claim("token", 99)
    assert row is not None
    queue.beat(row.key, "token", 1, {"message": "Writing the file.", "fraction": 0.5})
    at = checked(at.run())
    assert "Exporting; 2 left: Writing the file." in shown(at)
    assert at.get("progress")[0].proto.value == 25
    put(store, row.key, "export", {})
    queue.finish(row.key, "token")
    at = checked(at.run())
    assert "1 finished" in shown(at)
    assert "Queued." in shown(at)
    put(store, STAGES[1].key, "export", {})
    at = checked(at.run())
    assert "2 finished" in shown(at)
    assert not at.get("progress")
    assert labels(at) == []


def test_a_failure_shows_its_settings_in_the_terms_of_pages(queue: Queue) -> None:
    """Errors in the queue are templates: the page fills in titles and percent."""
    at = press(opened(STAGES[:1]), "Go")
    error = SpecError(
        "pruning.min_density",
        "{share} is too much for {granularity}; change {setting}.",
        share=Share(0.5),
        granularity=Choice("pruning.granularity", "2:4"),
        setting=Ref("pruning.layers"),
    )
    fail(queue, STAGES[0], error.to_json(), error.field)
    at = checked(at.run())
    assert (
        "Export model failed. Minimum density per layer: 50 % is too much for "
        "'2:4 semi-structured (N:M)'; change 'Prunable layers'." in errors(at)
    )
    assert labels(at) == ["Retry"]
    checked(press(at, "Retry"))
    assert statuses(queue, STAGES[:1]) == ["queued"]


def test_a_reason_is_shown_once_with_all_it_stopped(queue: Queue) -> None:
    at = press(opened(STAGES, name=lambda stage: stage.settings["format"]), "Go")
    for stage in STAGES:
        fail(queue, stage, "Traceback\nOSError: full")
    at = checked(at.run())
    assert [error.value.replace("\\", "") for error in at.error] == [
        "onnx and torch_export failed. OSError: full"
    ]
    assert [code.value for code in at.code] == ["Traceback\nOSError: full"]
    checked(press(at, "Retry"))
    assert statuses(queue, STAGES) == ["queued", "queued"]


def test_what_did_not_fail_keeps_its_button(queue: Queue) -> None:
    queue.add(STAGES[:1])
    fail(queue, STAGES[0], "broken")
    assert labels(opened(STAGES)) == ["Go"]


def test_at_once_needs_no_click_but_a_failure_needs_one(queue: Queue) -> None:
    at = opened(STAGES[:1], at_once=True)
    assert statuses(queue, STAGES[:1]) == ["queued"]
    assert labels(at) == []
    fail(queue, STAGES[0], "broken")
    at = checked(at.run())
    assert statuses(queue, STAGES[:1]) == ["failed"]
    assert "Export model failed. broken" in errors(at)
    checked(press(at, "Retry"))
    assert statuses(queue, STAGES[:1]) == ["queued"]


def test_a_request_at_once_ends_when_the_page_is_closed(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as the page is open, it renews the request."""
    at = opened(STAGES[:1], at_once=True)
    now = stage_queue.time.time()
    for seconds, open_ in ((50, True), (100, True), (180, False)):
        for clock in ("time", "monotonic"):
            monkeypatch.setattr(stage_queue.time, clock, lambda later=now + seconds: later)
        if open_:
            checked(at.run())
        assert queue.drop_requests() == ([] if open_ else [STAGES[0].key])
    assert statuses(queue, STAGES[:1]) == ["cancelled"]
    checked(at.run())
    assert statuses(queue, STAGES[:1]) == ["queued"], "opened again"


def test_of_many_values_in_a_row_only_the_first_and_the_last_are_requested(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = [export_stage(f"{number}", "onnx") for number in range(30)]
    clock = facts.time.monotonic()
    monkeypatch.setattr(facts.time, "monotonic", lambda: clock)
    at = opened(many[:1], at_once=True)
    for stage in many[1:]:
        at.session_state["chosen"] = [stage]
        at = checked(at.run())
    assert [status for status in statuses(queue, many) if status] == ["queued"]
    clock += facts.DEBOUNCE_SECONDS
    checked(at.run())
    assert statuses(queue, many) == ["queued", *[""] * 28, "queued"]


def test_at_once_does_nothing_where_the_queue_can_only_be_read(queue: Queue) -> None:
    at = opened(STAGES[:1], only_read=True, at_once=True)
    assert statuses(queue, STAGES[:1]) == [""]
    assert "0 finished" in shown(at)


def test_a_lost_result_is_computed_again(queue: Queue) -> None:
    """Done in the queue, but no longer in the store."""
    queue.add(STAGES[:1], done=[STAGES[0].key])
    checked(press(opened(STAGES[:1]), "Go"))
    assert statuses(queue, STAGES[:1]) == ["queued"]


def test_a_job_is_queued_with_its_label_and_planned_by_the_worker(queue: Queue) -> None:
    spec = replace(sensitivity_only(QUICKSTART), label="Sensitivity")
    at = checked(press(opened(STAGES, job=spec), "Go"))
    (job,) = queue.jobs()
    assert from_json(job.spec) == spec
    assert job.label == "Sensitivity"
    assert statuses(queue, STAGES) == ["", ""]
    assert "Queued; 2 left." in shown(at)
    queue.refuse(job.id, "data.path", SpecError("data.path", "it has moved.").to_json())
    at = checked(at.run())
    assert "Image folder or .zip: it has moved." in errors(at)
    checked(press(at, "Retry"))
    (job,) = queue.jobs()
    assert job.status == "planning"


def row(stage: Stage, status: str, message: str = "") -> Row:
    values = dict.fromkeys(Row.__dataclass_fields__)
    progress = {"message": message} if message else {}
    return Row(**{**values, "key": stage.key, "status": status, "progress": progress})  # type: ignore[arg-type]


def test_progress_says_what_runs_and_how_much_is_left() -> None:
    running = {stage.key: row(stage, "running", "Half.") for stage in STAGES}
    first = {STAGES[0].key: running[STAGES[0].key], STAGES[1].key: row(STAGES[1], "queued")}
    quiet = {STAGES[0].key: row(STAGES[0], "running")}
    timed = [sparse_speedup_stage("model")]

    def name(stage: Stage) -> str:
        return str(stage.settings["format"])

    assert progress_text(STAGES, {}, "Exporting") == "Queued; 2 left."
    assert progress_text(timed, {}, "Measuring") == "Queued until the machine is idle."
    assert progress_text(STAGES, first, "Exporting", name) == "Exporting onnx; 2 left."
    assert progress_text(STAGES, running, "Exporting", name) == (
        "Exporting onnx and torch\\_export; 2 left."
    )
    assert progress_text(STAGES, running, "Exporting") == "Exporting; 2 left: Half."
    assert progress_text(STAGES[:1], quiet, "Running") == "Running ..."
