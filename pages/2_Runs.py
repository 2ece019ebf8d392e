"""Runs: the list of runs, and the progress of one of them."""

from __future__ import annotations

import time
from typing import Literal

import streamlit as st

from pages.components import live
from pages.components.address import Address, Parameter, number
from pages.components.lab import Lab
from pages.components.links import link, switch_page
from pages.components.markdown import plain
from pages.components.number_lists import quoted
from pages.components.setting_values import params
from pages.components.shell import draw_link_problems, open_page
from pruning_core.common.errors import HIGHEST
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
FIRST_LOG = "first log"  # the key of the session: a run, and the first log of it
CANCEL = "Stops the run. Finished stages stay cached."
RETRY = "Re-runs failed or cancelled stages only."
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


ADDRESS = Address(
    "Runs",
    Parameter("job"),
    number("page", 1, 1, HIGHEST),
    Parameter("seed"),
    Parameter("log"),
)


def pick(lab: Lab) -> Job | None:
    """The run of the address, else the newest; None where there are no runs."""
    linked = ADDRESS["job"]
    if linked and (job := lab.queue.job(linked)):
        return job
    newest, _ = JobList(lab.cache.queue).page(1)
    if linked:
        ADDRESS.reject(f"There is no run {quoted(linked)}.")
    ADDRESS["job"] = newest[0].job.id if newest else ""
    return newest[0].job if newest else None


def draw_list(lab: Lab, chosen: Job) -> None:
    """The list of runs: active ones first, then the newest; a click opens a run below."""
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
    """The number of the shown page of the list, from 1."""
    return int(ADDRESS["page"])


def draw_row(run: Run) -> None:
    """A run in one line: its name, its state, its progress, when it was submitted."""
    submitted = time.strftime("%d %b %H:%M", time.localtime(run.job.created))
    row = st.container(horizontal=True, key=f"row-{run.job.id}", vertical_alignment="center")
    with row:
        name = f"**{plain(run.job.label)}**"
        if st.button(name, key=f"open {run.job.id}", type="tertiary", width=300):
            ADDRESS["job"] = run.job.id
            ADDRESS["seed"] = ADDRESS["log"] = ""
            st.rerun()
        st.markdown(live.badge(run.state), width=110)
        if run.active and run.fraction:
            st.progress(min(run.fraction, 1.0), width=130)
        else:
            st.caption(live.stages_done(run), width=130)
        st.caption(", ".join(filter(None, [submitted, live.time_text(run)])), width="stretch")


def draw_paging(more: bool) -> None:
    """Buttons for older and newer runs."""

    def turn(by: int) -> None:
        ADDRESS["page"] = page_number() + by

    with st.container(horizontal=True, vertical_alignment="center"):
        st.button("Newer", on_click=turn, args=(-1,), disabled=page_number() == 1)
        st.button("Older", on_click=turn, args=(1,), disabled=not more)
        st.caption(f"Page {page_number()}, {PAGE} runs per page", width="content")


def draw_live(lab: Lab, job: Job, before: JobProgress) -> None:
    """The parts that change while a run grows, drawn every two seconds until it ends.

    The heading and the buttons above are drawn again when the state differs from `before`.
    """
    active = before.state in ACTIVE

    @st.fragment(run_every=POLL_SECONDS if active else SLOW_SECONDS)
    def draw() -> None:
        now = job_progress(lab.queue, job.id)
        if (now.state, has_baseline(now)) != (before.state, has_baseline(before)):
            st.rerun()
        if active:
            live.keep_worker(lab)
        live.draw_progress(now)
        live.draw_errors(now)
        live.draw_curves(lab, now, ADDRESS)
        live.draw_stages(now)
        ADDRESS.write()

    draw()


def draw_actions(lab: Lab, now: JobProgress) -> None:
    """The name and state of the run, and the actions that its state allows."""
    job = now.job
    st.header(f"{plain(job.label)} {live.badge(now.state)}")
    with st.container(horizontal=True):
        if has_baseline(now):
            draw_compare(job)
        draw_edit(job, main=now.state == "refused")
        # In the place of Cancel, so that a second click on it starts nothing.
        if now.state in ACTIVE:
            cancel = lab.queue.cancel
            st.button("Cancel", on_click=cancel, args=(job.id,), help=CANCEL)
        else:
            draw_delete(lab, job)
        if now.state in ("failed", "refused", "cancelled"):
            st.button("Retry", on_click=lab.queue.retry, args=(job.id,), help=RETRY)


def has_baseline(now: JobProgress) -> bool:
    """Whether a baseline is finished, so that Compare can show models."""
    return any(row.kind == "baseline" and row.status == "done" for row in now.rows)


def draw_compare(job: Job) -> None:
    """The button that opens Compare."""
    if st.button("Compare", type="primary", help="Opens charts, findings, table and downloads."):
        switch_page("Compare", {"runs": job.id})


def draw_edit(job: Job, main: bool) -> None:
    """The button that opens a copy of the settings on Tune; `main` highlights it."""
    style: Literal["primary", "secondary"] = "primary" if main else "secondary"
    if st.button("Duplicate and edit", type=style, help="Opens a copy of the settings on Tune."):
        spec = from_json(job.spec)
        switch_page("Tune", params(spec))


def draw_delete(lab: Lab, job: Job) -> None:
    """Delete, with a confirmation."""

    def delete() -> None:
        lab.queue.delete(job.id)
        ADDRESS["job"] = ""

    with st.popover("Delete"):
        st.write("Removes the run from this list. Its results stay cached.")
        st.button("Delete this run", on_click=delete)


def draw_log(lab: Lab, now: JobProgress) -> None:
    """The last lines of the log of a stage: first of a failed one, else of a running one."""
    with st.expander("Log"):
        stages = live.titled(now)
        logged = [(row, title) for row, title in stages if lab.cache.log(row.key).is_file()]
        if not logged:
            st.caption("No stage has written a log yet.")
            return
        names = {row.key: title for row, title in logged}
        chosen = pick_log(names, live.first_log([row for row, _ in logged]))
        lines = lab.cache.log(chosen).read_text(errors="replace").splitlines()
        st.code("\n".join(lines[-LOG_LINES:]), language=None)


def pick_log(names: dict[str, str], first: str) -> str:
    """The stage whose log is shown: `first`, until another one is chosen. Returns its key."""
    # A new failure is shown, whatever was chosen before.
    job, last = st.session_state.get(FIRST_LOG, ("", ""))
    if job == ADDRESS["job"] and last != first:
        ADDRESS["log"] = ""
    st.session_state[FIRST_LOG] = (ADDRESS["job"], first)
    widget = f"log {first}"

    def choose() -> None:
        ADDRESS["log"] = st.session_state[widget]

    stages = list(names)
    st.selectbox(
        "Stage",
        stages,
        index=stages.index(ADDRESS["log"] if ADDRESS["log"] in names else first),
        format_func=names.__getitem__,
        key=widget,
        on_change=choose,
        help="Each stage writes its own log.",
    )
    return str(st.session_state[widget])


def draw_run(lab: Lab, job: Job) -> None:
    """The list, and one run with its actions, progress and log."""
    draw_list(lab, job)
    now = job_progress(lab.queue, job.id)
    draw_actions(lab, now)
    draw_live(lab, job, now)
    draw_log(lab, now)


def main() -> None:
    lab = open_page("Runs")
    st.title("Runs")
    ADDRESS.open()
    place = st.container()
    job = pick(lab)
    if job is None:
        st.info("No runs yet. Run a preset on Home, or set up a comparison on Tune.")
        link("Tune", "Set up a comparison")
    else:
        draw_run(lab, job)
    ADDRESS.write()
    with place:
        draw_link_problems()


main()
