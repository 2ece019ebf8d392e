"""Runs: the queue, one run as it grows, and what can be done with it."""

from __future__ import annotations

import time

import streamlit as st

from pages.parts import live
from pages.parts.shell import PAGES, Lab, link, open_page, plain
from pruning_core.queue.jobs import Job
from pruning_core.queue.standing import ACTIVE, Standing, standing
from pruning_core.worker.supervisor import ensure_worker

POLL_SECONDS = 2.0
SLOW_SECONDS = 10.0
PAGE = 20
LOG_LINES = 200


def pick(lab: Lab) -> Job | None:
    """The run in the link, else the newest; None where there is none."""
    offset = PAGE * (int(st.session_state.get("page", 1)) - 1)
    jobs = {job.id: job for job in lab.queue.jobs(PAGE, offset)}
    wanted = st.query_params.get("job", "")
    if wanted and wanted not in jobs and (job := lab.queue.job(wanted)):
        jobs[job.id] = job
    if not jobs:
        return None
    if wanted and wanted not in jobs:
        st.warning(f"There is no run {plain(wanted)}; the newest is shown.")
    fresh = st.session_state.get("linked") != wanted or "run" not in st.session_state
    if wanted in jobs and fresh:
        st.session_state["run"] = st.session_state["linked"] = wanted
    if st.session_state.get("run") not in jobs:
        st.session_state["run"] = next(iter(jobs))
    titles = {name: title(job) for name, job in jobs.items()}
    chosen = st.selectbox("Run", list(jobs), key="run", format_func=titles.__getitem__)
    st.query_params["job"] = st.session_state["linked"] = chosen
    return jobs[chosen]


def title(job: Job) -> str:
    """A run in one line."""
    when = time.strftime("%d %b %H:%M", time.localtime(job.created))
    return f"{job.label}, {when} ({job.id})"


def draw_live(lab: Lab, job: Job) -> None:
    """What changes while a run grows; drawn again every two seconds until it ends."""
    active = standing(lab.queue, job.id).state in ACTIVE

    @st.fragment(run_every=POLL_SECONDS if active else SLOW_SECONDS)
    def draw() -> None:
        now = standing(lab.queue, job.id)
        if active != (now.state in ACTIVE):
            st.rerun()
        if active:
            ensure_worker(lab.cache)
        st.markdown(f"**{plain(job.label)}** {live.badge(now.state)}")
        live.draw_progress(lab, now)
        live.draw_errors(now)
        live.draw_curves(lab, now)
        live.draw_stages(now)

    draw()


def draw_actions(lab: Lab, job: Job) -> None:
    """Compare, cancel, retry, delete: those that make sense now."""
    now = standing(lab.queue, job.id)
    with st.container(horizontal=True):
        if shows_something(now):
            draw_compare(job)
        if now.state in ACTIVE:
            stop = lab.queue.cancel
            st.button("Cancel", on_click=stop, args=(job.id,), help="Finished stages stay.")
        if now.state in ("failed", "refused", "cancelled"):
            st.button("Retry", on_click=lab.queue.retry, args=(job.id,), type="primary")
        if now.state not in ACTIVE:
            draw_delete(lab, job)


def shows_something(now: Standing) -> bool:
    """Whether a baseline is there to compare with."""
    return any(row.kind == "baseline" and row.status == "done" for row in now.rows)


def draw_compare(job: Job) -> None:
    """The way to the charts."""
    if st.button("Compare", type="primary", help="Charts, findings, table, downloads."):
        st.switch_page(PAGES["Compare"], query_params={"runs": job.id})


def draw_delete(lab: Lab, job: Job) -> None:
    """Delete, after a second click."""
    with st.popover("Delete"):
        st.write("The run leaves this list; its stages stay in the cache.")
        st.button("Delete this run", on_click=lab.queue.delete, args=(job.id,))


def draw_log(lab: Lab, job: Job) -> None:
    """The last lines of a stage's log."""
    with st.expander("Log"):
        found = live.labelled(standing(lab.queue, job.id))
        names = {row.key: label for row, label in found if lab.cache.log(row.key).is_file()}
        if not names:
            st.caption("No stage has written a log yet.")
            return
        key = st.selectbox("Stage", list(names), format_func=names.__getitem__)
        lines = lab.cache.log(key).read_text(errors="replace").splitlines()
        st.code("\n".join(lines[-LOG_LINES:]), language=None)


def main() -> None:
    lab = open_page("Runs")
    st.title("Runs")
    job = pick(lab)
    if job is None:
        st.info("Nothing has run yet. Choose a preset on Home, or set up a comparison on Tune.")
        link("Tune", "Set up a comparison")
        return
    draw_actions(lab, job)
    draw_live(lab, job)
    draw_log(lab, job)
    if st.session_state.get("page", 1) > 1 or len(lab.queue.jobs(PAGE + 1)) > PAGE:
        st.number_input("Page of the list", 1, step=1, key="page", help="Twenty runs a page.")


main()
