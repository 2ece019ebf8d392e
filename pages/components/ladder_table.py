"""What comes back without training, a row a rung."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from pruning_core.results.correction import correction_table
from pruning_core.results.glossary import definitions


def draw(frame: pd.DataFrame) -> None:
    """The table, where a run has a ladder."""
    shown = correction_table(frame)
    if shown.empty:
        return
    texts = definitions()
    st.header("Without training", help=texts["Training-free correction"])
    columns = {
        name: st.column_config.Column(help=texts[name])
        for name in ("Target sparsity", "Correction", "Accuracy", "95 % CI", "Time")
    }
    st.dataframe(shown, hide_index=True, column_config=columns, height="content", key="correction")
    st.caption("0 epochs on every rung; the four charts show the trained runs only.")
