"""Layers: what each layer bears, what is left of it, and a cut made by hand for each."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import streamlit as st

from pages.components import layer_table, live
from pages.components.facts import explain
from pages.components.picking import MOST_RUNS, pick_point, pick_run
from pages.components.shell import Lab, link, open_page, plain
from pruning_core.common.errors import SpecError
from pruning_core.methods.strategies import STRUCTURED
from pruning_core.planning.sensitivity import importance_title, sensitivity_only
from pruning_core.planning.stage import Outline, Stage
from pruning_core.reports.charts.layers import layer_sparsity_chart, magnitude_histogram
from pruning_core.reports.charts.sensitivity import sensitivity_heatmap
from pruning_core.reports.charts.style import chart_config
from pruning_core.results import layers
from pruning_core.results.models import titles
from pruning_core.results.sensitivity import images_text, read_sensitivity, sensitivity_finished
from pruning_core.settings.conditions import GROUP
from pruning_core.settings.messages import for_page, title
from pruning_core.settings.sensitivity import SENSITIVITY_UNITS
from pruning_core.settings.spec import Spec, from_json
from pruning_core.storage.job_progress import ACTIVE, standing
from pruning_core.storage.jobs import Job, job_id
from pruning_core.worker.start import ensure_worker

POLL_SECONDS = 2.0
CUT_ALONE = {"layer": "Each layer", GROUP: "Each coupled group of channels"}


def pick_unit(spec: Spec) -> str:
    """What is scanned alone: at first what the run's own settings say."""
    units = list(SENSITIVITY_UNITS)
    return st.radio(
        title("sensitivity.unit"),
        units,
        index=units.index(spec.sensitivity.unit),
        format_func=lambda unit: SENSITIVITY_UNITS[unit],
        horizontal=True,
        key="unit",
        help="The weights of one layer are zeroed by a mask. Channels of layers that hang together "
        "(through a sum, a depthwise convolution, batch norm) are taken out of all of them.",
    )


def draw_scan(lab: Lab, spec: Spec) -> pd.DataFrame:
    """The scan's heat map, or the way to it. Returns what is finished of it."""
    found, job = read_sensitivity(spec, lab.store), lab.queue.job(job_id(spec))
    now = standing(lab.queue, job.id) if job else None
    if now and now.state in ACTIVE:
        watch(lab, now.job.id, len(found))
    elif not sensitivity_finished(spec, lab.store):
        offer(lab, spec)
    if now and now.state not in ACTIVE:
        live.draw_errors(now)
    if found.empty:
        st.caption("Nothing is scanned yet. The heat map grows layer by layer.")
        return found
    drawn = sensitivity_heatmap(found)
    st.plotly_chart(drawn, key="heat", config=chart_config("sensitivity"))
    st.caption(
        f"{CUT_ALONE[spec.sensitivity.unit]} alone is cut, by {importance_title(spec)}, and nothing is trained. "
        f"The colour is the accuracy lost on {images_text(found, spec.sensitivity.images)}. A "
        "row ends where the accuracy is gone; a sparsity at which nothing more would go is left "
        "out."
    )
    st.download_button(
        "CSV", lambda: found.to_csv(index=False), "sensitivity.csv", "text/csv", on_click="ignore"
    )
    return found


def offer(lab: Lab, spec: Spec) -> None:
    """The button that starts the scan."""
    st.write(
        "A scan cuts every layer, or every coupled group of channels, of the baseline alone at "
        "several sparsities and measures it on validation images. It trains nothing, takes "
        "minutes, and every run on this baseline shares it."
    )
    if st.button("Scan the layers", type="primary"):
        lab.queue.submit(spec, spec.label)
        ensure_worker(lab.cache)
        st.rerun()


@st.fragment(run_every=POLL_SECONDS)
def watch(lab: Lab, job: str, shown: int) -> None:
    """How far the scan is; the page is drawn anew as rows come in."""
    now = standing(lab.queue, job)
    live.keep_worker(lab)
    live.draw_progress(lab, now)
    finished = sum(row.kind == "sensitivity" and row.status == "done" for row in now.rows)
    before = st.session_state.setdefault(f"scanned {job}", finished)
    if now.state not in ACTIVE or finished >= before + 5:
        st.session_state[f"scanned {job}"] = finished
        st.rerun()


def draw_model(lab: Lab, job: Job) -> None:
    """Sparsity layer by layer of one finished model, and one layer's weights."""
    st.header("Layer by layer")
    point = pick_point(lab, job, "model")
    if point is None:
        return
    found = layers.layer_statistics(lab.store, point.key)
    if not found:
        st.caption("This model was made before layers were recorded. Run it again to see them.")
        return
    outline, cut = Outline.from_json(job.outline), point.strategy == STRUCTURED
    dense = layers.layer_statistics(lab.store, outline.dense_of(point).key) if cut else []
    frame = layers.layers_frame(found, dense)
    st.plotly_chart(layer_sparsity_chart(frame), key="bars", config=chart_config("layers"))
    dead = frame[frame["zero channels"] > 0]
    st.caption(
        f"{int(dead['zero channels'].sum()):,} of {int(frame['channels'].sum()):,} output "
        f"channels are {'gone' if cut else 'dead'}, in {len(dead)} layers: "
        f"{'they were removed' if cut else 'every weight of theirs is zero'}."
    )
    layer_table.draw_portraits(frame)
    names = titles(outline)
    draw_layer(found, names[point.key][0])


def draw_layer(found: list[dict[str, object]], model: str) -> None:
    """The weights of one layer of a model by size, and where a cut would fall."""
    st.header("One layer's weights")
    st.caption(f"Of the model chosen above: {plain(model)}.")
    left, right = st.columns(2)
    with left:
        name = st.selectbox(
            "Layer", [str(layer["name"]) for layer in found], key="layer", help="One weight."
        )
    with right:
        share = st.slider(
            "Sparsity",
            0.0,
            99.9,
            50.0,
            0.1,
            format="%.1f %%",
            key="share",
            help="A cut of single weights of this layer by their size would remove those left of "
            "the threshold, which is read off the bars. Other criteria and pieces cut elsewhere.",
        )
    portrait = next(layer for layer in found if layer["name"] == name)
    st.plotly_chart(
        magnitude_histogram(portrait, share / 100), key="sizes", config=chart_config("weights")
    )


def draw_overlap(lab: Lab, job: Job) -> None:
    """How far two models keep the same weights."""
    st.header("Overlap of two models")
    left, right = st.columns(2)
    with left:
        first = pick_point(lab, job, "first")
    with right:
        others = lab.queue.started_labels(MOST_RUNS)
        chosen = st.selectbox(
            "Beside a model of",
            list(others),
            format_func=lambda name: f"{others[name]} ({name[:6]})",
            key="beside",
            help="The same run or another.",
        )
        known = first.key if first else ""
        beside = lab.queue.job(chosen) if chosen else None
        second = pick_point(lab, beside, "second", known) if beside else None
    if first is None or second is None or first.key == second.key:
        st.caption("Choose two different models.")
        return
    stage = Stage("mask_overlap", "", {"first": first.key, "second": second.key})
    if not lab.store.exists(stage.key):
        lab.queue.add([stage])
        ensure_worker(lab.cache)
        wait(lab, stage)
        return
    layer_table.draw_overlap(layers.jaccard(lab.store.read(stage.key)["rows"]))


@st.fragment(run_every=POLL_SECONDS)
def wait(lab: Lab, stage: Stage) -> None:
    """Say that the worker is looking, and draw the page again when it has looked."""
    row = lab.queue.stage(stage.key)
    if lab.store.exists(stage.key):
        st.rerun()
    if row and row.status == "failed":
        st.error(plain(explain(row.field, row.error)))
    else:
        st.caption("The worker compares them.")


def draw_spec(lab: Lab, job: Job, spec: Spec) -> None:
    """What can be started from here: a scan, and shares by hand. Raises `SpecError`."""
    st.header("Sensitivity")
    unit = pick_unit(spec)
    own = replace(spec, seeds=spec.seeds[:1], sensitivity=replace(spec.sensitivity, unit=unit))
    scan = sensitivity_only(own)
    found = draw_scan(lab, scan)
    whole = found if unit != GROUP and sensitivity_finished(scan, lab.store) else found.iloc[:0]
    layer_table.draw_by_hand(lab, job.id, spec, whole)


def main() -> None:
    lab = open_page("Layers")
    st.title("Layers")
    job = pick_run(lab)
    if job is None:
        st.info("No baseline is finished yet. Start a run on Home or Tune and come back.")
        link("Home", "Choose a preset")
        return
    spec = from_json(job.spec)
    try:
        draw_spec(lab, job, spec)
    except SpecError as error:
        # The user's files have moved, or the spec has no scan: what was measured is still there.
        st.warning(plain(for_page(error)))
    draw_model(lab, job)
    draw_overlap(lab, job)


main()
