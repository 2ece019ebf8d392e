"""Tables of layers: shares by hand, what is left of each layer, what two models share."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import streamlit as st

from pages.components.facts import inline
from pages.components.shell import PAGES, Lab
from pruning_core.common.errors import SpecError
from pruning_core.common.formatting import format_percent
from pruning_core.methods.granularity import unit_noun, units
from pruning_core.methods.layers import prunable
from pruning_core.planning.inspections import known_layers
from pruning_core.planning.plan import plan
from pruning_core.results.sensitivity import allocate, sparsity_texts
from pruning_core.settings.messages import for_page
from pruning_core.settings.serialization import to_dict
from pruning_core.settings.spec import Spec, describe
from pruning_core.settings.strategies import OneShotSpec
from pruning_core.worker.start import ensure_worker

SHARES = "shares by hand"


def draw_portraits(frame: pd.DataFrame) -> None:
    """Every layer of a model with what is left of it."""
    shown = frame.assign(sparsity=100 * frame["sparsity"])
    columns = {
        "sparsity": st.column_config.NumberColumn(format="%.2f %%", help="Share that is zero."),
        "weights": st.column_config.NumberColumn(format="localized"),
        "zero channels": st.column_config.NumberColumn(
            help="Output channels of which every weight is zero."
        ),
    }
    with st.expander("Table"):
        st.dataframe(shown, hide_index=True, column_config=columns)


def draw_overlap(frame: pd.DataFrame) -> None:
    """The Jaccard index of what two models keep, in all and layer by layer."""
    if frame.empty:
        st.caption("These models have no layer of the same name and shape.")
        return
    whole = frame["both"].sum() / max(frame["either"].sum(), 1)
    st.metric(
        "Overlap (Jaccard)",
        format_percent(whole),
        help="Weights that both keep, as a share of those that at least one keeps.",
    )
    shown = frame.assign(overlap=100 * frame["overlap"])[["layer", "weights", "overlap"]]
    with st.expander("Layer by layer"):
        st.dataframe(
            shown,
            hide_index=True,
            column_config={"overlap": st.column_config.NumberColumn(format="%.1f %%")},
        )


def draw_by_hand(lab: Lab, job: str, spec: Spec, found: pd.DataFrame) -> None:
    """A share for each layer of a job's model: proposed from its whole scan, edited, and run."""
    st.header("A share for each layer")
    layers = prunable(known_layers(spec, lab.store), spec.pruning.layers, spec.pruning.exclude)
    pruning = to_dict(spec.pruning)
    sizes = {layer.name: units(layer.shape, pruning) for layer in layers}
    if not sizes:
        st.caption("The worker has not looked at this model yet.")
        return
    propose(job, found)
    kept = st.session_state.get(f"{SHARES} {job}", {})
    edited = st.data_editor(
        pd.DataFrame(
            {
                "layer": list(sizes),
                unit_noun(pruning): list(sizes.values()),
                "removed": [100 * kept.get(name, 0.0) for name in sizes],
            }
        ),
        hide_index=True,
        disabled=["layer", unit_noun(pruning)],
        key=f"{SHARES} {job} {st.session_state.get('proposals', 0)}",
        column_config={
            "removed": st.column_config.NumberColumn(
                min_value=0.0,
                max_value=99.9,
                format="%g %%",
                help="Share of this layer, 0 to 99.9 %.",
            )
        },
    )
    shares = dict(zip(edited["layer"], edited["removed"].fillna(0.0) / 100, strict=True))
    draw_run(lab, spec, shares, sizes)


def propose(job: str, found: pd.DataFrame) -> None:
    """The total asked, and the button that spreads it so that each layer loses equally much."""
    total = st.slider(
        "Total to propose",
        1.0,
        99.0,
        80.0,
        0.5,
        format="%.1f %%",
        key="total by hand",
        help="Of the weights (kernels, filters) of all scanned layers together.",
    )
    if found.empty:
        st.caption("Type shares below. After a scan they can be proposed here.")
    if not st.button(
        "Propose from the scan",
        disabled=found.empty,
        help="Shares with which every layer alone would lose the same accuracy.",
    ):
        return
    try:
        st.session_state[f"{SHARES} {job}"] = allocate(found, total / 100)
        st.session_state["proposals"] = st.session_state.get("proposals", 0) + 1
    except SpecError as error:
        st.error(inline(for_page(error)))


def draw_run(lab: Lab, spec: Spec, shares: dict[str, float], sizes: dict[str, int]) -> None:
    """What the table adds up to, and the button that runs it."""
    total = sum(shares[name] * size for name, size in sizes.items()) / sum(sizes.values())
    st.caption(
        f"In all {format_percent(total)} of these {unit_noun(to_dict(spec.pruning))} would go: in one cut "
        "with the run's criterion and one-shot epochs, beside a dense control. No chain, no "
        "ladder, no scan and no cut of channels runs with it."
    )
    if st.button("Run these shares", type="primary", disabled=round(total, 6) == 0):
        try:
            made = layer_sparsities(spec, shares, total)
            plan(made, lab.store)
        except SpecError as error:
            st.error(inline(for_page(error)))
            return
        job = lab.queue.submit(made, made.label)
        ensure_worker(lab.cache)
        st.switch_page(PAGES["Runs"], query_params={"job": job})


def layer_sparsities(spec: Spec, shares: dict[str, float], total: float) -> Spec:
    """One cut to the shares of a table, and the dense control beside it."""
    table = sparsity_texts({name: share for name, share in shares.items() if share})
    return replace(
        spec,
        pruning=replace(spec.pruning, allocation="custom", layer_sparsities=table),
        one_shot=OneShotSpec((0.0, round(total, 6)), spec.one_shot.epochs),
        iterative=replace(spec.iterative, enabled=False),
        correction=replace(spec.correction, enabled=False),
        structured=replace(spec.structured, enabled=False),
        sensitivity=replace(spec.sensitivity, enabled=False),
        label=f"{describe(spec)}, shares by hand",
    )
