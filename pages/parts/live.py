"""A job as it runs: its state in words, its bar, its curves."""

from __future__ import annotations

import time
from typing import Any

import streamlit as st

from pages.parts.facts import explain
from pages.parts.shell import Lab, link, plain
from pruning_core.live_charts import history_figure
from pruning_core.queue.stage_queue import Row
from pruning_core.queue.standing import ACTIVE, TITLES, Standing, standing
from pruning_core.results import titles
from pruning_core.text import format_seconds
from pruning_core.worker.supervisor import ensure_worker

WORDS = {
    "planning": "Looking at data and model",
    "queued": "Waiting",
    "running": "Running",
    "done": "Finished",
    "failed": "Failed",
    "refused": "Cannot run",
    "cancelled": "Cancelled",
}
SURE_FRACTION = 0.2
COLORS = {"done": "green", "failed": "red", "refused": "red", "running": "blue"}


def badge(state: str) -> str:
    """A state as a coloured badge in Markdown."""
    return f":{COLORS.get(state, 'gray')}-badge[{WORDS[state]}]"


def draw_progress(lab: Lab, now: Standing) -> None:
    """The bar with the time left, and what is running."""
    done = sum(row.status == "done" for row in now.rows)
    parts = [f"{done} of {len(now.rows)} stages"]
    if left := seconds_left(now):
        parts.append(f"about {format_seconds(left)} left")
    st.progress(min(now.fraction, 1.0), text=", ".join(parts))


def seconds_left(now: Standing) -> float | None:
    """From the pace so far; None while there is no pace to go by."""
    started = [row.started for row in now.rows if row.started and row.status != "queued"]
    if now.state != "running" or not started or now.fraction < SURE_FRACTION:
        return None
    spent = time.time() - min(started)
    return spent * (1 - now.fraction) / now.fraction


def histories(lab: Lab, now: Standing) -> dict[str, list[dict[str, Any]]]:
    """The epochs of every stage that has some, under the stage's label."""
    found = {}
    for row, label in labelled(now):
        history = row.progress.get("history") or []
        if row.status == "done" and lab.store.exists(row.key):
            history = lab.store.read(row.key).get("history", [])
        if history:
            found[label] = history
    return found


def labelled(now: Standing) -> list[tuple[Row, str]]:
    """The job's stages with a name each."""
    names = titles(now.outline)
    return [(row, names[row.key][0] if row.key in names else TITLES[row.kind]) for row in now.rows]


def draw_curves(lab: Lab, now: Standing) -> None:
    """Loss and validation accuracy, epoch by epoch, as they grow."""
    found = histories(lab, now)
    if not found:
        st.caption("The curves begin with the first finished epoch.")
        return
    strategies = dict(titles(now.outline).values())
    left, right = st.columns(2)
    left.plotly_chart(history_figure(found, "loss", strategies), key="loss")
    right.plotly_chart(history_figure(found, "accuracy", strategies), key="accuracy")
    st.caption("Loss on the training images, accuracy on the validation images.")


def draw_stages(now: Standing) -> None:
    """A line a stage."""
    rows = [
        {
            "Stage": label,
            "State": row.status,
            "Doing": row.progress.get("message", "") if row.status == "running" else "",
            "Time": _time(row.started, row.finished) if row.status != "queued" else "",
        }
        for row, label in labelled(now)
    ]
    st.dataframe(rows, hide_index=True, height="content")


def draw_errors(now: Standing) -> None:
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
    found = [standing(lab.queue, job.id) for job in lab.queue.unfinished(limit)]
    active = [now for now in found if now.state in ACTIVE]
    if active:
        ensure_worker(lab.cache)
    for now in active:
        st.markdown(f"{plain(now.job.label)} {badge(now.state)}")
        draw_progress(lab, now)
        link("Runs", "Watch", job=now.job.id)
    return bool(active)


def _time(started: float | None, finished: float | None) -> str:
    if not started:
        return ""
    return format_seconds((finished or time.time()) - started)
