"""The table of points, in words and units."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from pruning_core.points import STRATEGY_NAMES
from pruning_core.text import format_bytes, format_percent, format_points, format_seconds

HELP = {
    "Asked": "The sparsity that was asked for.",
    "Of prunable": "Zeros among the weights that this run may prune.",
    "Of weights": "Zeros among all convolution and linear weights.",
    "Of model": "Zeros among all parameters, biases and batch norm included.",
    "Accuracy": "Share of test images that are right.",
    "95 % interval": "Wilson interval: sampling of the test images only, not of training.",
    "Drop": "Baseline's accuracy minus this one, in points.",
    "Dense file": "Bytes of a safetensors file with every weight.",
    "Sparse file": "Bytes of a file with a bit mask and the remaining weights, compressed.",
    "Ratio": "Dense file by sparse file.",
    "Epochs": "Fine-tuning since the baseline; the baseline's own in its row.",
}


def draw(frame: pd.DataFrame) -> None:
    """One row a point; every column says what it counts."""
    columns = {
        name: st.column_config.Column(help=text, pinned=name == "Strategy")
        for name, text in HELP.items()
    }
    st.dataframe(readable(frame), hide_index=True, column_config=columns, key="table")


def readable(frame: pd.DataFrame) -> pd.DataFrame:
    """The same points as texts for people."""
    rows = [_readable(row) for row in frame.to_dict("records")]
    shown = pd.DataFrame(rows)
    return shown if frame["run"].nunique() > 1 else shown.drop(columns="Run")


def _readable(row: dict) -> dict[str, str | int]:
    return {
        "Run": row["run"],
        "Strategy": STRATEGY_NAMES[row["strategy"]],
        "Seed": row["seed"],
        "Step": row["iteration"],
        "Asked": format_percent(row["sparsity_asked"]),
        "Of prunable": format_percent(row["sparsity_prunable"], 2),
        "Of weights": format_percent(row["sparsity_weights"], 2),
        "Of model": format_percent(row["sparsity_model"], 2),
        "Accuracy": format_percent(row["accuracy"]),
        "95 % interval": f"{format_percent(row['accuracy_low'])} to "
        f"{format_percent(row['accuracy_high'])}",
        "Drop": format_points(row["accuracy_drop"]),
        "Dense file": format_bytes(row["dense_bytes"]),
        "Sparse file": format_bytes(row["sparse_bytes"]),
        "Ratio": f"{row['compression_ratio']:.2f}",
        "Epochs": row["epochs"],
        "Time": format_seconds(row["seconds"]),
    }
