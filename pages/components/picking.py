"""Which run, and which of its finished models, a page shows."""

from __future__ import annotations

import streamlit as st

from pages.components.shell import Lab, plain
from pruning_core.methods.strategies import CORRECTION
from pruning_core.planning.stage import Outline, PlannedModel
from pruning_core.results.models import titles
from pruning_core.storage.jobs import Job

MOST_RUNS = 1000


def pick_run(lab: Lab) -> Job | None:
    """The run in the link, else the newest with a baseline."""
    labels = lab.queue.started_labels(MOST_RUNS)
    wanted = st.query_params.get("run", "")
    if wanted and wanted not in labels and (job := lab.queue.job(wanted)):
        labels[job.id] = job.label
    if not labels:
        return None
    if wanted and wanted not in labels:
        st.warning(f"There is no run {plain(wanted)} with a finished baseline; another is shown.")
    names = list(labels)
    chosen = st.selectbox(
        "Run",
        names,
        index=names.index(wanted) if wanted in labels else 0,
        format_func=lambda name: f"{labels[name]} ({name[:6]})",
        help="A run whose baseline is finished. Its models are shown.",
    )
    st.query_params["run"] = chosen
    return lab.queue.job(chosen)


def pick_point(lab: Lab, job: Job, key: str, other: str = "") -> PlannedModel | None:
    """One finished model of a run: at first the last that was trained, and not `other` (a key)."""
    outline = Outline.from_json(job.outline)
    names = titles(outline)
    there = [point for point in outline.models if lab.store.exists(point.key)]
    if not there:
        st.caption("This run has no finished model yet.")
        return None
    trained = [i for i, one in enumerate(there) if one.strategy != CORRECTION and one.key != other]
    chosen = st.selectbox(
        "Model",
        range(len(there)),
        index=(trained or [len(there) - 1])[-1],
        format_func=lambda i: names[there[i].key][0],
        key=key,
        help="The baseline, or one cut with its fine-tuning.",
    )
    return there[chosen]
