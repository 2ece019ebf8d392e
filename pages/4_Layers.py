"""Layers: sensitivity analysis, custom per-layer sparsity, and the layers of finished models."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pandas as pd
import streamlit as st

from pages.components import allocation, layer_table, live
from pages.components.address import Address, Parameter, choice, number
from pages.components.chart import draw_chart
from pages.components.facts import files_listed
from pages.components.guide_link import header_with_guide
from pages.components.lab import Lab
from pages.components.markdown import inline
from pages.components.run_picker import pick_model, pick_run
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
from pruning_core.planning.stage import Outline, PlannedModel, Stage, read_result
from pruning_core.planning.stage_kinds import STAGE_KINDS
from pruning_core.planning.stage_types import restored
from pruning_core.reports.charts.layers import layer_sparsity_chart, magnitude_histogram
from pruning_core.reports.charts.sensitivity import sensitivity_heatmap
from pruning_core.results import layers
from pruning_core.results.csv_text import csv_text
from pruning_core.results.labels import short
from pruning_core.results.layers import (
    layer_statistics,
    layers_frame,
    sparsities_text,
    threshold_text,
)
from pruning_core.results.sensitivity import (
    drop_text,
    heatmap_text,
    images_text,
    read_sensitivity,
    uncorrected_text,
)
from pruning_core.settings.conditions import GROUP
from pruning_core.settings.messages import for_page, title
from pruning_core.settings.pruning_steps import last_target
from pruning_core.settings.spec import Spec, from_json
from pruning_core.storage.job_record import Job

SENSITIVITY = "sensitivity"  # the kind of the stages of an analysis
MOST_PERCENT = 99.9
TARGET = 0.5  # the threshold of a dense layer where the run has no target sparsity
Statistics = list[dict[str, Any]]  # of each layer, see `layer_statistics`
ADDRESS = Address(
    "Layers",
    Parameter("run"),
    Parameter("unit"),
    *allocation.PARAMETERS,
    choice("corrected", [False, True]),
    layer_table.LAYERS,
    Parameter("model"),
    Parameter("layer"),
    replace(number("sparsity", 0.0, 0.0, MOST_PERCENT), default=None),
    Parameter("first"),
    Parameter("other"),
    Parameter("second"),
)
# The parameters that apply to the statistics of a model, and to the analysis of a baseline.
OF_STATISTICS = ("layer", "sparsity")
OF_ANALYSIS = ("unit", "overall", "layers")


def choose_layer(name: str) -> None:
    """A callback: the whole page shows another layer."""
    ADDRESS["layer"] = name
    forget_threshold()


def forget_threshold() -> None:
    """A callback: the threshold of the histogram starts again at what fits the model and layer."""
    ADDRESS["sparsity"] = None


def pick_unit(spec: Spec) -> str:
    """The unit that the analysis prunes; the default is that of the run's settings."""
    titles = {name: unit.title for name, unit in SENSITIVITY_UNITS.items()}
    units = list(titles)
    unit = ADDRESS.limit("unit", titles, spec.sensitivity.unit, "unit")
    return st.radio(
        title("sensitivity.unit"),
        units,
        index=units.index(unit),
        format_func=titles.__getitem__,
        captions=[unit.help for unit in SENSITIVITY_UNITS.values()],
        horizontal=True,
        key=ADDRESS.key("unit"),
        help="Layers that share channels (through a residual sum, a depthwise convolution or "
        "batch norm) form a dependency group. They lose the same channels.",
    )


def pick_correction(spec: Spec) -> int:
    """The images with which least squares corrects each layer; 0 where it does not."""
    if spec.sensitivity.correction_images:
        return spec.sensitivity.correction_images
    chosen = st.toggle(
        "Also after least squares",
        ADDRESS["corrected"],
        key=ADDRESS.key("corrected"),
        help="Also measures each layer after least squares has corrected its remaining weights. "
        "The heat map and the budget then use the corrected layers.",
    )
    return spec.correction.images if chosen else 0


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
    images = pick_correction(spec) if unit != GROUP else 0
    settings = replace(spec.sensitivity, unit=unit, correction_images=images)
    analysis = sensitivity_only(replace(spec, seeds=spec.seeds[:1], sensitivity=settings))
    planned = plan(analysis, lab.store)
    finished = run_stage(
        lab,
        planned.stages,
        "Run sensitivity analysis",
        busy="Analyzing",
        help="Takes a few minutes. All runs with this baseline share the result.",
        name=stage_title,
        job=analysis,
        primary=True,
    )
    frame = read_sensitivity(analysis, lab.store)
    draw_heat_map(frame, analysis, planned.stages)
    complete = planned.complete and len(finished) == len(planned.stages)
    usable = frame if complete and unit != GROUP else frame.iloc[:0]
    layer_table.draw_custom_sparsity(lab, job.id, spec, usable, ADDRESS)


def stage_title(stage: Stage) -> str:
    """The layer of a sensitivity stage; the kind of another stage."""
    if stage.kind == SENSITIVITY:
        return short(restored(SensitivitySettings, stage.settings).layer)
    return STAGE_KINDS[stage.kind].title


def draw_heat_map(frame: pd.DataFrame, spec: Spec, stages: Iterable[Stage]) -> None:
    """The finished layers of an analysis; nothing before the first.

    All layers of its `stages` have a row from the beginning, so that the page does not move.
    """
    if frame.empty:
        st.caption("The heat map appears with the first finished layer.")
        return
    settings = (restored(SensitivitySettings, s.settings) for s in stages if s.kind == SENSITIVITY)
    figure = sensitivity_heatmap(frame, [one.layer for one in settings], ADDRESS["layer"])
    by_layer = spec.sensitivity.unit != GROUP
    draw_chart(
        figure,
        "sensitivity",
        alt=heatmap_text(frame),
        numbers="sensitivity",
        on_click=choose_layer if by_layer else None,
    )
    st.caption(
        f"Color: {drop_text(frame)} on "
        f"{images_text(frame, spec.sensitivity.images)}. Importance: "
        f"{importance_title(spec)}. Empty cells were not measured, because "
        f"the accuracy was already at chance. {uncorrected_text(frame)}"
    )
    st.download_button(
        "Sensitivity (CSV)",
        lambda: csv_text(frame),
        "sensitivity.csv",
        "text/csv",
        on_click="ignore",
    )


def draw_model(lab: Lab, job: Job, model: PlannedModel, statistics: Statistics) -> None:
    """The sparsity of each layer of a finished model, and a weight magnitude histogram."""
    st.header("Sparsity per layer")
    outline = Outline.from_json(job.outline)
    structured = STRATEGIES[model.strategy].removes_channels
    dense = layer_statistics(lab.store, outline.dense_of(model).key) if structured else []
    frame = layers_frame(statistics, dense)
    chosen = ADDRESS["layer"]
    figure = layer_sparsity_chart(frame, chosen)
    draw_chart(figure, "layers", alt=sparsities_text(frame), on_click=choose_layer)
    st.caption(f"{zero_channels(frame, structured)} Click a bar or a row to choose the layer.")
    layer_table.draw_layers(frame, chosen, choose_layer)
    layer = next(one for one in statistics if one["name"] == chosen)
    draw_histogram(layer, start_sparsity(layer, from_json(job.spec)))


def zero_channels(frame: pd.DataFrame, structured: bool) -> str:
    """How many output channels of a model have no weight left."""
    some = frame[frame["zero channels"] > 0]
    zero, channels = int(some["zero channels"].sum()), int(frame["channels"].sum())
    state = "were removed" if structured else "are all zero"
    where = f" ({format_count(len(some), 'layer')})" if zero else ""
    return f"{zero:,} of {channels:,} output channels{where} {state}."


def start_sparsity(layer: dict[str, Any], spec: Spec) -> float:
    """Where the threshold starts: the sparsity of the layer, of a dense one the run's target."""
    if layer["zeros"]:
        return float(layer["zeros"] / layer["size"])
    amounts = [*spec.one_shot.amounts, *spec.structured.ratios * spec.structured.enabled]
    targets = [last_target(spec.iterative)] if spec.iterative.enabled else amounts
    return max(targets, default=0.0) or TARGET


def draw_histogram(layer: dict[str, Any], start: float) -> None:
    """The weight magnitudes of one layer, with the threshold of a sparsity."""
    st.header("Weight magnitude histogram")
    if ADDRESS["sparsity"] is None:
        ADDRESS["sparsity"] = min(round(100 * start, 1), MOST_PERCENT)
    sparsity = st.slider(
        "Sparsity",
        0.0,
        MOST_PERCENT,
        ADDRESS["sparsity"],
        0.1,
        format="%.1f %%",
        key=ADDRESS.key("sparsity"),
        help="Magnitude pruning to this sparsity removes the weights below the threshold. The "
        "slider starts at the sparsity of the layer, or at the target sparsity of the run if the "
        "layer is dense. The threshold is estimated from the bars.",
    )
    text = threshold_text(layer, sparsity / 100)
    draw_chart(
        magnitude_histogram(layer, sparsity / 100), "weights", alt=text, numbers="weight magnitudes"
    )
    st.caption(inline(text))


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
        layer_table.draw_overlap(layers.jaccard(overlap.rows), ADDRESS["layer"], choose_layer)


def pick_layer(statistics: Statistics) -> None:
    """The layer that all parts of the page show."""
    names = {str(layer["name"]): str(layer["name"]) for layer in statistics}
    ADDRESS.limit("layer", names, next(iter(names)), "layer")
    ADDRESS.select_box(
        "layer",
        "Layer",
        names,
        "The parameter name of a weight tensor. All charts and tables of this page mark it.",
        on_change=forget_threshold,
    )


def main() -> None:
    lab = open_page("Layers")
    st.title("Layers")
    if ADDRESS.open():
        layer_table.start_table(ADDRESS["layers"])
    place = st.container()
    # These lists stand above all that is drawn again: a list closes when the page below it moves.
    run_column, model_column, layer_column = st.columns(3)
    with run_column:
        job = pick_run(lab, ADDRESS, on_change=forget_threshold)
    if job is None:
        others = (name for name in ADDRESS.parameters if name != "run")
        ADDRESS.leave_out("no run has results yet", *others)
        ADDRESS.write()
        draw_link_problems()
        live.draw_no_results(lab)
        return
    with model_column:
        model = pick_model(lab, job, ADDRESS, on_change=forget_threshold)
    statistics = layer_statistics(lab.store, model.key) if model else []
    if model and statistics:
        with layer_column:
            pick_layer(statistics)
        draw_model(lab, job, model, statistics)
    elif model:
        ADDRESS.leave_out("this model has no layer statistics", *OF_STATISTICS)
        st.caption(
            "This model has no layer statistics, because an older version trained it. Run it again."
        )
    else:
        ADDRESS.leave_out("the run has no finished model", *OF_STATISTICS)
        live.draw_no_model(lab, job)
    try:
        draw_sensitivity(lab, job, from_json(job.spec))
    except SpecError as error:
        # The models were measured earlier and can still be shown.
        ADDRESS.reject_given("the sensitivity analysis cannot be shown", *OF_ANALYSIS)
        st.warning(inline(for_page(error)))
    draw_overlap(lab, job)
    ADDRESS.write()
    with place:
        draw_link_problems()


main()
