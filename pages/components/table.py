"""The table of models with the definition of each column."""

from __future__ import annotations

import pandas as pd
import streamlit as st
from streamlit.elements.lib.column_types import ColumnConfig

from pages.components.guide_link import guide_link
from pruning_core.results.glossary import GLOSSARY
from pruning_core.results.tables import results_table

# Columns whose name differs from their term in the glossary.
TERMS = {
    "Asked": "Sparsity asked",
    "Of prunable": "Sparsity of the prunable weights",
    "Of weights": "Sparsity of all layer weights",
    "Of model": "Sparsity of the model",
    "Drop": "Accuracy drop",
    "Ratio": "Compression ratio",
    "Not zero": "Parameters not zero",
    "Epochs": "Epochs and seconds",
    "Time": "Epochs and seconds",
}
SPREAD = "Mean accuracy over all seeds, and its standard deviation in percentage points."


def draw_table(frame: pd.DataFrame) -> None:
    """One row per model."""
    table = results_table(frame)
    columns = column_help(table)
    columns["Mean ± sd"] = st.column_config.Column(help=SPREAD)
    columns["Strategy"] = st.column_config.Column(pinned=True)
    st.dataframe(table, hide_index=True, column_config=columns, height="content", key="table")


def column_help(table: pd.DataFrame) -> dict[str, ColumnConfig]:
    """The definition of each column of a table that has one."""
    texts = dict(GLOSSARY)
    terms = {name: TERMS.get(name, name) for name in table.columns}
    return {
        name: st.column_config.Column(help=texts[term])
        for name, term in terms.items()
        if term in texts
    }


def draw_definitions() -> None:
    """The glossary, folded."""
    with st.expander("Definitions"):
        for term, text in GLOSSARY:
            st.markdown(f"**{term}.** {text}")
        guide_link("metrics")
