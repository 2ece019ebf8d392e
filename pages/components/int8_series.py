"""The int8 files of all compared models, as series on the charts."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from pages.components.lab import Lab
from pages.components.markdown import inline
from pages.components.run_stage import run_stage
from pruning_core.common.formatting import format_count
from pruning_core.results.int8 import int8_stages
from pruning_core.results.rows import rows_of
from pruning_core.results.tables import int8_notes


def draw_button(lab: Lab, frame: pd.DataFrame) -> None:
    """The button that quantizes every model of the frame, or its progress."""
    stages = int8_stages(rows_of(frame))
    missing = sum(not lab.store.exists(stage.key) for stage in stages)
    run_stage(
        lab,
        stages,
        "Quantize all to int8",
        busy="Quantizing to int8",
        help="Writes two int8 files of every model: a sparse (bitmask) file with int8 weights, "
        "and an ONNX file with int8 weights and activations. Measures both on the test images "
        f"and adds them to the charts. {format_count(missing, 'file')} to write.",
    )


def draw_notes(frame: pd.DataFrame) -> None:
    """The notes on int8 files, folded: they concern no other model."""
    if notes := int8_notes(frame):
        with st.expander("Notes on the int8 files"):
            for note in notes:
                st.caption(inline(note))
