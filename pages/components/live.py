"""A run while it grows: its state, its progress, its curves, its errors."""

from __future__ import annotations

import functools
import json
import time
from typing import Any

import plotly.graph_objects as go
import streamlit as st

from pages.components.address import Address
from pages.components.chart import draw_chart
from pages.components.facts import explain
from pages.components.lab import Lab
from pages.components.links import link
from pages.components.markdown import inline, plain
from pages.components.run_picker import distinct_labels
from pruning_core.common.formatting import format_count, format_seconds
from pruning_core.planning.measurement_types import SensitivitySettings
from pruning_core.planning.model_types import ModelResult, ModelSettings
from pruning_core.planning.stage import Missing, Outline, read_result
from pruning_core.planning.stage_kinds import STAGE_KINDS
from pruning_core.planning.stage_types import restored
from pruning_core.reports.charts.training import training_curves
from pruning_core.results.models import chain_names, titles
from pruning_core.results.run_columns import STATE_TITLES, time_text
from pruning_core.settings.serialization import plain as plain_number
from pruning_core.storage.job_list import Run, run_from_progress
from pruning_core.storage.job_progress import ACTIVE, JobProgress, job_progress
from pruning_core.storage.job_record import Job
from pruning_core.storage.stage_queue import Row
from pruning_core.storage.worker_record import WorkerRecord
from pruning_core.worker import start

POLL_SECONDS = 2.0
ROWS_WITHOUT_SCROLLING, TABLE_HEIGHT = 25, 700
BADGE_COLORS = {"done": "green", "failed": "red", "refused": "red", "running": "blue"}

Curves = dict[str, list[dict[str, Any]]]


def badge(state: str) -> str:
    """A state as a colored badge in Markdown."""
    return f":{BADGE_COLORS.get(state, 'gray')}-badge[{STATE_TITLES[state]}]"


def keep_worker(lab: Lab) -> None:
    """Start a worker if none is alive while work is pending, and say why where that fails."""
    if problem := start.ensure_worker(lab.cache):
        st.warning(plain(problem))
    elif WorkerRecord(lab.cache.queue).current() is None:
        st.caption("A worker is starting. Interrupted stages continue from their last checkpoint.")


def draw_progress(now: JobProgress) -> None:
    """The progress bar with the remaining time, or the time spent; none for a refused run."""
    run = run_from_progress(now)
    if run.state == "refused" or not (run.steps or run.active):
        return
    parts = [stages_done(run), _time_text(run)]
    with st.container(key=f"progress {run.job.id}"):
        st.progress(min(run.fraction, 1.0), text=", ".join(filter(None, parts)))


def stages_done(run: Run) -> str:
    """How many of the stages are finished."""
    if not run.steps:
        return "No stages yet"
    return f"{run.done} of {format_count(len(run.steps), 'stage')}"


def _time_text(run: Run) -> str:
    """The remaining time of an active run, else the time spent."""
    text = time_text(run)
    return f"took {text}" if text and not run.active else text


def histories(lab: Lab, now: JobProgress, seed: int) -> tuple[Curves, dict[str, str]]:
    """The epochs of the stages of one seed by label, and the strategy of each label.

    The steps of an iterative run make one curve: each continues where the last one ended.
    """
    rows = {row.key: row for row in now.rows}
    names, chains = titles(now.outline), chain_names(now.outline)
    epochs: Curves = {}
    strategies: dict[str, str] = {}
    trained: dict[str, float] = {}
    for model in now.outline.models:
        row = rows.get(model.key)
        if row is None or model.seed != seed:
            continue
        stage = names[model.key][0].removesuffix(f", seed {seed}")
        label = chains.get(model, stage)
        before = trained.get(label, 0.0)
        epochs.setdefault(label, []).extend(_shifted(history_of(lab, row), before, stage))
        strategies[label] = model.strategy
        trained[label] = plain_number(before + restored(ModelSettings, row.settings).epochs)
    return {label: history for label, history in epochs.items() if history}, strategies


def _shifted(history: list[dict[str, Any]], before: float, stage: str) -> list[dict[str, Any]]:
    return [
        {**entry, "epoch": plain_number(entry["epoch"] + before), "stage": stage}
        for entry in history
    ]


def history_of(lab: Lab, row: Row) -> list[dict[str, Any]]:
    """The epochs of a model's stage: from its result, or as far as it has reported them."""
    if row.status == "done":
        try:
            return read_result(lab.store, row.key, ModelResult).history
        except Missing:
            pass  # The result is damaged; the reported epochs are still in the queue.
    return list(row.progress.get("history") or [])


def titled(now: JobProgress) -> list[tuple[Row, str]]:
    """The stages of a run with a title each."""
    names = titles(now.outline)
    return [(row, names[row.key][0] if row.key in names else _kind_title(row)) for row in now.rows]


def _kind_title(row: Row) -> str:
    """The title of the kind of a stage, after its layer where it is about one.

    The layer comes first, because a narrow column cuts the end.
    """
    title = STAGE_KINDS[row.kind].title
    if row.kind != "sensitivity":
        return title
    layer = restored(SensitivitySettings, row.settings).layer
    return f"{layer}: {title[0].lower()}{title[1:]}"


def draw_curves(lab: Lab, now: JobProgress, address: Address) -> None:
    """Loss and validation accuracy of each epoch."""
    epochs, strategies = histories(lab, now, pick_seed(now, address))
    if not epochs:
        if now.state in ACTIVE:
            st.caption("Curves appear after the first epoch.")
        else:
            st.caption("No epoch was trained, so there are no curves.")
        return
    for column, name in zip(st.columns(2), ("loss", "accuracy"), strict=True):
        figure = curves(json.dumps([epochs, name, strategies]))
        with column:
            draw_chart(figure, name, numbers=name)
    st.caption(
        "Loss on the training images, accuracy on the validation images. Iterative steps are drawn "
        "one after another; one-shot models start at epoch 1."
    )


@functools.lru_cache(maxsize=64)
def curves(arguments: str) -> go.Figure:
    """The figure of the arguments of `history_figure` as JSON, cached for all browsers."""
    return training_curves(*json.loads(arguments))


def limit_seed(job: Job, address: Address) -> None:
    """Reject a seed that the link names and the run lacks; call before the address is written."""
    if seeds := _seeds(Outline.from_json(job.outline)):  # they are not known before the plan
        titles = {seed: f"seed {seed}" for seed in seeds}
        address.limit("seed", {"": titles[seeds[0]], **titles}, "", "seed")


def _seeds(outline: Outline) -> list[str]:
    return list(dict.fromkeys(str(model.seed) for model in outline.models))


def pick_seed(now: JobProgress, address: Address) -> int:
    """The seed whose curves are drawn."""
    seeds = _seeds(now.outline)
    if len(seeds) < 2:
        return int(seeds[0]) if seeds else 0
    chosen = address.limit("seed", {seed: f"seed {seed}" for seed in seeds}, seeds[0], "seed")
    address.segmented_control(
        "seed",
        "Seed",
        {seed: seed for seed in seeds},
        "Each seed repeats the whole comparison. The curves are those of one seed.",
    )
    return int(chosen)


def draw_stages(now: JobProgress) -> None:
    """A table with a row for each stage."""
    skipped = now.skipped
    rows = [
        {
            "Stage": title,
            "State": STATE_TITLES["skipped" if row.key in skipped else row.status],
            "Progress": row.progress.get("message", "") if row.status == "running" else "",
            "Time": _time(row.started, row.finished) if row.status != "queued" else "",
        }
        for row, title in titled(now)
    ]
    if rows:
        long = len(rows) > ROWS_WITHOUT_SCROLLING
        st.dataframe(rows, hide_index=True, height=TABLE_HEIGHT if long else "content")


def draw_errors(now: JobProgress) -> None:
    """Why a run failed, with the traceback in an expander."""
    if now.job.error:
        st.error(inline(explain(now.job.field, now.job.error)))
    for row, title in titled(now):
        if row.status == "failed" and not now.job.error:
            st.error(f"{title} failed. {inline(explain(row.field, row.error))}")
            if "Traceback" in row.error:
                st.expander("Traceback").code(row.error)


def running_now(lab: Lab, limit: int = 5) -> bool:
    """Draw the active runs, each with its progress. False where there are none."""
    unfinished = [job_progress(lab.queue, job.id) for job in lab.queue.unfinished(limit)]
    active = [now for now in unfinished if now.state in ACTIVE]
    if active:
        keep_worker(lab)
    names = distinct_labels(lab, {now.job.id: now.job.label for now in active})
    for now in active:
        st.markdown(f"{plain(now.job.label)} {badge(now.state)}")
        draw_progress(now)
        which = f" of {plain(names[now.job.id])}" if len(active) > 1 else ""
        link("Runs", f"View progress{which}", job=now.job.id)
    return bool(active)


@st.fragment(run_every=POLL_SECONDS)
def draw_no_results(lab: Lab) -> None:
    """What a page shows before the first baseline has finished: the active runs, else a way on.

    The page is drawn again when there is a run with results.
    """
    if lab.queue.started(1):
        st.rerun()
    place = st.container()
    if running_now(lab):
        place.info("No results yet. They appear here as models finish.")
    else:
        place.info("No results yet. Start a run on Home or Tune.")
        link("Home", "Choose a preset")


@st.fragment(run_every=POLL_SECONDS)
def draw_no_model(lab: Lab, job: Job) -> None:
    """What a page shows of an active run without a finished model; nothing of another one.

    The page is drawn again when there is a model.
    """
    now = job_progress(lab.queue, job.id)
    if any(lab.store.exists(model.key) for model in now.outline.models):
        st.rerun()
    if now.state in ACTIVE:
        keep_worker(lab)
        st.info(f"No model of {plain(job.label)} has finished yet. Results appear here then.")
        draw_progress(now)
        link("Runs", f"View progress of {plain(job.label)}", job=job.id)


def _time(started: float | None, finished: float | None) -> str:
    if not started:
        return ""
    return format_seconds((finished or time.time()) - started)


def first_log(rows: list[Row]) -> str:
    """The key of the stage whose log is shown first: failed, else running, else the last."""
    for status in ("failed", "running"):
        for row in rows:
            if row.status == status:
                return row.key
    return max(rows, key=lambda row: row.started or 0.0).key
