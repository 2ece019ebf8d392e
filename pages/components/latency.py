"""The latency of a model on this machine: conditions, measurement, charts, break-even sparsity."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from pages.components.address import Address, choice, id_list, some_of
from pages.components.chart import draw_chart
from pages.components.guide_link import header_with_guide
from pages.components.lab import Lab
from pages.components.markdown import inline
from pages.components.number_lists import quoted
from pages.components.run_stage import run_stage
from pruning_core.common.formatting import format_count
from pruning_core.common.machine import usable_cores
from pruning_core.methods.runtimes import RUNTIMES
from pruning_core.methods.strategies import STRATEGIES
from pruning_core.planning.model_types import ModelResult
from pruning_core.planning.stage import Outline, PlannedModel, Stage, read_result
from pruning_core.planning.timing import (
    Conditions,
    latency_stages,
    skipped_notes,
    sparse_speedup_stage,
)
from pruning_core.reports.charts.latency import latency_chart, speedup_chart
from pruning_core.reports.charts.sparse_speedup import break_even_chart
from pruning_core.results import latency, sparse_speedup
from pruning_core.results.csv_text import csv_text
from pruning_core.results.deployment import speed_text
from pruning_core.results.deployment_evidence import Evidence, evidence, measured_conditions
from pruning_core.results.latency import (
    OVER_FASTEST,
    ROLE_SUFFIXES,
    latency_notes,
    model_names,
    speedup_text,
)
from pruning_core.results.models import titles
from pruning_core.results.sparse_speedup import break_even_text, sparse_speedup_frame
from pruning_core.storage.job_record import Job

BATCH_SIZES = [1, 8, 32]
RESOLUTIONS = [0, 64, 128, 224]
PARAMETERS = (
    id_list("also"),
    some_of("batches", BATCH_SIZES, [1]),
    some_of("threads", range(1, usable_cores() + 1), [1]),
    choice("resolution", RESOLUTIONS),
)
ALONE = "Other stages wait until the measurement has ended."


def draw_latency(lab: Lab, job: Job, model: PlannedModel, address: Address) -> Evidence:
    """The section. Returns what is measured of the model."""
    header_with_guide("Latency on this machine", "latency", "how-latency-is-measured")
    summary = st.container()
    dense = Outline.from_json(job.outline).dense_of(model)
    others = _other_models(lab, job, model, address)
    conditions = _conditions(address)
    models = list(dict.fromkeys([dense, model, *others]))
    stages = latency_stages([one.key for one in models], conditions=conditions)
    if run_stage(
        lab,
        stages,
        "Measure latency",
        busy="Measuring latency",
        help=f"Takes up to a minute per runtime. {ALONE}",
    ):
        _draw_times(lab, stages, model_names(job, models), conditions)
    measured = evidence(model, dense, others, stages, lab.store)
    if measured.timing:
        summary.info(inline(speed_text(measured)))
        batch, threads = measured_conditions(stages)
        summary.caption(f"Speed: batch size {batch}, {format_count(threads, 'thread')}.")
    for note in [*skipped_notes(RUNTIMES, conditions), *latency_notes(stages, lab.store)]:
        st.caption(inline(note))
    _draw_break_even(lab, model, conditions)
    return measured


def _other_models(lab: Lab, job: Job, model: PlannedModel, address: Address) -> list[PlannedModel]:
    """Further finished models of the run, to measure beside this one."""
    outline = Outline.from_json(job.outline)
    names = titles(outline)
    finished = {
        one.key: one
        for one in outline.models
        if one.key != model.key and one.strategy != "baseline" and lab.store.exists(one.key)
    }
    for key in address["also"] or () if address.given("also") else ():
        if key not in finished:
            count = f"The run has {format_count(len(finished), 'other finished model')}."
            address.reject(f"There is no other model {quoted(key)} to benchmark. {count}")
    if not finished:
        address["also"] = None
        return []
    if address["also"] is None:
        structured = [k for k, m in finished.items() if STRATEGIES[m.strategy].removes_channels]
        address["also"] = structured[:1]
    elif any(key not in finished for key in address["also"]):
        address["also"] = [key for key in address["also"] if key in finished]
    chosen = st.multiselect(
        "Also benchmark",
        list(finished),
        default=address["also"],
        format_func=lambda key: names[key][0],
        key=address.key("also"),
        help="More models to measure. The dense baseline and this model are always measured. The "
        "measurements of all models alternate.",
    )
    return [finished[key] for key in chosen]


def _conditions(address: Address) -> Conditions:
    """Batch sizes, threads and input resolution, chosen on the page."""
    batch_column, thread_column, resolution_column = st.columns(3)
    with batch_column:
        batches = st.multiselect(
            "Batch size",
            BATCH_SIZES,
            address["batches"],
            key=address.key("batches"),
            help="Images per call.",
        )
        if not batches:
            st.caption("Nothing is chosen, so batch size 1 is measured.")
    with thread_column:
        cores = list(range(1, usable_cores() + 1))
        threads = st.multiselect(
            "Threads",
            cores,
            address["threads"],
            key=address.key("threads"),
            help="Number of CPU threads per call.",
        )
        if not threads:
            st.caption("Nothing is chosen, so 1 thread is measured.")
    with resolution_column:
        size = address.select_box(
            "resolution",
            "Input resolution",
            {size: f"{size} x {size}" if size else "as trained" for size in RESOLUTIONS},
            "A convolutional network also runs on larger images. Then only the time is measured, "
            "not the accuracy.",
        )
    return Conditions(tuple(sorted(batches)) or (1,), tuple(sorted(threads)) or (1,), size)


def _draw_times(
    lab: Lab, stages: list[Stage], names: dict[str, str], conditions: Conditions
) -> None:
    """Milliseconds and speed-ups of the finished stages: charts for each condition, and a table."""
    frame = latency.latency_frame(stages, lab.store, names)
    if frame.empty:
        return
    for batch in conditions.batches:
        for threads in conditions.threads:
            time_column, ratio_column = st.columns(2)
            key = f"{batch} {threads}"
            times, ratios = (
                latency_chart(frame, batch, threads),
                speedup_chart(frame, batch, threads),
            )
            with time_column:
                draw_chart(times, f"latency {key}")
            with ratio_column:
                draw_chart(ratios, f"speedup {key}")
    with st.expander("Table"):
        st.dataframe(_readable(frame), hide_index=True)
        st.download_button(
            "Latency (CSV)", lambda: csv_text(frame), "latency.csv", on_click="ignore"
        )


def _readable(frame: pd.DataFrame) -> pd.DataFrame:
    """The measurements as text."""
    rows = frame.to_dict("records")
    return pd.DataFrame(
        {
            "Model": [row["model"] + ROLE_SUFFIXES.get(row["role"], "") for row in rows],
            "Runtime": frame["runtime_title"],
            "Batch size": frame["batch_size"],
            "Threads": frame["threads"],
            "Median (ms)": frame["p50_ms"].round(3),
            "90th percentile (ms)": frame["p90_ms"].round(3),
            "Images/s": frame["images_per_second"].round(1),
            "Speed-up vs dense (95 % CI)": [speedup_text(row) for row in rows],
            "Speed-up vs fastest dense": [speedup_text(row, OVER_FASTEST) for row in rows],
            "Fastest dense": frame["fastest_runtime"].map(RUNTIMES.titles).fillna(""),
        }
    )


def _draw_break_even(lab: Lab, model: PlannedModel, conditions: Conditions) -> None:
    """Sparse against dense products of the model's layers, over sparsity."""
    header_with_guide(
        "Break-even sparsity (sparse vs dense kernels)",
        "latency",
        "sparse-kernels-and-break-even-sparsity",
        level=3,
    )
    st.caption(
        "Compares dense and sparse matrix products of the model's 1x1 convolutions and linear "
        "layers, with zeros at random positions, batch size 1 and 1 thread."
    )
    stage = sparse_speedup_stage(model.key, conditions.image_size)
    if not run_stage(
        lab,
        [stage],
        "Measure break-even",
        busy="Measuring break-even sparsity",
        help=f"Takes about a minute. {ALONE}",
    ):
        return
    frame = sparse_speedup_frame(stage, lab.store)
    result = read_result(lab.store, model.key, ModelResult)
    # Removed channels are no zeros in the products of the remaining weights.
    zeros = 0 if STRATEGIES[model.strategy].removes_channels else result.weights_zeros
    sparsity = zeros / result.weights
    draw_chart(
        break_even_chart(frame, sparsity=sparsity), "break_even", numbers="break-even sparsity"
    )
    for kernel in frame["kernel"].unique():
        st.caption(inline(break_even_text(sparse_speedup.break_even(frame, kernel), kernel)))
    st.download_button(
        "Break-even (CSV)",
        lambda: csv_text(frame),
        "break_even.csv",
        on_click="ignore",
    )
