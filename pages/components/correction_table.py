"""What comes back without training, a row a rung."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from pages.components.table import TERMS
from pruning_core.results.correction import without_training
from pruning_core.results.glossary import DEFINITIONS


def draw(frame: pd.DataFrame) -> None:
    """The table, where a run has a ladder."""
    shown = without_training(frame)
    if shown.empty:
        return
    texts = dict(DEFINITIONS)
    st.header("Without training", help=texts["Without training"])
    columns = {
        name: st.column_config.Column(help=texts[TERMS[name]])
        for name in ("Asked", "Accuracy", "95 % interval")
    }
    st.dataframe(shown, hide_index=True, column_config=columns, height="content", key="correction")
    st.caption("0 epochs on every rung; the four charts show the trained runs only.")
