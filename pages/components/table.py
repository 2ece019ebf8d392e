"""The table of models with the definition of each column."""

from __future__ import annotations

from collections.abc import Hashable

import pandas as pd
import streamlit as st
from streamlit.elements.lib.column_types import ColumnConfig

from pages.components.chart import cached
from pages.components.guide_link import guide_link
from pruning_core.results.glossary import definitions, glossary_rows
from pruning_core.results.tables import results_table


def draw_table(frame: pd.DataFrame, reference: str, identity: Hashable) -> None:
    """One row per model, with its differences from the reference.

    `identity` tells the models of the frame from others.
    """
    key = identity, reference
    table = cached("table", key, lambda: results_table(frame, reference))
    columns = column_help(table)
    columns["Strategy"] = st.column_config.Column(pinned=True)
    st.dataframe(table, hide_index=True, column_config=columns, height="content", key="table")


def column_help(table: pd.DataFrame) -> dict[str, ColumnConfig]:
    """The definition of each column of a table that has one."""
    texts = definitions()
    return {
        name: st.column_config.Column(help=texts[name]) for name in table.columns if name in texts
    }


def draw_definitions() -> None:
    """The glossary, folded."""
    with st.expander("Definitions"):
        for row in glossary_rows():
            st.markdown(f"**{row['Term']}.** {row['Definition']}")
        guide_link("metrics")
