"""The benchmark of this machine: speed-up over the assignment's plain script."""

from __future__ import annotations

import plotly.graph_objects as go

from pruning_core.common.formatting import format_times
from pruning_core.methods.strategies import ONE_SHOT
from pruning_core.reports.charts.style import (
    GREY,
    GRID,
    LOGARITHMIC,
    SERIES,
    TEXT_SIZE,
    TRANSPARENT,
)
from pruning_core.reports.charts.text_alternative import named_axis
from pruning_core.results.benchmark import ALL_FIGURES, BenchmarkResult, MedianRange

ROW_HEIGHT, FRAME_HEIGHT = 34, 88
# Measurements that are no speed-up; the page shows them beside the chart.
NOT_SPEEDUPS = (
    "peak_share",
    "cached_open_seconds",
    "masked_over_dense",
    "gpu_images_per_second",
)


def benchmark_chart(result: BenchmarkResult) -> go.Figure:
    """Median speed-ups on a logarithmic axis, with bars from the lowest to the highest round."""
    known = {name: result.figures[name] for name in ALL_FIGURES if name in result.figures}
    speedups = {name: speedup for name, speedup in known.items() if name not in NOT_SPEEDUPS}
    figure = go.Figure(_dots(speedups))
    figure.add_vline(x=1, line={"color": GREY, "dash": "dash", "width": 1})
    figure.update_layout(
        height=FRAME_HEIGHT + ROW_HEIGHT * len(speedups),
        margin={"l": 8, "r": 24, "t": 26, "b": 44},
        font={"size": TEXT_SIZE},
        paper_bgcolor=TRANSPARENT,
        plot_bgcolor=TRANSPARENT,
        showlegend=False,
    )
    figure.update_xaxes(
        type="log",
        tickvals=LOGARITHMIC["tickvals"],
        title="Speed-up (median and range)",
        ticktext=[f"{text}x" for text in LOGARITHMIC["ticktext"]],
        gridcolor=GRID,
        zeroline=False,
    )
    figure.update_layout(**named_axis("Measurement"))
    figure.update_yaxes(autorange="reversed", automargin=True, gridcolor=TRANSPARENT)
    return figure


def _dots(speedups: dict[str, MedianRange]) -> go.Scatter:
    strategy, rounds = SERIES[ONE_SHOT], list(speedups.values())
    return go.Scatter(
        x=[speedup.median for speedup in rounds],
        y=[ALL_FIGURES[name].short for name in speedups],
        mode="markers+text",
        cliponaxis=False,
        text=[f"{format_times(speedup.median)}x" for speedup in rounds],
        textposition="top center",
        marker={"color": strategy.color, "symbol": strategy.symbol, "size": 10},
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [speedup.high - speedup.median for speedup in rounds],
            "arrayminus": [speedup.median - speedup.low for speedup in rounds],
            "color": strategy.color,
            "thickness": 2,
        },
        customdata=[
            [ALL_FIGURES[name].text, speedup.low, speedup.high]
            for name, speedup in speedups.items()
        ],
        hovertemplate="%{customdata[0]}<br>median %{x:.2f}x, rounds from %{customdata[1]:.2f}x "
        "to %{customdata[2]:.2f}x<extra></extra>",
    )
