"""The table of training-free corrections, one row per pruned model and method."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from pages.components.guide_link import header_with_guide
from pages.components.table import column_help
from pruning_core.results.correction import correction_table


def draw_corrections(frame: pd.DataFrame) -> None:
    """The section; nothing if no run of the frame has training-free correction."""
    table = correction_table(frame)
    if table.empty:
        return
    header_with_guide("Training-free correction", "recovery", "training-free-correction")
    st.caption(
        "Accuracy after pruning without any fine-tuning. The time of a method includes the methods "
        "before it."
    )
    st.dataframe(
        table,
        hide_index=True,
        column_config=column_help(table),
        height="content",
        key="correction",
    )
