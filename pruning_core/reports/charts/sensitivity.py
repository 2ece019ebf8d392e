"""The sensitivity heat map: accuracy drop of each layer or dependency group pruned alone."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from pruning_core.common.formatting import format_percent, format_points
from pruning_core.reports.charts.style import TRANSPARENT, compact_layout
from pruning_core.results.labels import short
from pruning_core.results.sensitivity import measured_sparsities

ROW_HEIGHT, FRAME_HEIGHT = 15, 96
# From dark to light in equal steps, also for color-blind people (Nunez et al. 2018,
# https://doi.org/10.1371/journal.pone.0199239).
COLOR_SCALE = "Cividis"


def sensitivity_heatmap(frame: pd.DataFrame) -> go.Figure:
    """Accuracy drop in percentage points, layer by sparsity; blank where nothing was measured.

    `frame` is that of `results.sensitivity.sensitivity_frame`.
    """
    sparsities = [sparsity for sparsity in measured_sparsities(frame) if sparsity > 0]
    layers = list(dict.fromkeys(frame["layer"]))
    drops = frame.pivot_table("accuracy_drop", "layer", "sparsity").reindex(
        layers, columns=sparsities
    )
    texts = [[_hover(frame, layer, sparsity) for sparsity in sparsities] for layer in layers]
    figure = go.Figure(
        go.Heatmap(
            z=100 * drops.to_numpy(),
            x=[format_percent(sparsity) for sparsity in sparsities],
            y=[short(layer) for layer in layers],
            text=texts,
            hovertemplate="%{text}<extra></extra>",
            colorscale=COLOR_SCALE,
            zmin=0,  # a gain is noise; Plotly ignores zmin without zmax
            zmax=max(1.0, 100 * float(drops.max().max())),
            hoverongaps=False,
            xgap=1,
            ygap=1,
            colorbar={"title": {"text": "Accuracy<br>drop<br>(points)"}, "thickness": 12},
        )
    )
    compact_layout(figure, FRAME_HEIGHT + ROW_HEIGHT * len(layers))
    figure.update_xaxes(title="Sparsity of this layer only", type="category", side="top")
    figure.update_yaxes(autorange="reversed", type="category", gridcolor=TRANSPARENT)
    return figure


def _hover(frame: pd.DataFrame, layer: str, sparsity: float) -> str:
    rows = frame[(frame["layer"] == layer) & (frame["sparsity"] == sparsity)]
    if rows.empty:
        return ""
    row = rows.iloc[0]
    low, high = format_percent(row["accuracy_low"]), format_percent(row["accuracy_high"])
    return (
        f"{layer}<br>sparsity {format_percent(sparsity)} of {row['size']:,} {row['size_unit']}<br>"
        f"accuracy {format_percent(row['accuracy'])} (95 % CI {low} to {high}), "
        f"{row['validation_images']:,} validation images<br>"
        f"accuracy drop {format_points(row['accuracy_drop'])}"
    )
