"""The table of points, each column with what it counts."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from pruning_core.results.glossary import DEFINITIONS
from pruning_core.results.tables import readable

TERMS = {
    "Asked": "Sparsity asked",
    "Of prunable": "Sparsity of the prunable weights",
    "Of weights": "Sparsity of all layer weights",
    "Of model": "Sparsity of the model",
    "Accuracy": "Accuracy",
    "95 % interval": "95 % interval",
    "Drop": "Accuracy drop",
    "Dense file": "Dense file",
    "Sparse file": "Sparse file",
    "Ratio": "Compression ratio",
    "Not zero": "Parameters not zero",
    "Epochs": "Epochs and seconds",
    "Time": "Epochs and seconds",
}
SPREAD = (
    "The mean of the accuracies of all seeds of this point, and their standard deviation in points."
)


def draw(frame: pd.DataFrame) -> None:
    """One row a point."""
    texts = dict(DEFINITIONS)
    columns = {name: st.column_config.Column(help=texts[term]) for name, term in TERMS.items()}
    columns["Mean ± sd"] = st.column_config.Column(help=SPREAD)
    columns["Strategy"] = st.column_config.Column(pinned=True)
    shown = readable(frame)
    st.dataframe(shown, hide_index=True, column_config=columns, height="content", key="table")


def draw_definitions() -> None:
    """What each number is, folded away."""
    with st.expander("What each number is"):
        for term, text in DEFINITIONS:
            st.markdown(f"**{term}.** {text}")
