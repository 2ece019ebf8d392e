"""The active runs in the navigation of every page, and the message when one has ended."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from pages.components import activity
from pruning_core.common.paths import Cache
from pruning_core.planning.plan import plan
from pruning_core.planning.presets import QUICKSTART
from pruning_core.storage.job_progress import job_progress
from pruning_core.storage.jobs import Queue
from tests.helpers.inspections import Facts
from tests.helpers.pages import open_page
from tests.helpers.project import ROOT

pytestmark = pytest.mark.usefixtures("no_worker")
PAGES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "pages").glob("[1-6]_*.py"))


def submitted(queue: Queue) -> str:
    """A job whose stages wait."""
    job = queue.submit(QUICKSTART, "Quick *start*")
    queue.expand(job, plan(QUICKSTART, Facts(QUICKSTART)), ())
    return job


def links(test: AppTest) -> list[str]:
    elements: list[Any] = list(test.get("page_link"))
    return [element.proto.label for element in elements]


def toasts(test: AppTest) -> list[str]:
    return [toast.value for toast in test.toast]


@pytest.mark.parametrize("page", ["app.py", *PAGES])
def test_every_page_shows_the_active_runs_and_says_when_one_ends(
    cache: Cache, queue: Queue, page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = submitted(queue)
    test = open_page(page)
    assert "1 waiting, 0 %" in links(test)
    assert toasts(test) == []
    queue.cancel(job)
    # The browser may not have shown a message whose page is drawn anew at once.
    monkeypatch.setattr(activity, "SHOWN_SECONDS", 600.0)
    test.run().run()
    assert not any("waiting" in label for label in links(test))
    assert toasts(test) == ["Quick \\*start\\* was cancelled."]
    monkeypatch.setattr(activity, "SHOWN_SECONDS", 0.0)
    assert toasts(test.run()) == [], "it is said once"


def test_a_run_that_begins_and_ends_between_two_looks_is_told(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activity, "SHOWN_SECONDS", 0.0)
    queue.cancel(submitted(queue))
    test = open_page("app.py")
    assert toasts(test) == [], "it ended before the session began"
    queue.cancel(queue.submit(replace(QUICKSTART, seeds=(5,)), "Short"))
    assert toasts(test.run()) == ["Short was cancelled."]
    assert toasts(test.run()) == []


def test_the_links_to_several_active_runs_on_home_have_names_of_their_own(queue: Queue) -> None:
    submitted(queue)
    queue.submit(replace(QUICKSTART, seeds=(5,)), "Quick *start*")
    names = [label for label in links(open_page("app.py")) if label.startswith("View progress")]
    assert len(set(names)) == 2
    assert all(name.startswith("View progress of Quick ") for name in names)


def test_the_text_counts_runs_and_gives_their_mean_progress(queue: Queue) -> None:
    assert activity.activity_text([], 0, 0) == ""
    progress = job_progress(queue, submitted(queue))
    done = [replace(row, status="done") for row in progress.rows]
    finished = replace(progress, rows=done)
    both = [progress, finished]
    assert activity.activity_text(both, 1, 2) == "1 running, 2 waiting, 50 %"
    assert activity.activity_text(both, 0, 2) == "2 waiting, 50 %"
    assert activity.activity_text(both, 2, 0) == "2 running, 50 %"


def test_the_link_counts_what_runs_and_what_waits_and_the_tab_only_what_runs(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitted(queue)
    assert queue.claim("t", 2)
    queue.submit(replace(QUICKSTART, seeds=(5,)), "waits")
    titles: list[str] = []
    monkeypatch.setattr(
        activity.st, "set_page_config", lambda page_title, **_: titles.append(page_title)
    )
    assert "1 running, 1 waiting, 0 %" in links(open_page("pages/2_Runs.py"))
    assert titles[-1] == "1 running, 0 % - Runs - Pruning Lab"
