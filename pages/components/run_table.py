"""The list of runs as a table: rows to open, to select, and the actions on selected runs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from pages.components.address import Address
from pages.components.lab import Lab
from pages.components.links import switch_page
from pages.components.markdown import inline, plain
from pages.components.number_lists import quoted
from pages.components.run_filters import draw_filters
from pruning_core.common.errors import SpecError
from pruning_core.common.formatting import format_count
from pruning_core.planning.stage import Outline
from pruning_core.results.goal import Goal
from pruning_core.results.run_columns import COLUMNS, needs_results, order_of
from pruning_core.results.run_summary import RunSummary, run_summary
from pruning_core.settings.messages import for_page
from pruning_core.storage.job_edits import Edit
from pruning_core.storage.job_list import JobFilter, JobList, JobModels, Order, Run
from pruning_core.storage.job_record import Job

SLOW_SECONDS = 10.0
PAGE = 20
ROW_HEIGHT, ROWS_AT_ONCE = 35, 10
# The summaries that are kept, and those that are computed in a response and in a step after it.
MOST_SUMMARIES, AT_ONCE, IN_A_STEP, STEP_SECONDS = 20_000, 2, 8, 0.3
PENDING = "…"  # instead of a summary that is not computed yet
UNDO = "deleted runs"  # the key of the session: the ids of the runs deleted last
NOTES = "notes on runs"  # the key of the session: what the last change has not done, as sentences
ARCHIVED = "archived runs"  # the key of the session: the ids of the runs archived last
RESTORED = "restored runs"  # the key of the session: the ids of the runs restored last
SHOWN_TABLE = "shown table"  # the key of the session: the key of the table
TITLE_CLICKS = "clicks on titles"  # the key of the session: their number
OPENED_STYLE = "background-color: rgba(0, 114, 178, 0.2)"
# The toolbar of the table would search and save the shown page only.
STYLE = """
<style>.st-key-runs [data-testid="stElementToolbar"] {display: none;}</style>
"""


def draw_list(lab: Lab, address: Address, opened: str) -> None:
    """The filters, the table, and the actions on the selected runs. A click on a row opens it."""
    st.html(STYLE)

    @st.fragment(run_every=SLOW_SECONDS)
    def draw() -> None:
        if address["job"] != opened:
            st.rerun()
        jobs, goal = draw_filters(lab, address)
        every = JobList(lab.cache.queue).models(jobs) if needs_results(address["sort"]) else []
        runs, more = _page(lab, address, jobs, _order(lab, address, every, goal))
        selected = _selected(lab, address)
        if runs:
            missing = _summarize(lab, [*(run.models for run in runs), *every], goal, AT_ONCE)
            _draw_table(lab, address, runs, selected, opened, goal)
            if missing:
                _draw_rest(lab, missing, goal, len(every))
        elif jobs.selective or jobs.show != JobFilter().show:
            st.info("No run matches these filters.")
        else:
            st.info("All runs are archived or deleted. Choose Show in Filters to see them.")
        if more or address["page"] > 1:
            _draw_paging(address, more)
        _draw_actions(lab, address, selected, [run.job.id for run in runs])
        address.write_part()

    draw()


def _order(lab: Lab, address: Address, every: list[JobModels], goal: Goal) -> Order:
    """The order of the list. By results, runs whose results are not read yet come last."""
    known = {one.id: _summaries.get(_key(lab, one, goal)) for one in every}
    summaries = {job: summary for job, summary in known.items() if summary}
    return order_of(address["sort"], address["reverse"], summaries)


def _page(lab: Lab, address: Address, jobs: JobFilter, order: Order) -> tuple[list[Run], bool]:
    """The runs of the shown page; those of the first one where the list has fewer pages."""
    listing = JobList(lab.cache.queue)
    runs, more = listing.page(PAGE, address["page"], jobs, order)
    if not runs and address["page"] > 1:
        if address.given("page"):  # else the list has become shorter
            address.reject(f"The list has no page {address['page']}.", "page 1")
        address["page"] = 1
        runs, more = listing.page(PAGE, 1, jobs, order)
    return runs, more


def _selected(lab: Lab, address: Address) -> list[Job]:
    """The selected runs, also those on other pages of the list."""
    wanted = address["selected"] or []
    jobs = lab.queue.jobs_by_id(wanted)
    for name in wanted:
        if name not in jobs:
            address.reject(f"There is no run {quoted(name)} to select.")
    chosen = [jobs[name] for name in wanted if name in jobs]
    _select(address, _ids(chosen))
    return chosen


def _select(address: Address, ids: Sequence[str]) -> None:
    address["selected"] = list(ids) or None


def _draw_table(
    lab: Lab, address: Address, runs: list[Run], selected: list[Job], opened: str, goal: Goal
) -> None:
    """The table. Its widget belongs to these runs in this order: a click on a list that has
    changed in the meantime hits no other run."""
    ids = [run.job.id for run in runs]
    shown = [name for name in COLUMNS if name in address["columns"]] or ["name"]
    titles = [COLUMNS[name].title for name in shown]
    # A click on a title selects the column; a new table has none selected.
    state = (ids, shown, st.session_state.get(TITLE_CLICKS, 0))
    order = hashlib.sha256(repr(state).encode()).hexdigest()[:12]
    key = st.session_state[SHOWN_TABLE] = f"runs {order}"
    here = [position for position, name in enumerate(ids) if name in {job.id for job in selected}]
    chosen = _show_selection(key, here, ids.index(opened) if opened in ids else None)
    entry = None if chosen else (0, titles[0])
    frame = pd.DataFrame([_cells(lab, run, goal) for run in runs])[shown]
    frame.columns = titles

    def highlight(row: pd.Series) -> list[str]:
        return [OPENED_STYLE * (ids[row.name] == opened)] * len(row)

    with st.container(key="runs"):
        st.dataframe(
            frame.style.apply(highlight, axis=1),
            hide_index=True,
            height=ROW_HEIGHT * (min(len(runs), ROWS_AT_ONCE) + 1) + 3,
            column_config={
                column.title: st.column_config.Column(width=column.width, help=column.help or None)
                for column in map(COLUMNS.__getitem__, shown)
            },
            key=key,
            on_select=_taken_over(lab, address, key, ids, here, entry),
            selection_mode=["multi-row", "single-cell", "single-column"],
        )


def _show_selection(key: str, rows: list[int], opened: int | None) -> bool:
    """Make the table show the state: the selected rows, and a cell of the opened run.

    A cell is shown only after one was chosen. Returns whether one was.
    """
    now = st.session_state.get(key, {}).get("selection", {})
    cells = [tuple(cell) for cell in now.get("cells", [])]
    wanted = [(opened, column) for _, column in cells] if opened is not None else []
    if sorted(now.get("rows", [])) != rows or cells != wanted:
        selection = {"rows": rows, "columns": [], "cells": wanted}
        st.session_state[key] = {"selection": selection}
    return bool(cells)


def _taken_over(
    lab: Lab,
    address: Address,
    key: str,
    ids: list[str],
    before: list[int],
    entry: tuple[int, str] | None,
) -> Callable[[], None]:
    """A callback: the state follows a click on the table.

    `before` are the rows that were selected. A person who comes to the table with the key Tab gets
    the cell `entry`, which opens no run: the next action must not be for another run.
    """

    def take_over() -> None:
        if st.session_state[SHOWN_TABLE] != key:  # the browser still shows the list before
            return
        selection = st.session_state[key].selection
        others = [name for name in address["selected"] or [] if name not in ids]
        _select(address, [*others, *(ids[row] for row in sorted(selection.rows))])
        if selection.rows != before:
            _forget_last()
        if selection.columns:
            st.session_state[TITLE_CLICKS] = st.session_state.get(TITLE_CLICKS, 0) + 1
            _sort_by(address, str(selection.columns[0]))
        elif selection.cells and tuple(selection.cells[0]) != entry:
            job = ids[selection.cells[0][0]]
            if job != address["job"] and lab.queue.job(job):  # a deleted run cannot be opened
                open_run(address, job)

    return take_over


def open_run(address: Address, job: str) -> None:
    """Open a run below the list; call it in a callback."""
    address["job"] = job
    address["seed"] = address["log"] = ""


def _sort_by(address: Address, title: str) -> None:
    """Sort by the column with this title, and in reverse where the list is sorted by it."""
    name = next(name for name, column in COLUMNS.items() if column.title == title)
    address["reverse"] = name == address["sort"] and not address["reverse"]
    address["sort"] = name
    address["page"] = 1


def _cells(lab: Lab, run: Run, goal: Goal) -> dict[str, str]:
    """The texts of a row by column."""
    summary = _summaries.get(_key(lab, run.models, goal), RunSummary(PENDING, PENDING))
    return {name: column.text(run, summary) for name, column in COLUMNS.items()}


# The summaries of all browsers, by the cache, the run, its finished stages and the goal.
_summaries: dict[tuple[Any, ...], RunSummary] = {}


def _key(lab: Lab, models: JobModels, goal: Goal) -> tuple[Any, ...]:
    return (str(lab.cache.root), models.id, models.done, hash(models.outline), goal)


def _summarize(lab: Lab, runs: Iterable[JobModels], goal: Goal, most: int) -> list[JobModels]:
    """Compute at most so many of the missing summaries. Returns the runs without one.

    Each takes about 10 ms, and a page must answer before all of them are computed.
    """
    if len(_summaries) > MOST_SUMMARIES:
        _summaries.clear()
    wanted = {_key(lab, run, goal): run for run in runs}
    missing = [run for key, run in wanted.items() if key not in _summaries]
    for run in missing[:most]:
        outline = Outline.from_json(run.outline)
        _summaries[_key(lab, run, goal)] = run_summary(outline, lab.store, goal)
    return missing[most:]


def _draw_rest(lab: Lab, missing: list[JobModels], goal: Goal, sorted_runs: int) -> None:
    """Compute the missing summaries in several steps, then draw the list again.

    `sorted_runs` is the number of runs whose results decide the order; 0 where no result does.
    """
    waiting = [missing]

    @st.fragment(run_every=STEP_SECONDS)
    def fill() -> None:
        if ticks:
            waiting.append(_summarize(lab, waiting[-1], goal, IN_A_STEP))
            if not waiting[-1]:
                st.rerun()
        ticks.append(True)
        if sorted_runs:
            done, every = sorted_runs - len(waiting[-1]), format_count(sorted_runs, "run")
            st.caption(f"Reading results to sort by: {done:,} of {every}. The others come last.")

    ticks: list[bool] = []
    fill()


def _draw_paging(address: Address, more: bool) -> None:
    """Buttons for the other pages of the list."""

    def turn(by: int) -> None:
        address["page"] += by

    with st.container(horizontal=True, vertical_alignment="center"):
        st.button("Previous page", on_click=turn, args=(-1,), disabled=address["page"] == 1)
        st.button("Next page", on_click=turn, args=(1,), disabled=not more)
        st.caption(f"Page {address['page']}, {PAGE} runs per page", width="content")


def _draw_actions(lab: Lab, address: Address, selected: list[Job], here: list[str]) -> None:
    """What can be done with the selected runs; without any, how to select some, or Undo."""
    # A callback cannot draw them: the list, which is a fragment, may be drawn again after it.
    for note in st.session_state.get(NOTES, []):
        st.warning(inline(note))
    last = lab.queue.jobs_by_id(st.session_state.get(UNDO, []))
    deleted = [job for job in last.values() if job.deleted]
    last = lab.queue.jobs_by_id(st.session_state.get(ARCHIVED, []))
    archived = [job for job in last.values() if job.archived and not job.deleted]
    if deleted:
        _draw_undo(f"Deleted {_counted(deleted)}.", lambda: _restore(lab, address, deleted))
    elif archived:
        _draw_undo(f"Archived {_counted(archived)}.", lambda: _unarchive(lab, archived))
    elif st.session_state.get(RESTORED):
        _draw_restored(lab)
    elif not selected:
        actions = (
            "Click a row to open a run. Tick rows to compare, tag, star, archive or delete them."
        )
        restore = "Tick rows to restore these runs."
        st.caption(restore if address["show"] == "deleted" else actions)
    if not selected:
        return
    with st.container(horizontal=True, vertical_alignment="center", key="selected"):
        elsewhere = sum(job.id not in here for job in selected)
        note = f", {elsewhere} not on this page" if elsewhere else ""
        st.markdown(f"{len(selected)} selected{note}", width="content")
        if restorable := [job for job in selected if job.deleted]:
            st.button("Restore selected", on_click=lambda: _restore(lab, address, restorable))
        else:
            _draw_changes(lab, address, selected)
        st.button("Clear selection", type="tertiary", on_click=lambda: _select(address, []))


def _draw_changes(lab: Lab, address: Address, selected: list[Job]) -> None:
    """Compare, tag, star, archive and delete the selected runs."""
    if st.button("Compare selected"):
        switch_page("Compare", {"runs": ",".join(_ids(selected))})
    with st.popover("Tag selected"):
        _draw_tagging(lab, selected)
    starred = all(job.starred for job in selected)
    star = "Unstar selected" if starred else "Star selected"
    st.button(star, on_click=lambda: edit_runs(lab, _ids(selected), starred=not starred))
    archived = all(job.archived for job in selected)

    def archive() -> None:
        _forget_last()
        edit_runs(lab, _ids(selected), archived=not archived)
        if not archived:
            st.session_state[ARCHIVED] = _ids(selected)
        _select(address, [])

    st.button("Unarchive selected" if archived else "Archive selected", on_click=archive)
    st.button("Delete selected", on_click=lambda: delete_runs(lab, address, _ids(selected)))


def _draw_tagging(lab: Lab, selected: list[Job]) -> None:
    """Add tags to the selected runs, or remove some that they have."""
    known = JobList(lab.cache.queue).names()["tag"]
    key = f"tags to add or remove {known}"
    st.multiselect(
        "Tags to add or remove",
        known,
        key=key,
        accept_new_options=True,
        placeholder="Choose or type tags",
    )

    def change(field: str) -> None:
        edit_runs(lab, _ids(selected), **{field: tuple(st.session_state[key])})

    with st.container(horizontal=True):
        st.button("Add tags", on_click=change, args=("add_tags",))
        st.button("Remove tags", on_click=change, args=("remove_tags",))


def _draw_undo(done: str, undo: Callable[[], None]) -> None:
    """What was deleted or archived last, and the button that brings it back."""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(done, width="content")
        st.button("Undo", on_click=undo)


def _unarchive(lab: Lab, archived: list[Job]) -> None:
    """Bring archived runs back into the lists; call it in a callback."""
    _forget_last()
    edit_runs(lab, _ids(archived), archived=False)


def _restore(lab: Lab, address: Address, deleted: list[Job]) -> None:
    """Bring deleted runs back, and open the only one; call it in a callback."""
    lab.queue.undelete(*_ids(deleted))
    present = [job.id for job in deleted if lab.queue.job(job.id)]
    if not present:  # the queue could not be written, and the page says so
        return
    _forget_last()
    st.session_state[RESTORED] = present
    _select(address, [])
    if len(present) == 1:
        open_run(address, present[0])


def _draw_restored(lab: Lab) -> None:
    """What was restored last. Runs that were active are cancelled: how to start them."""
    restored = [job for name in st.session_state[RESTORED] if (job := lab.queue.job(name))]
    stopped = [job for job in restored if job.status == "cancelled"]
    if not restored:
        return
    sentences = [f"Restored {_counted(restored)}."]
    if stopped and len(restored) == 1:
        sentences.append("It stays cancelled. Resume starts it.")
    elif stopped:
        some = "They stay" if len(stopped) == len(restored) else f"{len(stopped)} of them stay"
        sentences.append(f"{some} cancelled. Resume starts them.")

    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(" ".join(sentences), width="content")
        if stopped:
            what = "run" if len(stopped) == 1 else format_count(len(stopped), "run")
            st.button(f"Resume restored {what}", on_click=resume_runs, args=(lab, _ids(stopped)))


def _forget_last() -> None:
    """Show no longer what was deleted, archived or restored last, and what was not done then."""
    for key in (UNDO, ARCHIVED, RESTORED, NOTES):
        st.session_state.pop(key, None)


def _counted(jobs: list[Job]) -> str:
    """A run by its name, or how many there are."""
    return f"the run {plain(jobs[0].label)}" if len(jobs) == 1 else format_count(len(jobs), "run")


def delete_runs(lab: Lab, address: Address, ids: list[str]) -> None:
    """Delete runs and offer to undo it; call it in a callback."""
    lab.queue.delete(*ids)
    if lab.queue.job(ids[0]):  # the queue could not be written, and the page says so
        return
    _forget_last()
    st.session_state[UNDO] = ids
    _select(address, [name for name in address["selected"] or [] if name not in ids])
    if address["job"] in ids:
        open_run(address, "")


def edit_runs(lab: Lab, ids: list[str], **values: Any) -> None:
    """Change runs by the fields of `Edit`, or say which value is wrong; call it in a callback."""
    try:
        st.session_state[NOTES] = lab.queue.edit(ids, Edit(**values))
    except SpecError as error:
        st.session_state[NOTES] = [for_page(error)]


def resume_runs(lab: Lab, ids: list[str]) -> None:
    """Start cancelled, failed or refused runs again; call it in a callback."""
    lab.queue.retry(*ids)
    jobs = lab.queue.jobs_by_id(ids)
    _forget_last()
    st.session_state[NOTES] = [
        f"The run {quoted(job.label)} was deleted, so it was not started. Restore it first."
        for job in jobs.values()
        if job.deleted
    ]


def _ids(jobs: list[Job]) -> list[str]:
    return [job.id for job in jobs]
