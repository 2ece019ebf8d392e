"""Layers: sensitivity analysis, custom per-layer sparsity, and the layers of finished models."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import streamlit as st

from pages.components import layer_table
from pages.components.address import Address, Parameter, number
from pages.components.chart import draw_chart
from pages.components.facts import files_listed
from pages.components.guide_link import header_with_guide
from pages.components.lab import Lab
from pages.components.links import link
from pages.components.markdown import inline, plain
from pages.components.picking import pick_model, pick_run
from pages.components.run_stage import run_stage
from pages.components.shell import draw_link_problems, open_page
from pruning_core.common.errors import SpecError
from pruning_core.common.formatting import format_count
from pruning_core.methods.sensitivity_units import SENSITIVITY_UNITS
from pruning_core.methods.strategies import STRATEGIES
from pruning_core.planning.exports import mask_overlap_stage
from pruning_core.planning.measurement_types import MaskOverlapResult, SensitivitySettings
from pruning_core.planning.plan import plan
from pruning_core.planning.sensitivity import importance_title, sensitivity_only
from pruning_core.planning.stage import Outline, Stage, read_result
from pruning_core.planning.stage_kinds import STAGE_KINDS
from pruning_core.planning.stage_types import restored
from pruning_core.reports.charts.layers import layer_sparsity_chart, magnitude_histogram
from pruning_core.reports.charts.sensitivity import sensitivity_heatmap
from pruning_core.results import layers
from pruning_core.results.csv_text import csv_text
from pruning_core.results.labels import short
from pruning_core.results.layers import layer_statistics, layers_frame
from pruning_core.results.models import titles
from pruning_core.results.sensitivity import images_text, read_sensitivity
from pruning_core.settings.conditions import GROUP
from pruning_core.settings.messages import for_page, title
from pruning_core.settings.spec import Spec, from_json
from pruning_core.storage.jobs import Job

ADDRESS = Address(
    "Layers",
    Parameter("run"),
    Parameter("unit"),
    number("overall", 80.0, 1.0, 99.0),
    layer_table.LAYERS,
    Parameter("model"),
    Parameter("layer"),
    number("sparsity", 50.0, 0.0, 99.9),
    Parameter("first"),
    Parameter("other"),
    Parameter("second"),
)


def pick_unit(spec: Spec) -> str:
    """The unit that the analysis prunes; the default is that of the run's settings."""
    units = list(SENSITIVITY_UNITS)
    unit = ADDRESS.limit("unit", units, spec.sensitivity.unit, "unit")
    return st.radio(
        title("sensitivity.unit"),
        units,
        index=units.index(unit),
        format_func=lambda unit: SENSITIVITY_UNITS[unit].title,
        captions=[unit.help for unit in SENSITIVITY_UNITS.values()],
        horizontal=True,
        key=ADDRESS.key("unit"),
        help="Layers that share channels (through a residual sum, a depthwise convolution or "
        "batch norm) form a dependency group. They lose the same channels.",
    )


def draw_sensitivity(lab: Lab, job: Job, spec: Spec) -> None:
    """The sensitivity analysis of the run's baseline, and the custom run from it.

    Raises `SpecError` if the run's settings have no sensitivity analysis, or if its files have
    moved.
    """
    header_with_guide("Sensitivity analysis", "sensitivity", "read-the-heat-map")
    st.caption(
        "Prunes one layer (or dependency group) at a time, at several sparsities, and measures "
        "validation accuracy without retraining."
    )
    if not files_listed(lab, spec):
        return
    unit = pick_unit(spec)
    one_seed = replace(spec, seeds=spec.seeds[:1])
    analysis = sensitivity_only(replace(one_seed, sensitivity=replace(spec.sensitivity, unit=unit)))
    planned = plan(analysis, lab.store)
    finished = run_stage(
        lab,
        planned.stages,
        "Run sensitivity analysis",
        busy="Analyzing",
        help="Takes minutes. All runs with this baseline share the result.",
        name=stage_title,
        job=analysis,
        primary=True,
    )
    frame = read_sensitivity(analysis, lab.store)
    draw_heat_map(frame, analysis)
    complete = planned.complete and len(finished) == len(planned.stages)
    usable = frame if complete and unit != GROUP else frame.iloc[:0]
    layer_table.draw_custom_sparsity(lab, job.id, spec, usable, ADDRESS)


def stage_title(stage: Stage) -> str:
    """The layer of a sensitivity stage; the kind of another stage."""
    if stage.kind == "sensitivity":
        return short(restored(SensitivitySettings, stage.settings).layer)
    return STAGE_KINDS[stage.kind].title


def draw_heat_map(frame: pd.DataFrame, spec: Spec) -> None:
    """The finished layers of an analysis; nothing before the first."""
    if frame.empty:
        st.caption("The heat map appears with the first finished layer.")
        return
    draw_chart(sensitivity_heatmap(frame), "sensitivity")
    st.caption(
        f"Color: accuracy drop on {images_text(frame, spec.sensitivity.images)}. Importance: "
        f"{importance_title(spec)}. Empty cells were not measured, because "
        "the accuracy was already at chance."
    )
    st.download_button(
        "Sensitivity (CSV)",
        lambda: csv_text(frame),
        "sensitivity.csv",
        "text/csv",
        on_click="ignore",
    )


def draw_model(lab: Lab, job: Job) -> None:
    """The sparsity of each layer of a finished model, and a weight magnitude histogram."""
    st.header("Sparsity per layer")
    model = pick_model(lab, job, ADDRESS)
    if model is None:
        return
    statistics = layer_statistics(lab.store, model.key)
    if not statistics:
        st.caption("An older version trained this model without layer statistics. Run it again.")
        return
    outline = Outline.from_json(job.outline)
    structured = STRATEGIES[model.strategy].removes_channels
    dense = layer_statistics(lab.store, outline.dense_of(model).key) if structured else []
    frame = layers_frame(statistics, dense)
    draw_chart(layer_sparsity_chart(frame), "layers")
    st.caption(zero_channels(frame, structured))
    layer_table.draw_layers(frame)
    draw_histogram(statistics, titles(outline)[model.key][0])


def zero_channels(frame: pd.DataFrame, structured: bool) -> str:
    """How many output channels of a model have no weight left."""
    some = frame[frame["zero channels"] > 0]
    zero, channels = int(some["zero channels"].sum()), int(frame["channels"].sum())
    state = "were removed" if structured else "are all zero"
    where = f" ({format_count(len(some), 'layer')})" if zero else ""
    return f"{zero:,} of {channels:,} output channels{where} {state}."


def draw_histogram(statistics: list[dict[str, object]], model: str) -> None:
    """The weight magnitudes of one layer, with the threshold of a sparsity."""
    st.header("Weight magnitude histogram")
    st.caption(f"Model: {plain(model)}.")
    layer_column, sparsity_column = st.columns(2)
    layers = [str(layer["name"]) for layer in statistics]
    chosen = ADDRESS.limit("layer", layers, layers[0], "layer")
    with layer_column:
        name = st.selectbox(
            "Layer",
            layers,
            index=layers.index(chosen),
            key=ADDRESS.key("layer"),
            help="The parameter name of a weight tensor.",
        )
    with sparsity_column:
        sparsity = st.slider(
            "Sparsity",
            0.0,
            99.9,
            ADDRESS["sparsity"],
            0.1,
            format="%.1f %%",
            key=ADDRESS.key("sparsity"),
            help="Magnitude pruning of single weights to this sparsity removes the weights below "
            "the threshold. The threshold is estimated from the bars.",
        )
    layer = next(one for one in statistics if one["name"] == name)
    draw_chart(magnitude_histogram(layer, sparsity / 100), "weights")


def draw_overlap(lab: Lab, job: Job) -> None:
    """The Jaccard index of the masks of two models."""
    header_with_guide("Mask overlap (Jaccard)", "sensitivity", "sparsity-weights-and-mask-overlap")
    first_column, second_column = st.columns(2)
    with first_column:
        first = pick_model(lab, job, ADDRESS, "first", "First model")
    with second_column:
        other = pick_run(lab, ADDRESS, "other", "Compare with run", "This run or another run.")
        first_key = first.key if first else ""
        second = (
            pick_model(lab, other, ADDRESS, "second", "Second model", first_key) if other else None
        )
    if first is None or second is None or first.key == second.key:
        st.caption("Choose two different models.")
        return
    stage = mask_overlap_stage(first.key, second.key)
    if run_stage(lab, [stage], "Compute overlap", busy="Computing overlap", at_once=True):
        overlap = read_result(lab.store, stage.key, MaskOverlapResult)
        layer_table.draw_overlap(layers.jaccard(overlap.rows))


def main() -> None:
    lab = open_page("Layers")
    st.title("Layers")
    if ADDRESS.open():
        layer_table.start_table(ADDRESS["layers"])
    place = st.container()
    job = pick_run(lab, ADDRESS)
    if job is None:
        st.info("No baseline has finished yet. Start a run on Home or Tune.")
        link("Home", "Choose a preset")
        return
    try:
        draw_sensitivity(lab, job, from_json(job.spec))
    except SpecError as error:
        # The models below were measured earlier and can still be shown.
        st.warning(inline(for_page(error)))
    draw_model(lab, job)
    draw_overlap(lab, job)
    ADDRESS.write()
    with place:
        draw_link_problems()


main()
