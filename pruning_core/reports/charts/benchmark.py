"""This machine's last bench, drawn: how many times as fast, with the spread of the rounds."""

from __future__ import annotations

import plotly.graph_objects as go

from pruning_core.common.formatting import format_times
from pruning_core.reports.charts.style import FONT, GREY, GRID, SERIES, TRANSPARENT
from pruning_core.results.benchmark import FIGURES, BenchResult, Figure

ROW_HEIGHT, FRAME_HEIGHT = 34, 70
# What is not a quotient of two times, or not of ours and another's, stands beside the chart.
NOT_SPEEDUPS = ("peak_share", "cached_open_seconds", "masked_over_dense")


def benchmark_chart(result: BenchResult) -> go.Figure:
    """A dot a figure on a logarithmic axis, a bar from the lowest to the highest round."""
    found = {name: result.figures[name] for name in FIGURES if name in result.figures}
    rows = {name: figure for name, figure in found.items() if name not in NOT_SPEEDUPS}
    drawn = go.Figure(_dots(rows))
    drawn.add_vline(x=1, line={"color": GREY, "dash": "dash", "width": 1})
    drawn.update_layout(
        height=FRAME_HEIGHT + ROW_HEIGHT * len(rows),
        margin={"l": 8, "r": 24, "t": 8, "b": 44},
        font={"family": FONT},
        paper_bgcolor=TRANSPARENT,
        plot_bgcolor=TRANSPARENT,
        showlegend=False,
    )
    drawn.update_xaxes(
        type="log", title="times as fast", gridcolor=GRID, dtick="D2", zeroline=False
    )
    drawn.update_yaxes(autorange="reversed", automargin=True, gridcolor=TRANSPARENT)
    return drawn


def _dots(rows: dict[str, Figure]) -> go.Scatter:
    look, found = SERIES["one_shot"], list(rows.values())
    return go.Scatter(
        x=[figure.median for figure in found],
        y=[SHORT[name] for name in rows],
        mode="markers+text",
        text=[format_times(figure.median) for figure in found],
        textposition="top center",
        marker={"color": look.color, "symbol": look.symbol, "size": 10},
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [figure.high - figure.median for figure in found],
            "arrayminus": [figure.median - figure.low for figure in found],
            "color": look.color,
            "thickness": 2,
        },
        customdata=[[FIGURES[name].text, rows[name].low, rows[name].high] for name in rows],
        hovertemplate="%{customdata[0]}<br>median %{x:.2f}, rounds from %{customdata[1]:.2f} "
        "to %{customdata[2]:.2f}<extra></extra>",
    )


SHORT = {name: item.short for name, item in FIGURES.items()}
