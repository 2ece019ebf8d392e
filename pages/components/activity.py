"""What runs now: in the navigation and the title of the tab, and a message when a run has ended."""

from __future__ import annotations

import time

import streamlit as st

from pages.components.lab import Lab
from pages.components.links import link
from pages.components.markdown import plain
from pruning_core.common.formatting import format_percent
from pruning_core.storage.job_progress import ACTIVE, JobProgress, job_progress

POLL_SECONDS, SLOW_SECONDS = 2.0, 10.0
MOST_RUNS = 20
ACTIVE_RUNS = "active runs"  # the key of the session: labels by id, when the page looked last
LAST_LOOK = "last look at runs"  # the key of the session: that time, in seconds
MESSAGES = "messages of ended runs"  # the key of the session: text and time of each toast
# A page that is drawn anew so soon after a toast may have replaced it before the browser showed it.
SHOWN_SECONDS = 1.5
NEWEST = 5  # runs that may have started and ended between two looks
ENDS = {
    "done": "has finished",
    "failed": "has failed",
    "refused": "cannot run",
    "cancelled": "was cancelled",
}


def draw_activity(lab: Lab, page: str) -> None:
    """A link to the active runs, drawn again while the page is open. `page` is its title."""

    @st.fragment(run_every=POLL_SECONDS if active_runs(lab) else SLOW_SECONDS)
    def draw() -> None:
        active, (running, waiting) = active_runs(lab), lab.queue.unfinished_counts()
        _announce_ended(lab, active)
        short = activity_text(active, running, 0 if running else waiting)
        st.set_page_config(page_title=" - ".join(filter(None, (short, page, "Pruning Lab"))))
        if active:
            link("Runs", activity_text(active, running, waiting), job=active[0].job.id)

    draw()


def active_runs(lab: Lab) -> list[JobProgress]:
    """The progress of the runs that wait or run: of those that run first, at most `MOST_RUNS`."""
    progress = (job_progress(lab.queue, job.id) for job in lab.queue.unfinished(MOST_RUNS))
    return [now for now in progress if now.state in ACTIVE]


def activity_text(active: list[JobProgress], running: int, waiting: int) -> str:
    """How many runs run and wait, and the mean progress of `active`; "" for none.

    Such as "1 running, 2 waiting, 63 %".
    """
    if not active:
        return ""
    parts = [f"{running} running"] * bool(running) + [f"{waiting} waiting"] * bool(waiting)
    mean = sum(now.fraction for now in active) / len(active)
    return ", ".join([*parts, format_percent(mean, 0)])


def _announce_ended(lab: Lab, active: list[JobProgress]) -> None:
    """A message for each run that has ended since this session looked last."""
    now = {progress.job.id: progress.job.label for progress in active}
    before: dict[str, str] = dict(st.session_state.get(ACTIVE_RUNS, {}))
    looked, looks = st.session_state.get(LAST_LOOK), time.time()
    if looked is not None:  # a run whose results are cached may begin and end between two looks
        before |= lab.queue.submitted_since(looked, NEWEST)
    st.session_state.update({ACTIVE_RUNS: now, LAST_LOOK: looks})
    messages: dict[str, float] = st.session_state.get(MESSAGES, {})
    for job in before.keys() - now.keys():
        if lab.queue.job(job) and (end := ENDS.get(job_progress(lab.queue, job).state)):
            messages[f"{plain(before[job])} {end}."] = looks
    messages = {text: sent for text, sent in messages.items() if looks - sent <= SHOWN_SECONDS}
    st.session_state[MESSAGES] = messages
    for text in messages:
        st.toast(text)
