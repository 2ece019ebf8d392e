"""What runs now: in the navigation and the title of the tab, and a message when a run has ended."""

from __future__ import annotations

import streamlit as st

from pages.components.lab import Lab
from pages.components.links import link
from pages.components.markdown import plain
from pruning_core.common.formatting import format_percent
from pruning_core.storage.job_progress import ACTIVE, JobProgress, job_progress

POLL_SECONDS, SLOW_SECONDS = 2.0, 10.0
MOST_RUNS = 20
ACTIVE_RUNS = "active runs"  # the key of the session: labels by id, when the page looked last
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
        active = active_runs(lab)
        _announce_ended(lab, active)
        text = activity_text(active)
        st.set_page_config(page_title=" - ".join(filter(None, (text, page, "Pruning Lab"))))
        if text:
            link("Runs", text, job=active[0].job.id)

    draw()


def active_runs(lab: Lab) -> list[JobProgress]:
    """The progress of the runs that wait or run."""
    progress = (job_progress(lab.queue, job.id) for job in lab.queue.unfinished(MOST_RUNS))
    return [now for now in progress if now.state in ACTIVE]


def activity_text(active: list[JobProgress]) -> str:
    """How many runs are active, and their mean progress: "1 running, 63 %"; "" for none."""
    if not active:
        return ""
    mean = sum(now.fraction for now in active) / len(active)
    return f"{len(active)} running, {format_percent(mean, 0)}"


def _announce_ended(lab: Lab, active: list[JobProgress]) -> None:
    """A message for each run that was active when this session looked last, and has ended."""
    now = {progress.job.id: progress.job.label for progress in active}
    before: dict[str, str] = st.session_state.get(ACTIVE_RUNS, {})
    st.session_state[ACTIVE_RUNS] = now
    for job in before.keys() - now.keys():
        if lab.queue.job(job) and (end := ENDS.get(job_progress(lab.queue, job).state)):
            st.toast(f"{plain(before[job])} {end}.")
