"""The weights of a model's layers: magnitude histogram of one layer, sparsity of all layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from pruning_core.methods.strategies import ITERATIVE, ONE_SHOT
from pruning_core.reports.charts.style import GREY, SERIES, compact_layout
from pruning_core.results.labels import short
from pruning_core.results.layers import threshold

CHART_HEIGHT = 300
MAX_NAMED_LAYERS = 24
KEPT_COLOR, PRUNED_COLOR = SERIES[ONE_SHOT].color, SERIES[ITERATIVE].color
FAINT_COLOR = "rgba(0, 114, 178, 0.4)"  # of layers beside the chosen one


def magnitude_histogram(layer: dict[str, Any], sparsity: float) -> go.Figure:
    """Number of weights by magnitude; the color shows which weights `sparsity` prunes.

    `layer` is one of `results.layers.layer_statistics`; `sparsity` is a fraction from 0 to 1.
    """
    counts = np.array(layer["counts"])
    edges = np.linspace(0.0, layer["largest"], len(counts) + 1)
    limit, centers = threshold(layer, sparsity), (edges[1:] + edges[:-1]) / 2
    colors = [PRUNED_COLOR if center < limit else KEPT_COLOR for center in centers]
    figure = go.Figure(
        go.Bar(
            x=centers,
            y=counts,
            width=edges[1] - edges[0],
            marker={"color": colors},
            hovertemplate="|w| about %{x:.3g}: %{y:,} weights<extra></extra>",
        )
    )
    figure.add_vline(x=limit, line={"color": GREY, "dash": "dash"})
    figure.add_annotation(
        x=limit, y=1, yref="paper", text=f"threshold {limit:.3g}", showarrow=False, yanchor="bottom"
    )
    compact_layout(figure, CHART_HEIGHT)
    figure.update_xaxes(title="Weight magnitude |w|")
    figure.update_yaxes(title="Number of weights")
    return figure


def layer_sparsity_chart(frame: pd.DataFrame, chosen: str = "") -> go.Figure:
    """The sparsity of each layer in network order; the `chosen` layer stands out.

    `frame` is that of `results.layers.layers_frame`. The first value of `customdata` of a bar is
    the name of its layer.
    """
    colors = [KEPT_COLOR if not chosen or n == chosen else FAINT_COLOR for n in frame["layer"]]
    figure = go.Figure(
        go.Bar(
            x=[short(name) for name in frame["layer"]],
            y=100 * frame["sparsity"],
            marker={"color": colors},
            selected={"marker": {"opacity": 1}},
            unselected={"marker": {"opacity": 1}},  # a click must not hide the other layers
            customdata=frame[["layer", "weights", "zero channels"]].to_numpy(),
            hovertemplate="%{customdata[0]}<br>sparsity %{y:.1f} % of %{customdata[1]:,} weights"
            "<br>zero channels: %{customdata[2]:,}<extra></extra>",
        )
    )
    compact_layout(figure, CHART_HEIGHT)
    named = len(frame) <= MAX_NAMED_LAYERS
    figure.update_xaxes(type="category", showgrid=False, showticklabels=named)
    figure.update_xaxes(title="Layers in network order")
    figure.update_yaxes(title="Sparsity", ticksuffix=" %", range=(0, 100))
    return figure
