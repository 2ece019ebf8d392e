"""Which runs, and which of their finished models, a page shows."""

from __future__ import annotations

import streamlit as st

from pages.components.shell import Lab, plain
from pruning_core.methods.strategies import CORRECTION
from pruning_core.planning.stage import Outline, PlannedModel
from pruning_core.results.models import titles
from pruning_core.storage.jobs import Job

MAX_RUNS = 1000


def pick_runs(lab: Lab) -> list[Job]:
    """Any number of runs: those in the link (`?runs=`), else the newest with a baseline."""
    labels = lab.queue.started_labels(MAX_RUNS)
    link = st.query_params.get("runs", "")
    linked = [name for name in link.split(",") if name]
    others = [name for name in linked if name not in labels]
    labels.update({name: job.label for name in others if (job := lab.queue.job(name))})
    if unknown := [name for name in linked if name not in labels]:
        st.warning(f"There is no run {plain(', '.join(unknown))}.")
    # A link counts when it is new. Later the widget holds the choice.
    is_new = st.session_state.get("linked runs") != link or "runs" not in st.session_state
    if link and is_new and len(unknown) < len(linked):
        st.session_state["runs"] = [name for name in linked if name in labels]
    if "runs" not in st.session_state and labels:
        st.session_state["runs"] = [next(iter(labels))]
    chosen = st.multiselect(
        "Runs",
        list(labels),
        key="runs",
        format_func=lambda name: f"{labels[name]} ({name[:6]})",
        help="Choose one or more runs to overlay.",
    )
    st.query_params["runs"] = st.session_state["linked runs"] = ",".join(chosen)
    return [job for name in chosen if (job := lab.queue.job(name))]


def pick_run(lab: Lab) -> Job | None:
    """One run: that in the link (`?run=`), else the newest with a baseline; None without any."""
    labels = lab.queue.started_labels(MAX_RUNS)
    linked = st.query_params.get("run", "")
    if linked and linked not in labels and (job := lab.queue.job(linked)):
        labels[job.id] = job.label
    if not labels:
        return None
    if linked and linked not in labels:
        st.warning(f"No run {plain(linked)} has a finished baseline. The newest run is shown.")
    names = list(labels)
    chosen = st.selectbox(
        "Run",
        names,
        index=names.index(linked) if linked in labels else 0,
        format_func=lambda name: f"{labels[name]} ({name[:6]})",
        help="Runs with a finished baseline.",
    )
    st.query_params["run"] = chosen
    return lab.queue.job(chosen)


def pick_model(
    lab: Lab, job: Job, key: str, label: str = "Model", other: str = ""
) -> PlannedModel | None:
    """One finished model of a run; None without any.

    At first it is the last trained model whose stage key is not `other`.
    """
    outline = Outline.from_json(job.outline)
    names = titles(outline)
    finished = [model for model in outline.models if lab.store.exists(model.key)]
    if not finished:
        st.caption("This run has no finished model yet.")
        return None
    trained = [
        i for i, model in enumerate(finished) if model.strategy != CORRECTION and model.key != other
    ]
    chosen = st.selectbox(
        label,
        range(len(finished)),
        index=(trained or [len(finished) - 1])[-1],
        format_func=lambda i: names[finished[i].key][0],
        key=key,
        help="The dense baseline or a pruned model.",
    )
    return finished[chosen]
