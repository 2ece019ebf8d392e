"""Break-even sparsity: speed-up of sparse over dense kernels, over the sparsity of the weights."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from pruning_core.common.formatting import format_count, format_percent
from pruning_core.methods.runtimes import DENSE_KERNELS, SPARSE_KERNELS
from pruning_core.reports.charts.style import (
    GREY,
    HEIGHT,
    LOGARITHMIC,
    MODEL_SYMBOLS,
    OTHER_COLORS,
    TEXT_SIZE,
    axis,
    interval_bars,
    layout,
    legend_below,
)
from pruning_core.results.sparse_speedup import ALL_LAYERS

CHART_HEIGHT, LEGEND_MARGIN = HEIGHT + 80, 84
THIN_LINE = "rgba(128, 128, 128, 0.45)"
# The speed-up and the ends of its 95 % CI, as columns of `sparse_speedup_frame`.
SPEEDUP = ("speedup", "speedup_low", "speedup_high")


def break_even_chart(
    frame: pd.DataFrame,
    kernels: Iterable[str] = tuple(SPARSE_KERNELS),
    sparsity: float | None = None,
) -> go.Figure:
    """Speed-up of sparse over dense matrix products; above 1 the sparse kernel is faster.

    `frame` is that of `results.sparse_speedup.sparse_speedup_frame`. A thick line is the sum over
    all layers with its 95 % CI; a thin line is one shape of layer. A vertical line marks
    `sparsity`, that of a model as a fraction from 0 to 1.
    """
    figure = go.Figure()
    for i, kernel in enumerate(kernels):
        rows = frame[frame["kernel"] == kernel]
        figure.add_traces([_layer_line(layer, i) for layer in _distinct_shapes(rows)])
        figure.add_trace(_total_line(rows[rows["layer"] == ALL_LAYERS], kernel, i))
    _add_marks(figure, sparsity)
    figure.update_layout(**layout("Break-even sparsity", _subtitle(frame), right=24))
    figure.update_layout(height=CHART_HEIGHT, showlegend=True, legend=legend_below())
    figure.update_layout(margin={"b": LEGEND_MARGIN}, font={"size": TEXT_SIZE})
    figure.update_xaxes(**axis("Sparsity of the weight matrix", " %"))
    figure.update_yaxes(**axis("Speed-up over dense (95 % CI)", **LOGARITHMIC))
    return figure


def _add_marks(figure: go.Figure, sparsity: float | None) -> None:
    """A horizontal line at speed-up 1 and a vertical line at the sparsity of a model."""
    figure.add_hline(y=1, line={"color": GREY, "dash": "dash", "width": 1})
    figure.add_annotation(
        x=0,
        xref="paper",
        xanchor="left",
        y=0,  # the logarithm of 1: annotations on a logarithmic axis take logarithms
        yanchor="bottom",
        text="break-even",
        showarrow=False,
        font={"size": TEXT_SIZE},
    )
    if sparsity is not None:
        figure.add_vline(
            x=100 * sparsity,
            line={"color": GREY, "width": 1},
            annotation_text=f"this model: {format_percent(sparsity)}",
            annotation_position="top left",
            annotation_font={"size": TEXT_SIZE},
        )


def _distinct_shapes(rows: pd.DataFrame) -> list[pd.DataFrame]:
    """The rows of one layer of each shape, because layers of one shape share a measurement."""
    layers = rows[rows["layer"] != ALL_LAYERS]
    shapes = layers.groupby(["output_channels", "input_channels", "positions"], sort=False)
    return [shape[shape["layer"] == shape["layer"].iloc[0]] for _, shape in shapes]


def _layer_line(rows: pd.DataFrame, i: int) -> go.Scatter:
    first = rows.iloc[0]
    heading = (
        f"{first['layer']}: "
        f"{first['output_channels']:.0f} x {first['input_channels']:.0f} weights, "
        f"{format_count(int(first['positions']), 'position')}"
    )
    return go.Scatter(
        x=100 * rows["sparsity"],
        y=rows[SPEEDUP[0]],
        mode="lines",
        line={"color": THIN_LINE, "width": 1, "dash": ("solid", "dot")[i % 2]},
        showlegend=False,
        customdata=[[_hover(row)] for row in rows.to_dict("records")],
        hovertemplate=f"{heading}<br>%{{customdata[0]}}<extra></extra>",
    )


def _total_line(rows: pd.DataFrame, kernel: str, i: int) -> go.Scatter:
    color = OTHER_COLORS[-1 - i % len(OTHER_COLORS)]
    return go.Scatter(
        x=100 * rows["sparsity"],
        y=rows[SPEEDUP[0]],
        name=f"{SPARSE_KERNELS[kernel].title}, {ALL_LAYERS}",
        mode="lines+markers",
        line={"color": color, "width": 3},
        marker={"color": color, "symbol": MODEL_SYMBOLS[i % len(MODEL_SYMBOLS)], "size": 9},
        error_y=interval_bars(rows, SPEEDUP, color),
        customdata=[[_hover(row)] for row in rows.to_dict("records")],
        hovertemplate=f"{ALL_LAYERS}<br>%{{customdata[0]}}<extra></extra>",
    )


def _hover(row: dict[Hashable, Any]) -> str:
    kernel = row["dense_kernel"]  # none for all layers: each has its fastest dense kernel
    dense = f" ({DENSE_KERNELS[kernel].title})" if kernel else ""
    speedup, low, high = (row[name] for name in SPEEDUP)
    return (
        f"{format_percent(row['sparsity'])} sparsity, {SPARSE_KERNELS[row['kernel']].title}<br>"
        f"sparse {row['sparse_us']:.3g} µs, dense {row['dense_us']:.3g} µs{dense}<br>"
        f"speed-up {speedup:.2f}x (95 % CI {low:.2f} to {high:.2f})"
    )


def _subtitle(frame: pd.DataFrame) -> str:
    layers = frame.loc[frame["layer"] != ALL_LAYERS, "layer"].nunique()
    return f"{format_count(layers, 'layer')}, random masks, batch size 1, 1 thread"
