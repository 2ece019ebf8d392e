"""A job as it runs: its state in words, its bar, its curves."""

from __future__ import annotations

import functools
import json
import time
from typing import Any

import plotly.graph_objects as go
import streamlit as st

from pages.components.facts import explain
from pages.components.shell import Lab, link, plain
from pruning_core.common import machine
from pruning_core.common.formatting import format_count, format_seconds
from pruning_core.planning.stage import Missing
from pruning_core.planning.stage_kinds import STAGE_KINDS
from pruning_core.reports.charts.style import config
from pruning_core.reports.charts.training import history_figure
from pruning_core.results.models import chain_names, titles
from pruning_core.settings.serialization import plain as plain_number
from pruning_core.storage.job_list import Run, run_from_progress
from pruning_core.storage.job_progress import ACTIVE, JobProgress, job_progress
from pruning_core.storage.stage_queue import Row
from pruning_core.storage.worker_record import WorkerRecord
from pruning_core.worker import start

WORDS = {
    "planning": "Looking at data and model",
    "queued": "Waiting",
    "running": "Running",
    "done": "Finished",
    "failed": "Failed",
    "refused": "Cannot run",
    "cancelled": "Cancelled",
}
STAGE_WORDS = {
    "queued": "waiting",
    "running": "running",
    "done": "finished",
    "failed": "failed",
    "cancelled": "cancelled",
}
COLORS = {"done": "green", "failed": "red", "refused": "red", "running": "blue"}


def badge(state: str) -> str:
    """A state as a coloured badge in Markdown."""
    return f":{COLORS.get(state, 'gray')}-badge[{WORDS[state]}]"


def keep_worker(lab: Lab) -> None:
    """See that a worker is alive while something is to be done, and say where there is none."""
    if problem := start.ensure_worker(lab.cache):
        st.warning(plain(problem))
    elif WorkerRecord(lab.cache.queue).current() is None:
        st.caption("A worker is starting. What was under way goes on from its last saved epoch.")


def draw_progress(lab: Lab, now: JobProgress) -> None:
    """The bar with the time left or spent."""
    run = run_from_progress(now)
    if not run.steps and not run.active:
        return
    parts = [stages_done(run), time_told(run)]
    st.progress(min(run.fraction, 1.0), text=", ".join(filter(None, parts)))


def stages_done(run: Run) -> str:
    """How many of its stages are finished."""
    if not run.steps:
        return "No stage yet"
    return f"{run.done} of {format_count(len(run.steps), 'stage')}"


def time_told(run: Run) -> str:
    """The time left of what runs, else the time spent."""
    if run.active:
        left = run.seconds_left(machine.usable_cores())
        return f"about {format_seconds(left)} left" if left else ""
    return f"took {format_seconds(run.seconds_spent)}" if run.seconds_spent else ""


Curves = dict[str, list[dict[str, Any]]]


def histories(lab: Lab, now: JobProgress, seed: int) -> tuple[Curves, dict[str, str]]:
    """The epochs of one seed's stages by label, and each label's strategy.

    The steps of a chain are one curve: each goes on where the one before ended.
    """
    rows = {row.key: row for row in now.rows}
    names, chains = titles(now.outline), chain_names(now.outline)
    found: Curves = {}
    strategies: dict[str, str] = {}
    spent: dict[str, float] = {}
    for point in now.outline.models:
        row = rows.get(point.key)
        if row is None or point.seed != seed:
            continue
        stage = names[point.key][0].removesuffix(f", seed {seed}")
        label = chains.get(point, stage)
        before = spent.get(label, 0.0)
        found.setdefault(label, []).extend(_moved(history_of(lab, row), before, stage))
        strategies[label] = point.strategy
        spent[label] = plain_number(before + row.settings.get("epochs", 0))
    return {label: epochs for label, epochs in found.items() if epochs}, strategies


def _moved(history: list[dict[str, Any]], before: float, stage: str) -> list[dict[str, Any]]:
    return [
        {**entry, "epoch": plain_number(entry["epoch"] + before), "stage": stage}
        for entry in history
    ]


def history_of(lab: Lab, row: Row) -> list[dict[str, Any]]:
    """A stage's epochs: as published, else as far as they have been reported."""
    if row.status == "done":
        try:
            return list(lab.store.read(row.key).get("history", []))
        except Missing:
            pass  # it was damaged: what had been reported is still told
    return list(row.progress.get("history") or [])


def labelled(now: JobProgress) -> list[tuple[Row, str]]:
    """The job's stages with a name each."""
    names = titles(now.outline)
    return [
        (row, names[row.key][0] if row.key in names else STAGE_KINDS[row.kind].title)
        for row in now.rows
    ]


def draw_curves(lab: Lab, now: JobProgress) -> None:
    """Loss and validation accuracy, epoch by epoch, as they grow."""
    found, strategies = histories(lab, now, pick_seed(now))
    if not found:
        if now.state in ACTIVE:
            st.caption("The curves begin with the first finished epoch.")
        else:
            st.caption("No epoch was trained, so there are no curves.")
        return
    left, right = st.columns(2)
    for column, name in ((left, "loss"), (right, "accuracy")):
        drawn = curves(json.dumps([found, name, strategies]))
        column.plotly_chart(drawn, key=name, config=config(name))
    st.caption(
        "Loss on the training images, accuracy on the validation images. The steps of a chain "
        "follow one another; what is cut at once begins beside the first of them."
    )


@functools.lru_cache(maxsize=64)
def curves(told: str) -> go.Figure:
    """The figure of histories as JSON: made once for every browser that watches them."""
    return history_figure(*json.loads(told))


def pick_seed(now: JobProgress) -> int:
    """The seed whose curves are drawn."""
    seeds = list(dict.fromkeys(point.seed for point in now.outline.models))
    if len(seeds) < 2:
        return seeds[0] if seeds else 0
    chosen = st.segmented_control(
        "Seed",
        seeds,
        default=seeds[0],
        required=True,
        key=f"seed {now.job.id}",
        help="Each seed repeats the whole comparison; the curves are those of one.",
    )
    return int(chosen)


def draw_stages(now: JobProgress) -> None:
    """A line a stage."""
    rows = [
        {
            "Stage": label,
            "State": STAGE_WORDS.get(row.status, row.status),
            "Doing": row.progress.get("message", "") if row.status == "running" else "",
            "Time": _time(row.started, row.finished) if row.status != "queued" else "",
        }
        for row, label in labelled(now)
    ]
    if rows:
        st.dataframe(rows, hide_index=True, height="content")


def draw_errors(now: JobProgress) -> None:
    """Why a job has no result, with the traceback folded away."""
    if now.job.error:
        st.error(explain(now.job.field, now.job.error))
    for row, name in labelled(now):
        if row.status == "failed" and not now.job.error:
            st.error(f"{name} failed. {explain(row.field, row.error)}")
            if "Traceback" in row.error:
                st.expander("Traceback").code(row.error)


def running_now(lab: Lab, limit: int = 5) -> bool:
    """Draw the jobs that are not finished, each with its bar. False where there are none."""
    found = [job_progress(lab.queue, job.id) for job in lab.queue.unfinished(limit)]
    active = [now for now in found if now.state in ACTIVE]
    if active:
        keep_worker(lab)
    for now in active:
        st.markdown(f"{plain(now.job.label)} {badge(now.state)}")
        draw_progress(lab, now)
        link("Runs", "Watch", job=now.job.id)
    return bool(active)


def _time(started: float | None, finished: float | None) -> str:
    if not started:
        return ""
    return format_seconds((finished or time.time()) - started)


def told_first(rows: list[Row]) -> str:
    """The key of the stage that a person wants to read of: failed, else running, else the last."""
    for status in ("failed", "running"):
        for row in rows:
            if row.status == status:
                return row.key
    return max(rows, key=lambda row: row.started or 0.0).key
