"""Runs: the list of runs, and the progress of one of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import streamlit as st

from pages.components import live, run_filters, run_table
from pages.components.address import Address, Parameter, id_list
from pages.components.goal import reject_wrong_limits
from pages.components.lab import Lab
from pages.components.links import link, switch_page
from pages.components.markdown import plain
from pages.components.number_lists import quoted
from pages.components.run_picker import no_run
from pages.components.setting_values import params
from pages.components.shell import draw_link_problems, open_page
from pruning_core.common.names import LONGEST_NAME, LONGEST_NOTES
from pruning_core.settings.spec import from_json
from pruning_core.storage.job_list import JobFilter, JobList
from pruning_core.storage.job_progress import ACTIVE, JobProgress, job_progress
from pruning_core.storage.job_record import Job

POLL_SECONDS, SLOW_SECONDS = 2.0, 10.0
LOG_LINES = 200
FIRST_LOG = "first log"  # the key of the session: a run, and the first log of it
CANCEL = "Stops the run. Finished stages stay cached."
# What starts a run again, and what the button says about it, by the state.
AGAIN = {
    "failed": ("Retry", "Re-runs failed stages only."),
    "refused": ("Retry", "Checks the settings, the files and this machine again."),
    "cancelled": ("Resume", "Continues the run. Finished stages are not repeated."),
}
ADDRESS = Address(
    "Runs",
    Parameter("job"),
    Parameter("seed"),
    Parameter("log"),
    id_list("selected"),
    *run_filters.PARAMETERS,
)


def pick(lab: Lab) -> Job | None:
    """The run of the address, else the newest; None where there are no runs."""
    linked = ADDRESS["job"]
    if linked and (job := lab.queue.job(linked)):
        return job
    listing = JobList(lab.cache.queue)
    newest, _ = listing.page(1)
    if not newest:
        newest, _ = listing.page(1, jobs=JobFilter(show="all"))
    if linked:
        ADDRESS.reject(no_run(lab, linked), quoted(newest[0].job.label) if newest else "")
    ADDRESS["job"] = newest[0].job.id if newest else ""
    return newest[0].job if newest else None


def draw_live(lab: Lab, job: Job, before: JobProgress) -> None:
    """The parts that change while a run grows, drawn every two seconds until it ends.

    The heading and the buttons above are drawn again when the state differs from `before`.
    """
    active = before.state in ACTIVE

    @st.fragment(run_every=POLL_SECONDS if active else SLOW_SECONDS)
    def draw() -> None:
        if lab.queue.job(job.id) is None:  # deleted in another tab or by a command
            st.rerun()
        now = job_progress(lab.queue, job.id)
        if (now.state, has_baseline(now)) != (before.state, has_baseline(before)):
            st.rerun()
        if active:
            live.keep_worker(lab)
        live.draw_progress(now)
        live.draw_errors(now)
        live.draw_curves(lab, now, ADDRESS)
        live.draw_stages(now)
        ADDRESS.write_part()

    draw()


def draw_actions(lab: Lab, now: JobProgress) -> None:
    """The name and state of the run, its tags and notes, and the actions that its state allows."""
    job = now.job
    st.header(f"{plain(job.label)} {live.badge(now.state)}")
    if job.tags:
        st.markdown(" ".join(f":gray-badge[{plain(tag)}]" for tag in job.tags))
    if job.notes:
        st.caption(plain(job.notes).replace("\n", "  \n"))
    with st.container(horizontal=True):
        if has_baseline(now):
            draw_compare(job)
        draw_edit(job, main=now.state == "refused")
        draw_name(lab, job)
        # In the place of Cancel, so that a second click on it starts nothing.
        if now.state in ACTIVE:
            cancel = lab.queue.cancel
            st.button("Cancel", on_click=cancel, args=(job.id,), help=CANCEL)
        else:
            draw_delete(lab, job)
        if now.state in AGAIN:
            label, text = AGAIN[now.state]
            st.button(label, on_click=run_table.resume_runs, args=(lab, [job.id]), help=text)


def draw_name(lab: Lab, job: Job) -> None:
    """Fields for the name, the tags, the notes and the star of the run.

    The key of a field holds the stored value, so that it shows what another page has changed.
    """

    def key(field: str, value: object) -> str:
        return f"{field} {job.id} {value}"

    def save(widget: str, read: Callable[[Any], dict[str, Any]]) -> None:
        run_table.edit_runs(lab, [job.id], **read(st.session_state[widget]))

    def tagged(tags: list[str]) -> dict[str, Any]:
        removed = tuple(tag for tag in job.tags if tag not in tags)
        return {"add_tags": tuple(tags), "remove_tags": removed}

    with st.popover("Name, tags and notes"):
        name, tags, notes, star = (
            key(field, value)
            for field, value in (
                ("name", job.label),
                ("tags", job.tags),
                ("notes", job.notes),
                ("star", job.starred),
            )
        )
        st.text_input(
            "Name of this run",
            job.label,
            key=name,
            max_chars=LONGEST_NAME,
            on_change=save,
            args=(name, lambda text: {"name": text}),
            help="Charts, tables and files use this name. Leave empty for the default name.",
        )
        st.multiselect(
            "Tags of this run",
            sorted({*JobList(lab.cache.queue).names()["tag"], *job.tags}, key=str.casefold),
            default=list(job.tags),
            key=tags,
            accept_new_options=True,
            placeholder="Choose or type tags",
            on_change=save,
            args=(tags, tagged),
        )
        st.text_area(
            "Notes on this run",
            job.notes,
            key=notes,
            max_chars=LONGEST_NOTES,
            on_change=save,
            args=(notes, lambda text: {"notes": text}),
        )
        st.toggle(
            "Star",
            job.starred,
            key=star,
            on_change=save,
            args=(star, lambda on: {"starred": on}),
        )


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
    """Delete, in a popover: a second click on Cancel, which was here, deletes nothing."""
    with st.popover("Delete"):
        st.write(
            "Removes the run from all lists. You can undo this for a day. An active run is "
            "cancelled and stays cancelled after Undo; Resume starts it."
        )
        st.button("Delete this run", on_click=run_table.delete_runs, args=(lab, ADDRESS, [job.id]))


def draw_log(lab: Lab, now: JobProgress) -> None:
    """The last lines of the log of a stage: first of a failed one, else of a running one."""
    stages = live.titled(now)
    logged = [(row, title) for row, title in stages if lab.cache.log(row.key).is_file()]
    first = live.first_log([row for row, _ in logged]) if logged else ""
    check_log({row.key: title for row, title in stages}, [row.key for row, _ in logged], first)
    with st.expander("Log", expanded=bool(ADDRESS["log"])):
        if not logged:
            st.caption("No stage has written a log yet.")
            return
        names = {row.key: title for row, title in logged}
        chosen = pick_log(names, first)
        lines = lab.cache.log(chosen).read_text(errors="replace").splitlines()
        st.code("\n".join(lines[-LOG_LINES:]), language=None)


def check_log(titles: dict[str, str], logged: list[str], first: str) -> None:
    """Say why the log that a link names is not shown, but that of the stage `first`."""
    log = ADDRESS["log"]
    if not log or log in logged:
        return
    shown = f"the log of {quoted(titles[first])}" if first else ""
    if log in titles:
        ADDRESS.reject(f"The stage {quoted(titles[log])} has no log.", shown)
    else:
        ADDRESS.reject(f"This run has no stage {quoted(log)}, so its log cannot be shown.", shown)
    ADDRESS["log"] = ""


def pick_log(names: dict[str, str], first: str) -> str:
    """The stage whose log is shown: `first`, until another one is chosen. Returns its key."""
    # A new failure is shown, whatever was chosen before.
    job, last = st.session_state.get(FIRST_LOG, ("", ""))
    if job == ADDRESS["job"] and last != first:
        ADDRESS["log"] = ""
    st.session_state[FIRST_LOG] = (ADDRESS["job"], first)
    opened = ADDRESS["job"]
    widget = f"log {opened} {first}"

    def choose() -> None:
        if ADDRESS["job"] == opened:  # else the browser still shows the run before
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


def main() -> None:
    lab = open_page("Runs")
    st.title("Runs")
    ADDRESS.open()
    reject_wrong_limits(ADDRESS)
    place = st.container()
    job = pick(lab)
    if job:
        live.limit_seed(job, ADDRESS)
    if job or lab.queue.deleted():
        run_table.draw_list(lab, ADDRESS, job.id if job else "")
    else:
        st.info("No runs yet. Run a preset on Home, or set up a comparison on Tune.")
        link("Tune", "Set up a comparison")
    if job:
        now = job_progress(lab.queue, job.id)
        draw_actions(lab, now)
        draw_live(lab, job, now)
        draw_log(lab, now)
    ADDRESS.write()
    with place:
        draw_link_problems()


main()
