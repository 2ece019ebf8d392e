"""Tables of layers: custom sparsity, sparsity of a model, overlap of two masks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pandas as pd
import streamlit as st

from pages.components.address import Address, Parameter
from pages.components.allocation import draw_allocation
from pages.components.guide_link import header_with_guide
from pages.components.lab import Lab
from pages.components.links import switch_page
from pages.components.markdown import inline
from pages.components.number_lists import quoted
from pruning_core.common.errors import SpecError
from pruning_core.common.formatting import format_count, format_percent, trimmed
from pruning_core.common.names import within_name
from pruning_core.methods.granularity import unit_noun, units
from pruning_core.methods.layers import prunable
from pruning_core.planning.inspections import known_layers
from pruning_core.planning.plan import plan
from pruning_core.results.sensitivity import sparsity_texts
from pruning_core.settings.messages import for_page
from pruning_core.settings.serialization import to_dict
from pruning_core.settings.spec import Spec, describe
from pruning_core.settings.strategies import OneShotSpec

# Keys of the session: the sparsities with which the table began, its number, and its run.
TABLE, TABLES, TABLE_RUN = "layer sparsities", "layer tables", "run of the layer table"
PERCENT, CHOSEN = "Sparsity", "Chosen"
TABLE_HEIGHT = 290  # pixels
Chooser = Callable[[str], None]  # what a click on a layer does


def read_table(text: str) -> dict[str, float]:
    """The sparsity of each layer, as fractions, from an address. Raises `ValueError`."""
    entries = [entry.rpartition("=") for entry in text.split(",")]
    try:
        table = {name: float(share) for name, _, share in entries}
    except ValueError:
        table = {"": 1.0}
    if not all(name and 0 <= share < 1 for name, share in table.items()):
        raise ValueError("use layer=share, separated by commas; a share is from 0 to below 1")
    return table


LAYERS = Parameter("layers", {}, read_table, lambda table: ",".join(sparsity_texts(table)))


def start_table(sparsities: Mapping[str, float]) -> None:
    """Begin a new table, so that edits of the last one do not change it."""
    st.session_state.pop(TABLE_RUN, None)
    st.session_state[TABLE] = dict(sparsities)
    st.session_state[TABLES] = st.session_state.get(TABLES, 0) + 1


def draw_layers(frame: pd.DataFrame, chosen: str, on_choose: Chooser) -> None:
    """Every layer of a model with its sparsity; `frame` is a `results.layers.layers_frame`."""
    shown = frame.assign(sparsity=100 * frame["sparsity"]).rename(columns=str.capitalize)
    columns: dict[str, Any] = {
        "Sparsity": st.column_config.NumberColumn(format="%.2f %%", help="Share of zeros."),
        "Weights": st.column_config.NumberColumn(format="localized"),
        "Zero channels": st.column_config.NumberColumn(
            help="Output channels whose weights are all zero."
        ),
    }
    _draw_selectable(shown, "layers table", chosen, on_choose, columns)


def _draw_selectable(
    shown: pd.DataFrame, key: str, chosen: str, on_choose: Chooser, columns: dict[str, Any]
) -> None:
    """A table with a row for each layer; the row of the chosen layer is selected."""
    names = shown["Layer"].tolist()
    rows = [names.index(chosen)] if chosen in names else []
    if _selected_rows(key) != rows:
        st.session_state[key] = {"selection": {"rows": rows, "columns": [], "cells": []}}

    def choose() -> None:
        if selected := _selected_rows(key):
            on_choose(names[selected[0]])

    st.dataframe(
        shown,
        hide_index=True,
        column_config=columns,
        height=TABLE_HEIGHT,
        key=key,
        on_select=choose,
        selection_mode="single-row",
    )


def _selected_rows(key: str) -> list[int]:
    state = st.session_state.get(key)
    return list(state["selection"]["rows"]) if state else []


def draw_overlap(frame: pd.DataFrame, chosen: str, on_choose: Chooser) -> None:
    """The Jaccard index of two masks, overall and per layer; `frame` is a `layers.jaccard`."""
    if frame.empty:
        st.caption("These models have no layer with the same name and shape.")
        return
    overall = frame["both"].sum() / max(frame["either"].sum(), 1)
    st.metric(
        "Overlap (Jaccard)",
        format_percent(overall),
        help="Weights that both models keep, divided by the weights that at least one keeps.",
    )
    shown = frame.assign(overlap=100 * frame["overlap"])[["layer", "weights", "overlap"]]
    shown = shown.rename(columns=str.capitalize)
    columns = {"Overlap": st.column_config.NumberColumn(format="%.1f %%")}
    _draw_selectable(shown, "overlap table", chosen, on_choose, columns)


def draw_custom_sparsity(
    lab: Lab, job: str, spec: Spec, analysis: pd.DataFrame, address: Address
) -> None:
    """A sparsity for each layer of a job's model: suggested, edited, and run.

    `analysis` is the whole sensitivity analysis, empty if it is not finished.
    """
    header_with_guide("Custom per-layer sparsity", "sensitivity", "allocate-from-sensitivity")
    layers = prunable(known_layers(spec, lab.store), spec.pruning.layers, spec.pruning.exclude)
    pruning = to_dict(spec.pruning)
    sizes = {layer.name: units(layer.shape, pruning, layer.groups) for layer in layers}
    if not sizes:
        address.reject_given("the layers of the model are not known", "overall", "layers")
        st.caption("The layers of this model are not known yet. Inspect the model on Tune.")
        return
    for name in address["layers"] if address.given("layers") else ():
        if name not in sizes:
            layers_text = f"The model has {format_count(len(sizes), 'prunable layer')}."
            address.reject(f"There is no prunable layer {quoted(name)}. {layers_text}")
    if suggested := draw_allocation(lab, spec, analysis, address):
        start_table(suggested)
    sparsities = edit_table(job, sizes, unit_noun(pruning), address["layer"])
    address["layers"] = {name: round(share, 6) for name, share in sparsities.items() if share}
    draw_run(lab, spec, sparsities, sizes)


def edit_table(job: str, sizes: Mapping[str, int], noun: str, chosen: str) -> dict[str, float]:
    """The table in which sparsities are edited. Returns a share from 0 to 1 for each layer.

    `sizes` is the number of pruning units of each layer, `noun` their plural. The row of the
    `chosen` layer has a mark.
    """
    if st.session_state.get(TABLE_RUN, job) != job:
        start_table({})  # the sparsities are those of another model
    st.session_state[TABLE_RUN] = job
    sparsities = st.session_state[TABLE]
    edited = st.data_editor(
        pd.DataFrame(
            {
                CHOSEN: ["●" if name == chosen else "" for name in sizes],
                "Layer": list(sizes),
                noun.capitalize(): list(sizes.values()),
                PERCENT: [100 * sparsities.get(name, 0.0) for name in sizes],
            }
        ),
        hide_index=True,
        disabled=[CHOSEN, "Layer", noun.capitalize()],
        key=f"layers of {job}, table {st.session_state[TABLES]}",
        column_config={
            CHOSEN: st.column_config.TextColumn(width=60, help="The layer chosen on this page."),
            PERCENT: st.column_config.NumberColumn(
                min_value=0.0,
                max_value=99.9,
                format="%.2f %%",
                help="Target sparsity of this layer, 0 to 99.9 %.",
            ),
        },
    )
    return dict(zip(edited["Layer"], edited[PERCENT].fillna(0.0) / 100, strict=True))


def draw_run(
    lab: Lab, spec: Spec, sparsities: Mapping[str, float], sizes: Mapping[str, int]
) -> None:
    """The overall sparsity of the table, and the button that runs it."""
    overall = sum(sparsities[name] * size for name, size in sizes.items()) / sum(sizes.values())
    st.caption(
        f"Overall sparsity {trimmed(100 * overall, 2)} %. Runs one-shot only, plus the fine-tuned "
        "dense control."
    )
    if st.button("Run with these sparsities", type="primary", disabled=round(overall, 6) == 0):
        try:
            custom = custom_spec(spec, sparsities, overall)
            plan(custom, lab.store)
        except SpecError as error:
            st.error(inline(for_page(error)))
            return
        job = lab.queue.submit(custom, custom.label)
        switch_page("Runs", {"job": job})


def custom_spec(spec: Spec, sparsities: Mapping[str, float], overall: float) -> Spec:
    """One-shot pruning with a sparsity for each layer, and the fine-tuned dense control."""
    table = sparsity_texts({name: share for name, share in sparsities.items() if share})
    return replace(
        spec,
        pruning=replace(spec.pruning, allocation="custom", layer_sparsities=table),
        one_shot=OneShotSpec((0.0, round(overall, 6)), spec.one_shot.epochs),
        iterative=replace(spec.iterative, enabled=False),
        correction=replace(spec.correction, enabled=False),
        structured=replace(spec.structured, enabled=False),
        sensitivity=replace(spec.sensitivity, enabled=False),
        label=within_name("", describe(spec), ", custom per-layer sparsity"),
    )
