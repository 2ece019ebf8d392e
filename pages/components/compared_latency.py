"""The latency of the models of a comparison beside their accuracy, measured on request."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from pages.components.guide_link import header_with_guide
from pages.components.lab import Lab
from pages.components.markdown import inline
from pages.components.run_stage import run_stage
from pruning_core.common.formatting import format_count
from pruning_core.methods.runtimes import RUNTIMES
from pruning_core.planning.stage import Outline
from pruning_core.planning.timing import Conditions, latency_stages, skipped_notes
from pruning_core.results.compared_latency import ComparedModel, compared_models, latency_table
from pruning_core.results.csv_text import csv_text
from pruning_core.results.difference_matrix import Matrix
from pruning_core.results.latency import latency_frame, latency_notes
from pruning_core.storage.job_record import Job

MOST_MODELS = 12  # that are timed together


def draw_compared_latency(lab: Lab, table: Matrix, jobs: Sequence[Job]) -> None:
    """The section. It follows the rows of the matrix that are tested."""
    header_with_guide("Latency on this machine", "latency", "how-latency-is-measured")
    every = compared_models(table)
    if not every:
        st.caption("No pruned model has finished yet.")
        return
    models = every[:MOST_MODELS]
    text = (
        "Measures each model that is tested above (first seed), in turn with the dense baseline of "
        "its run. Batch size 1, 1 thread."
    )
    if len(models) < len(every):
        text += f" Of {format_count(len(every), 'model')}, the first {len(models)} are timed."
    st.caption(text)
    stages = [
        stage
        for dense, keys in _by_baseline(models, jobs).items()
        for stage in latency_stages([dense, *keys], with_references=True)
    ]
    if run_stage(
        lab,
        stages,
        "Measure latency",
        busy="Measuring latency",
        help="Takes up to a minute per runtime. Other stages wait until the measurement has ended.",
    ):
        frame = latency_frame(stages, lab.store, {model.key: model.name for model in models})
        rows = latency_table(models, frame, table.reference)
        st.dataframe(rows, hide_index=True, key="compared latency")
        st.download_button(
            "Latency (CSV)", lambda: csv_text(frame), "latency.csv", on_click="ignore"
        )
    for note in [*skipped_notes(RUNTIMES, Conditions()), *latency_notes(stages, lab.store)]:
        st.caption(inline(note))


def _by_baseline(models: Sequence[ComparedModel], jobs: Sequence[Job]) -> dict[str, list[str]]:
    """The keys of the models by that of their dense baseline."""
    outlines = {job.id: Outline.from_json(job.outline) for job in jobs}
    keys: dict[str, list[str]] = {}
    for model in models:
        outline = outlines[model.run_id]
        planned = next(one for one in outline.models if one.key == model.key)
        keys.setdefault(outline.dense_of(planned).key, []).append(model.key)
    return keys
