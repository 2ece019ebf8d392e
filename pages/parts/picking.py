"""Which run, and which of its finished models, a page shows."""

from __future__ import annotations

import streamlit as st

from pages.parts.shell import Lab, plain
from pruning_core.points import LADDER
from pruning_core.queue.jobs import Job
from pruning_core.results import titles
from pruning_core.stage import Outline, Point

SHOWN = 50


def pick_run(lab: Lab) -> Job | None:
    """The run in the link, else the newest with a baseline."""
    jobs = {job.id: job for job in lab.queue.started(SHOWN)}
    wanted = st.query_params.get("run", "")
    if wanted and wanted not in jobs and (job := lab.queue.job(wanted)):
        jobs[job.id] = job
    if not jobs:
        return None
    if wanted and wanted not in jobs:
        st.warning(f"There is no run {plain(wanted)} with a finished baseline; another is shown.")
    names = list(jobs)
    chosen = st.selectbox(
        "Run",
        names,
        index=names.index(wanted) if wanted in jobs else 0,
        format_func=lambda name: f"{jobs[name].label} ({name[:6]})",
        help="A run whose baseline is finished. Its models are shown.",
    )
    st.query_params["run"] = chosen
    return jobs[chosen]


def pick_point(lab: Lab, job: Job, key: str, other: str = "") -> Point | None:
    """One finished model of a run: at first the last that was trained, and not `other` (a key)."""
    outline = Outline.from_json(job.outline)
    names = titles(outline)
    there = [point for point in outline.points if lab.store.exists(point.key)]
    if not there:
        st.caption("This run has no finished model yet.")
        return None
    trained = [i for i, one in enumerate(there) if one.strategy != LADDER and one.key != other]
    chosen = st.selectbox(
        "Model",
        range(len(there)),
        index=(trained or [len(there) - 1])[-1],
        format_func=lambda i: names[there[i].key][0],
        key=key,
        help="The baseline, or one cut with its fine-tuning.",
    )
    return there[chosen]
