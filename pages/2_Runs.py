"""Runs: the queue, one run as it grows, and what can be done with it."""

from __future__ import annotations

import time
from typing import Literal

import streamlit as st

from pages.components import choices, live
from pages.components.shell import PAGES, Lab, link, open_page, plain
from pruning_core.settings.spec import from_json
from pruning_core.storage.job_list import JobList, Run
from pruning_core.storage.job_progress import ACTIVE, JobProgress, job_progress
from pruning_core.storage.jobs import Job

POLL_SECONDS = 2.0
SLOW_SECONDS = 10.0
PAGE = 20
LIST_HEIGHT = 340
ROWS_AT_ONCE = 8
LOG_LINES = 200
RETRY = "Runs again what failed or was cancelled; finished stages stay."
STYLE = """
<style>
[class*="st-key-row-"] {padding: 0 0.6rem; border-top: 1px solid rgba(128, 128, 128, 0.22);}
[class*="st-key-row-"] {column-gap: 0.8rem; row-gap: 0;}
[class*="st-key-row-"] button, [class*="st-key-row-"] button div {justify-content: flex-start;}
[class*="st-key-row-"] button {width: 100%;}
[class*="st-key-row-"] [data-testid="stMarkdownContainer"] {margin: 0;}
[class*="st-key-row-"] [data-testid="stCaptionContainer"] {margin: 0;}
[class*="st-key-row-"] p {margin: 0; overflow-wrap: anywhere; text-align: left;}
.st-key-row-CHOSEN {background: rgba(0, 114, 178, 0.14); box-shadow: inset 3px 0 0 #0072B2;}
@media (max-width: 640px) {[class*="st-key-row-"] {padding-bottom: 0.4rem;}}
</style>
"""


def pick(lab: Lab) -> Job | None:
    """The run in the link, else the newest; None where there is none."""
    wanted = st.query_params.get("job", "")
    if wanted and (job := lab.queue.job(wanted)):
        return job
    shown, _ = JobList(lab.cache.queue).page(1)
    if wanted and shown:
        st.warning(f"There is no run {plain(wanted)}; another one is shown.")
    if shown:
        st.query_params["job"] = shown[0].job.id
    return shown[0].job if shown else None


def draw_list(lab: Lab, chosen: Job) -> None:
    """The queue: what is active first, then the newest; a click opens a run below."""
    st.html(STYLE.replace("CHOSEN", chosen.id))
    listing = JobList(lab.cache.queue)

    @st.fragment(run_every=SLOW_SECONDS)
    def draw() -> None:
        runs, more = listing.page(PAGE, page_number(), chosen.id)
        scrolls = len(runs) > ROWS_AT_ONCE
        with st.container(height=LIST_HEIGHT if scrolls else "content", border=True, gap=None):
            for run in runs:
                draw_row(run)
        if more or page_number() > 1:
            draw_paging(more)

    draw()


def page_number() -> int:
    """Which page of the list is shown, from 1."""
    return int(st.session_state.get("page", 1))


def draw_row(run: Run) -> None:
    """One run in a line: its name, its state, how far it is, when it was asked for."""
    asked = time.strftime("%d %b %H:%M", time.localtime(run.job.created))
    row = st.container(horizontal=True, key=f"row-{run.job.id}", vertical_alignment="center")
    with row:
        name = f"**{plain(run.job.label)}**"
        if st.button(name, key=f"open {run.job.id}", type="tertiary", width=300):
            st.query_params["job"] = run.job.id
            st.rerun()
        st.markdown(live.badge(run.state), width=110)
        if run.active and run.fraction:
            st.progress(min(run.fraction, 1.0), width=130)
        else:
            st.caption(live.stages_done(run), width=130)
        st.caption(", ".join(filter(None, [asked, live.time_told(run)])), width="stretch")


def draw_paging(more: bool) -> None:
    """The way to older and newer runs."""

    def turn(by: int) -> None:
        st.session_state["page"] = page_number() + by

    with st.container(horizontal=True, vertical_alignment="center"):
        st.button("Newer", on_click=turn, args=(-1,), disabled=page_number() == 1)
        st.button("Older", on_click=turn, args=(1,), disabled=not more)
        st.caption(f"Page {page_number()}, {PAGE} runs each", width="content")


def draw_live(lab: Lab, job: Job, before: JobProgress) -> None:
    """What changes while a run grows; drawn again every two seconds until it ends.

    The heading and the buttons above are drawn again when they would be others than `before`.
    """
    active = before.state in ACTIVE

    @st.fragment(run_every=POLL_SECONDS if active else SLOW_SECONDS)
    def draw() -> None:
        now = job_progress(lab.queue, job.id)
        if (now.state, shows_something(now)) != (before.state, shows_something(before)):
            st.rerun()
        if active:
            live.keep_worker(lab)
        live.draw_progress(lab, now)
        live.draw_errors(now)
        live.draw_curves(lab, now)
        live.draw_stages(now)

    draw()


def draw_actions(lab: Lab, now: JobProgress) -> None:
    """The run's name and state, and compare, cancel, retry, delete: those that make sense now."""
    job = now.job
    st.header(f"{plain(job.label)} {live.badge(now.state)}")
    with st.container(horizontal=True):
        if shows_something(now):
            draw_compare(job)
        if now.state in ACTIVE:
            stop = lab.queue.cancel
            st.button("Cancel", on_click=stop, args=(job.id,), help="Finished stages stay.")
        if now.state in ("failed", "refused", "cancelled"):
            st.button("Retry", on_click=lab.queue.retry, args=(job.id,), help=RETRY)
        draw_adjust(job, main=now.state == "refused")
        if now.state not in ACTIVE:
            draw_delete(lab, job)


def shows_something(now: JobProgress) -> bool:
    """Whether a baseline is there to compare with."""
    return any(row.kind == "baseline" and row.status == "done" for row in now.rows)


def draw_compare(job: Job) -> None:
    """The way to the charts."""
    if st.button("Compare", type="primary", help="Charts, findings, table, downloads."):
        st.switch_page(PAGES["Compare"], query_params={"runs": job.id})


def draw_adjust(job: Job, main: bool) -> None:
    """The way to a run like this one; the main one where this cannot run as it is."""
    style: Literal["primary", "secondary"] = "primary" if main else "secondary"
    if st.button("Adjust", type=style, help="Opens its settings on Tune, to change them."):
        spec = from_json(job.spec)
        choices.load(spec)
        st.switch_page(PAGES["Tune"], query_params=choices.params(spec))


def draw_delete(lab: Lab, job: Job) -> None:
    """Delete, after a second click."""

    def delete() -> None:
        lab.queue.delete(job.id)
        st.query_params.pop("job", None)

    with st.popover("Delete"):
        st.write("The run leaves this list; its stages stay in the cache.")
        st.button("Delete this run", on_click=delete)


def draw_log(lab: Lab, now: JobProgress) -> None:
    """The last lines of a stage's log: at first of the one that failed, else of what runs."""
    with st.expander("Log"):
        found = live.labelled(now)
        logged = [(row, label) for row, label in found if lab.cache.log(row.key).is_file()]
        if not logged:
            st.caption("No stage has written a log yet.")
            return
        names = {row.key: label for row, label in logged}
        first = live.told_first([row for row, _ in logged])
        shown = st.selectbox(
            "Stage",
            list(names),
            index=list(names).index(first),
            format_func=names.__getitem__,
            key=f"log {first}",  # another failure is shown, whatever was chosen before
            help="Each stage writes a log of its own.",
        )
        lines = lab.cache.log(shown).read_text(errors="replace").splitlines()
        st.code("\n".join(lines[-LOG_LINES:]), language=None)


def main() -> None:
    lab = open_page("Runs")
    st.title("Runs")
    job = pick(lab)
    if job is None:
        st.info("Nothing has run yet. Choose a preset on Home, or set up a comparison on Tune.")
        link("Tune", "Set up a comparison")
        return
    draw_list(lab, job)
    now = job_progress(lab.queue, job.id)
    draw_actions(lab, now)
    draw_live(lab, job, now)
    draw_log(lab, now)


main()
