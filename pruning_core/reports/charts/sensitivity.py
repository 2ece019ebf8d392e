"""The sensitivity heat map: accuracy drop of each layer or dependency group pruned alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from pruning_core.common.formatting import format_percent, format_points
from pruning_core.methods.strategies import ITERATIVE
from pruning_core.reports.charts.style import SERIES, TRANSPARENT, compact_layout
from pruning_core.reports.charts.text_alternative import named_axis
from pruning_core.results.labels import short
from pruning_core.results.rows import rows_of
from pruning_core.results.sensitivity import drop_column, measured_sparsities

ROW_HEIGHT, FRAME_HEIGHT = 15, 96
# From dark to light in equal steps, also for color-blind people (Nunez et al. 2018,
# https://doi.org/10.1371/journal.pone.0199239).
COLOR_SCALE = "Cividis"
CHOSEN_COLOR = SERIES[ITERATIVE].color


def sensitivity_heatmap(
    frame: pd.DataFrame, layers: Sequence[str] = (), chosen: str = ""
) -> go.Figure:
    """Accuracy drop in percentage points, layer by sparsity; blank where nothing was measured.

    `frame` is that of `results.sensitivity.sensitivity_frame`. `layers` are the rows of the whole
    analysis, by default those that are finished; the `chosen` one has a frame. The first value of
    `customdata` of a point is the name of its layer.
    """
    sparsities = [sparsity for sparsity in measured_sparsities(frame) if sparsity > 0]
    layers = list(layers or dict.fromkeys(frame["layer"]))
    drops = frame.pivot_table(drop_column(frame), "layer", "sparsity").reindex(
        layers, columns=sparsities
    )
    rows = {(row["layer"], row["sparsity"]): row for row in rows_of(frame)}
    cells = [
        (format_percent(sparsity), layer, _hover(row))
        for layer in layers
        for sparsity in sparsities
        if (row := rows.get((layer, sparsity)))
    ]
    figure = go.Figure(
        go.Heatmap(
            z=100 * drops.to_numpy(),
            x=[format_percent(sparsity) for sparsity in sparsities],
            y=[short(layer) for layer in layers],
            hoverinfo="skip",
            colorscale=COLOR_SCALE,
            zmin=0,  # a gain is noise; Plotly ignores zmin without zmax
            zmax=max(1.0, 100 * float(drops.max().max())),
            hoverongaps=False,
            xgap=1,
            ygap=1,
            colorbar={"title": {"text": "Accuracy<br>drop<br>(points)"}, "thickness": 12},
        )
    )
    figure.add_trace(_points(cells))
    compact_layout(figure, FRAME_HEIGHT + ROW_HEIGHT * len(layers))
    figure.update_layout(hoverdistance=-1)  # the nearest cell, wherever the pointer is in it
    if chosen in layers:
        number = layers.index(chosen)
        figure.add_shape(
            type="rect",
            xref="x domain",
            x0=0,
            x1=1,
            y0=number - 0.5,
            y1=number + 0.5,
            line={"color": CHOSEN_COLOR, "width": 3},
        )
    # The ranges of the cells alone: the points would add a margin.
    figure.update_xaxes(title="Sparsity of this layer only", type="category", side="top")
    figure.update_xaxes(range=(-0.5, len(sparsities) - 0.5))
    figure.update_layout(**named_axis("Layer"))
    figure.update_yaxes(type="category", gridcolor=TRANSPARENT, range=(len(layers) - 0.5, -0.5))
    return figure


def _points(cells: Sequence[tuple[str, str, str]]) -> go.Scatter:
    """An invisible point in each measured cell (sparsity, layer, text), for clicks and hovers.

    A heat map has no points to click.
    """
    return go.Scatter(
        x=[sparsity for sparsity, _, _ in cells],
        y=[short(layer) for _, layer, _ in cells],
        customdata=[[layer] for _, layer, _ in cells],
        text=[text for _, _, text in cells],
        hovertemplate="%{text}<extra></extra>",
        mode="markers",
        marker={"opacity": 0, "size": ROW_HEIGHT},
        selected={"marker": {"opacity": 0}},
        unselected={"marker": {"opacity": 0}},
        showlegend=False,
    )


def _hover(row: Mapping[str, Any]) -> str:
    low, high = format_percent(row["accuracy_low"]), format_percent(row["accuracy_high"])
    return (
        f"{row['layer']}<br>"
        f"sparsity {format_percent(row['sparsity'])} of {row['size']:,} {row['size_unit']}<br>"
        f"accuracy {format_percent(row['accuracy'])} (95 % CI {low} to {high}), "
        f"{row['validation_images']:,} validation images<br>"
        f"accuracy drop {format_points(row['accuracy_drop'])}{_corrected(row)}"
    )


def _corrected(row: Mapping[str, Any]) -> str:
    """The accuracy after least squares, where it was measured."""
    accuracy = row.get("corrected_accuracy", math.nan)
    if math.isnan(accuracy):
        return ""
    drop = format_points(row["corrected_drop"])
    return f"<br>after least squares {format_percent(accuracy)}, drop {drop}"
