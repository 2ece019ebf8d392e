"""The latency of the models of a comparison beside their accuracy, measured on request."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from pages.components.chart import draw_chart
from pages.components.guide_link import header_with_guide
from pages.components.lab import Lab
from pages.components.markdown import inline
from pages.components.run_stage import run_stage
from pruning_core.common.formatting import format_count
from pruning_core.methods.runtimes import RUNTIMES
from pruning_core.planning.stage import Outline, Stage
from pruning_core.planning.timing import Conditions, latency_stages, skipped_notes
from pruning_core.reports.charts.latency import speedup_chart
from pruning_core.results.compared_latency import (
    MOST_MODELS,
    TimedModel,
    latency_table,
    models_to_time,
)
from pruning_core.results.csv_text import csv_text
from pruning_core.results.difference_matrix import Matrix
from pruning_core.results.latency import latency_frame, latency_notes
from pruning_core.storage.job_record import Job


def draw_compared_latency(lab: Lab, table: Matrix, jobs: Sequence[Job]) -> None:
    """The section. It follows the rows of the matrix that are tested."""
    header_with_guide("Latency on this machine", "latency", "how-latency-is-measured")
    models = models_to_time(table)
    if not models:
        st.caption("No pruned model has finished yet.")
        return
    timed = models[:MOST_MODELS]
    outlines = {job.id: Outline.from_json(job.outline) for job in jobs}
    dense = _dense_of(outlines, timed[0])
    keys = list(dict.fromkeys([dense, *(model.key for model in timed)]))
    st.caption(_what_is_timed(len(models), len(timed)))
    stages = latency_stages(keys, with_references=True)
    if run_stage(
        lab,
        stages,
        "Measure latency",
        busy="Measuring latency",
        help="Takes up to a minute per runtime. Other stages wait until the measurement has ended.",
    ):
        _draw_times(lab, stages, timed, dense)
    for note in [*skipped_notes(RUNTIMES, Conditions()), *latency_notes(stages, lab.store)]:
        st.caption(inline(note))


def _dense_of(outlines: dict[str, Outline], model: TimedModel) -> str:
    """The key of the dense baseline of a model."""
    outline = outlines[model.run_id]
    planned = next(one for one in outline.models if one.key == model.key)
    return outline.dense_of(planned).key


def _what_is_timed(count: int, timed: int) -> str:
    text = (
        "Times the models that are tested above, of the first seed, in turn with the dense "
        "baseline of the first of them: batch size 1, 1 thread."
    )
    if timed < count:
        text += f" Of {format_count(count, 'model')}, the first {timed} are timed."
    return text


def _draw_times(lab: Lab, stages: list[Stage], models: list[TimedModel], dense: str) -> None:
    """What each model costs in accuracy and buys in time, a chart of the speed-ups, and the CSV."""
    names = {dense: "baseline", **{model.key: model.name for model in models}}
    frame = latency_frame(stages, lab.store, names)
    if frame.empty:
        return
    st.dataframe(latency_table(models, frame), hide_index=True, key="compared latency")
    draw_chart(speedup_chart(frame), "speedup of models")
    st.download_button("Latency (CSV)", lambda: csv_text(frame), "latency.csv", on_click="ignore")
