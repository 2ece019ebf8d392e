"""Charts of a model's layers: the sensitivity scan, weights by size, sparsity layer by layer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from pruning_core.common.formatting import format_percent
from pruning_core.reports.charts.style import FONT, GREY, GRID, SERIES, TRANSPARENT
from pruning_core.results.labels import short
from pruning_core.results.layers import threshold
from pruning_core.results.sensitivity import steps_of

ROW_HEIGHT, FRAME_HEIGHT, CHART_HEIGHT = 15, 96, 300
# Dark to light at equal steps, and told apart by color-blind people (Nunez et al. 2018).
SCALE = "Cividis"
KEPT_COLOR, PRUNED_COLOR = SERIES["one_shot"].color, SERIES["iterative"].color


def sensitivity_heatmap(found: pd.DataFrame) -> go.Figure:
    """Points of validation accuracy lost, layer by sparsity; empty where nothing was measured."""
    steps = [step for step in steps_of(found) if step > 0]
    layers = list(dict.fromkeys(found["layer"]))
    drops = found.pivot_table("drop", "layer", "sparsity").reindex(layers, columns=steps)
    texts = [[_told(found, layer, step) for step in steps] for layer in layers]
    drawn = go.Figure(
        go.Heatmap(
            z=100 * drops.to_numpy(),
            x=[format_percent(step) for step in steps],
            y=[short(layer) for layer in layers],
            text=texts,
            hovertemplate="%{text}<extra></extra>",
            colorscale=SCALE,
            zmin=0,  # gains are noise; Plotly reads it beside zmax only
            zmax=max(1.0, 100 * float(drops.max().max())),
            hoverongaps=False,
            xgap=1,
            ygap=1,
            colorbar={"title": {"text": "points lost"}, "thickness": 12},
        )
    )
    _dress(drawn, FRAME_HEIGHT + ROW_HEIGHT * len(layers))
    drawn.update_xaxes(title="share removed, of this one alone", type="category", side="top")
    drawn.update_yaxes(autorange="reversed", type="category", gridcolor=TRANSPARENT)
    return drawn


def _told(found: pd.DataFrame, layer: str, step: float) -> str:
    rows = found[(found["layer"] == layer) & (found["sparsity"] == step)]
    if rows.empty:
        return ""
    row = rows.iloc[0]
    return (
        f"{layer}<br>{format_percent(step)} of {row['size']:,} {row['of']} gone<br>"
        f"accuracy {format_percent(row['accuracy'])} "
        f"(95 %: {format_percent(row['low'])} to {format_percent(row['high'])})<br>"
        f"{100 * row['drop']:.1f} points lost, on {row['images']:,} validation images"
    )


def magnitude_histogram(portrait: dict[str, Any], sparsity: float) -> go.Figure:
    """How many weights there are of each size, and which of them a sparsity removes."""
    counts = np.array(portrait["counts"])
    edges = np.linspace(0.0, portrait["largest"], len(counts) + 1)
    limit, middles = threshold(portrait, sparsity), (edges[1:] + edges[:-1]) / 2
    drawn = go.Figure(
        go.Bar(
            x=middles,
            y=counts,
            width=edges[1] - edges[0],
            marker={
                "color": [PRUNED_COLOR if middle < limit else KEPT_COLOR for middle in middles]
            },
            hovertemplate="about %{x:.3g}: %{y:,} weights<extra></extra>",
        )
    )
    drawn.add_vline(x=limit, line={"color": GREY, "dash": "dash"})
    drawn.add_annotation(
        x=limit, y=1, yref="paper", text=f"threshold {limit:.3g}", showarrow=False, yanchor="bottom"
    )
    _dress(drawn, CHART_HEIGHT)
    drawn.update_xaxes(title="size of a weight (its absolute value)")
    drawn.update_yaxes(title="weights")
    return drawn


def layer_sparsity_chart(frame: pd.DataFrame) -> go.Figure:
    """The share of each layer that is zero, in the order of the layers."""
    drawn = go.Figure(
        go.Bar(
            x=[short(name) for name in frame["layer"]],
            y=100 * frame["sparsity"],
            marker={"color": KEPT_COLOR},
            customdata=frame[["layer", "weights", "dead channels"]].to_numpy(),
            hovertemplate="%{customdata[0]}<br>%{y:.1f} % of %{customdata[1]:,} weights are zero"
            "<br>%{customdata[2]} dead channels<extra></extra>",
        )
    )
    _dress(drawn, CHART_HEIGHT)
    drawn.update_xaxes(type="category", showticklabels=len(frame) <= 24, title="layers, in order")
    drawn.update_yaxes(title="", ticksuffix=" %", range=(0, 100))
    return drawn


def _dress(drawn: go.Figure, height: int) -> None:
    drawn.update_layout(
        height=height,
        margin={"l": 8, "r": 16, "t": 28, "b": 40},
        font={"family": FONT},
        plot_bgcolor=TRANSPARENT,
        showlegend=False,
        bargap=0.05,
    )
    drawn.update_xaxes(gridcolor=GRID, zeroline=False, automargin=True)
    drawn.update_yaxes(gridcolor=GRID, zeroline=False, automargin=True)
