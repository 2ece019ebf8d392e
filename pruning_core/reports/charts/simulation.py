"""The simulated time of a run over the number of nodes, and the lower bound."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from pruning_core.methods.strategies import ONE_SHOT
from pruning_core.reports.charts.style import GREY, SERIES, compact_layout

HEIGHT = 320


def simulation_chart(frame: pd.DataFrame) -> go.Figure:
    """Both axes are logarithmic: with twice the nodes, half the time is a straight line."""
    style = SERIES[ONE_SHOT]
    figure = go.Figure(
        [
            go.Scatter(
                x=frame["nodes"],
                y=frame["bound_seconds"] / 60,
                name="lower bound",
                mode="lines",
                line={"color": GREY, "dash": "dash", "width": 1.5},
                hovertemplate="%{x} nodes: at least %{y:.3g} min<extra></extra>",
            ),
            go.Scatter(
                x=frame["nodes"],
                y=frame["seconds"] / 60,
                name="simulated",
                mode="lines+markers",
                line={"color": style.color},
                marker={"color": style.color, "symbol": style.symbol, "size": 9},
                customdata=frame[["stages_per_second"]],
                hovertemplate="%{x} nodes: %{y:.3g} min<br>scheduler: %{customdata[0]:.0f} stages "
                "a second<extra></extra>",
            ),
        ]
    )
    compact_layout(figure, HEIGHT)
    figure.update_layout(showlegend=True, legend={"orientation": "h", "y": 1.08, "x": 0})
    figure.update_xaxes(type="log", title="Nodes", tickvals=frame["nodes"].tolist())
    figure.update_yaxes(type="log", title="Time of the run (min)", dtick=1)
    return figure
