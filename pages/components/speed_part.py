"""How fast a model runs on this machine: asked, measured in turn with the dense one, drawn."""

from __future__ import annotations

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pages.components.facts import explain, inline
from pages.components.live import keep_worker
from pages.components.shell import Lab, plain
from pruning_core.common.formatting import format_count
from pruning_core.common.machine import usable_cores
from pruning_core.methods.runtimes import RUNTIMES
from pruning_core.methods.strategies import STRUCTURED
from pruning_core.planning.stage import Outline, PlannedModel, Stage
from pruning_core.planning.timing import Conditions, crossover_stage, latency_stages, left_out
from pruning_core.reports.charts.latency import latency_chart, speedup_chart
from pruning_core.reports.charts.sparse_speedup import break_even_chart
from pruning_core.reports.charts.style import chart_config
from pruning_core.results import latency, sparse_speedup
from pruning_core.results.deployment import verdict
from pruning_core.results.deployment_evidence import evidence, measured_conditions
from pruning_core.results.latency import latency_notes, model_names, speedup_text
from pruning_core.results.models import titles
from pruning_core.results.sparse_speedup import break_even_text, sparse_speedup_frame
from pruning_core.storage.jobs import Job

POLL_SECONDS = 2.0
BATCHES = [1, 8, 32]


def draw(lab: Lab, job: Job, point: PlannedModel, top: DeltaGenerator) -> None:
    """What was timed, where zeros would begin to pay, and into `top` the verdict."""
    st.header("Speed on this machine")
    dense = Outline.from_json(job.outline).dense_of(point)
    others = _others(lab, job, point)
    how = _conditions()
    models = list(dict.fromkeys([dense, point, *others]))
    stages = latency_stages([one.key for one in models], conditions=how)
    if _wanted(lab, stages, "Measure the speed", "Takes up to a minute for each program."):
        _draw_times(lab, stages, model_names(job, models), how)
    found = evidence(point, dense, others, stages, lab.store)
    top.info(inline(verdict(found)))
    if found.timing:
        batch, threads = measured_conditions(stages)
        at_a_time, cores = format_count(batch, "image"), format_count(threads, "thread")
        top.caption(f"What it says of speed is of {at_a_time} at a time and {cores}.")
    for note in [*left_out(RUNTIMES, how), *latency_notes(stages, lab.store)]:
        st.caption(inline(note))
    _draw_crossover(lab, point, how)


def _others(lab: Lab, job: Job, point: PlannedModel) -> list[PlannedModel]:
    """Further models of the run that are timed beside this one."""
    outline = Outline.from_json(job.outline)
    names = titles(outline)
    there = {
        one.key: one
        for one in outline.models
        if one.key != point.key and one.strategy != "baseline" and lab.store.exists(one.key)
    }
    if not there:
        return []
    chosen = st.multiselect(
        "Beside the dense model and this one",
        list(there),
        default=[key for key, one in there.items() if one.strategy == STRUCTURED][:1],
        format_func=lambda key: names[key][0],
        key=f"beside {point.key}",
        help="More models of this run, timed in turn with both.",
    )
    return [there[key] for key in chosen]


def _conditions() -> Conditions:
    first, second, third = st.columns(3)
    with first:
        batches = st.multiselect(
            "Images at a time", BATCHES, [1], key="batches", help="How many images a call is given."
        )
    with second:
        cores = list(range(1, usable_cores() + 1))
        threads = st.multiselect(
            "Threads", cores, [1], key="threads", help="How many cores a call may use."
        )
    with third:
        size = st.selectbox(
            "Pixels a side",
            [0, 64, 128, 224],
            format_func=lambda size: str(size or "as trained"),
            key="pixels",
            help="A convolutional network also runs on larger images than it was trained on. Only "
            "the time is measured there, not the accuracy.",
        )
    return Conditions(tuple(sorted(batches)) or (1,), tuple(sorted(threads)) or (1,), size)


def _wanted(lab: Lab, stages: list[Stage], label: str, text: str) -> bool:
    """Whether all is measured; else the button, what is running, or what failed."""
    missing = [stage for stage in stages if not lab.store.exists(stage.key)]
    if not missing:
        return True
    rows = {stage.key: lab.queue.stage(stage.key) for stage in missing}
    if any(row and row.status in ("queued", "running") for row in rows.values()):
        _watch(lab, missing, label)
        return len(missing) < len(stages)
    for row in rows.values():
        if row and row.status == "failed":
            st.error(plain(explain(row.field, row.error)))
    help_text = f"{text} Other runs wait meanwhile, so that nothing disturbs the clock."
    if st.button(label, help=help_text, key=f"start {label}"):
        for stage in missing:
            lab.queue.forget(stage.key)
        lab.queue.add(missing)
        st.rerun()
    return len(missing) < len(stages)


@st.fragment(run_every=POLL_SECONDS)
def _watch(lab: Lab, missing: list[Stage], label: str) -> None:
    keep_worker(lab)
    rows = [row for stage in missing if (row := lab.queue.stage(stage.key))]
    left = [row for row in rows if row.status in ("queued", "running")]
    if len(left) < len(missing):
        st.rerun()
    said = [row.progress.get("message", "") for row in left if row.status == "running"]
    waiting = "It waits until nothing else runs."
    st.caption(f"{label}: {inline(' '.join(filter(None, said)) or waiting)}")


def _draw_times(lab: Lab, stages: list[Stage], names: dict[str, str], how: Conditions) -> None:
    frame = latency.latency_frame(stages, lab.store, names)
    if frame.empty:
        return
    for batch in how.batches:
        for threads in how.threads:
            left, right = st.columns(2)
            key = f"{batch} {threads}"
            times, ratios = (
                latency_chart(frame, batch, threads),
                speedup_chart(frame, batch, threads),
            )
            left.plotly_chart(times, key=f"ms {key}", config=chart_config("time"))
            right.plotly_chart(ratios, key=f"x {key}", config=chart_config("ratio"))
    with st.expander("Table"):
        st.dataframe(_readable(frame), hide_index=True)
        st.download_button(
            "Times (CSV)", lambda: frame.to_csv(index=False), "speed.csv", on_click="ignore"
        )


def _readable(frame: pd.DataFrame) -> pd.DataFrame:
    rows = frame.to_dict("records")
    again = {"control": " (timed again)"}
    return pd.DataFrame(
        {
            "Model": [f"{row['model']}{again.get(row['role'], '')}" for row in rows],
            "Program": frame["runtime_title"],
            "Images": frame["batch_size"],
            "Threads": frame["threads"],
            "Median, ms": frame["p50_ms"].round(3),
            "90 %, ms": frame["p90_ms"].round(3),
            "Images a second": frame["images_per_second"].round(1),
            "Times as fast as dense": [speedup_text(row) for row in rows],
        }
    )


def _draw_crossover(lab: Lab, point: PlannedModel, how: Conditions) -> None:
    """Dense against sparse products of the model's own layers, over sparsity."""
    st.subheader("Where zeros begin to pay")
    st.caption(
        "The model's own 1x1 convolutions and linear layers as products of matrices, dense and "
        "sparse, with zeros at random places: one image, one thread."
    )
    stage = crossover_stage(point.key, how.image_size)
    if not _wanted(lab, [stage], "Find where zeros pay", "Takes about a minute."):
        return
    frame = sparse_speedup_frame(stage, lab.store)
    result = lab.store.read(point.key)
    # Channels that are gone are no zeros of the products that are left.
    zeros = 0 if point.strategy == STRUCTURED else result["weights_zeros"]
    own = zeros / result["weights"]
    st.plotly_chart(
        break_even_chart(frame, sparsity=own), key="zeros", config=chart_config("zeros")
    )
    for kernel in frame["kernel"].unique():
        st.caption(inline(break_even_text(sparse_speedup.break_even(frame, kernel), kernel)))
    st.download_button(
        "Products (CSV)", lambda: frame.to_csv(index=False), "crossover.csv", on_click="ignore"
    )
