"""The table of points, each column with what it counts."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from pruning_core.results.glossary import definitions, glossary_rows
from pruning_core.results.tables import results_table


def draw(frame: pd.DataFrame) -> None:
    """One row a point."""
    shown, texts = results_table(frame), definitions()
    columns = {
        name: st.column_config.Column(help=texts[name], pinned=name == "Strategy") for name in shown
    }
    st.dataframe(shown, hide_index=True, column_config=columns, height="content", key="table")


def draw_definitions() -> None:
    """What each number is, folded away."""
    with st.expander("What each number is"):
        for row in glossary_rows():
            st.markdown(f"**{row['Term']}.** {row['Definition']}")
