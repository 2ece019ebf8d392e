"""The exported files of a model: size on disk, accuracy and order-0 entropy."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from pruning_core.common.formatting import format_bytes, format_percent, format_points, missing
from pruning_core.methods.file_formats import FILE_FORMATS
from pruning_core.methods.strategies import ITERATIVE, ONE_SHOT
from pruning_core.reports.charts.style import GRID, SERIES, TEXT_SIZE, TRANSPARENT
from pruning_core.reports.charts.text_alternative import named_axis

ROW_HEIGHT, FRAME_HEIGHT = 21, 66
BAR_COLOR, ENTROPY_COLOR = SERIES[ONE_SHOT].color, SERIES[ITERATIVE].color


def file_size_chart(frame: pd.DataFrame) -> go.Figure:
    """A bar for each exported file, with a mark at the order-0 entropy of a sparse file.

    `frame` is that of `results.exported_files.files_frame`.
    """
    rows = frame.to_dict("records")
    titles = [FILE_FORMATS[row["format"]].title for row in rows]
    figure = go.Figure(
        go.Bar(
            x=[row["bytes"] / 1e6 for row in rows],
            y=titles,
            orientation="h",
            marker={"color": BAR_COLOR},
            text=[f"{format_bytes(r['bytes'])}, {format_percent(r['accuracy'])}" for r in rows],
            textposition="outside",
            cliponaxis=False,
            name="File",
            hovertext=[_hover(row) for row in rows],
            hoverinfo="text",
        )
    )
    figure.add_trace(_order0_marks(rows))
    figure.update_layout(
        height=FRAME_HEIGHT + ROW_HEIGHT * len(rows),
        margin={"l": 8, "r": 24, "t": 30, "b": 40},
        font={"size": TEXT_SIZE},
        plot_bgcolor=TRANSPARENT,
        showlegend=False,
        bargap=0.3,
        **named_axis("File format"),
    )
    longest = max((row["bytes"] for row in rows), default=1) / 1e6
    # The range leaves space for the text beside the longest bar, on a phone too.
    figure.update_xaxes(
        title="Size on disk", ticksuffix=" MB", nticks=4, gridcolor=GRID, range=(0, 2.2 * longest)
    )
    figure.update_yaxes(autorange="reversed", automargin=True, gridcolor=TRANSPARENT)
    return figure


def _order0_marks(rows: list[dict[Hashable, Any]]) -> go.Scatter:
    known = [row for row in rows if not missing(row["order0_entropy_bytes"])]
    return go.Scatter(
        x=[row["order0_entropy_bytes"] / 1e6 for row in known],
        y=[FILE_FORMATS[row["format"]].title for row in known],
        mode="markers",
        name="Order-0 entropy",
        marker={"symbol": "line-ns", "size": 13, "line": {"color": ENTROPY_COLOR, "width": 3}},
        hovertemplate="order-0 entropy %{x:.3f} MB: a reference, no lower bound<extra></extra>",
    )


def _hover(row: dict[Hashable, Any]) -> str:
    size, entropy = row["bytes"], row["order0_entropy_bytes"]
    low, high = format_percent(row["accuracy_low"]), format_percent(row["accuracy_high"])
    lines = [
        FILE_FORMATS[row["format"]].title,
        f"size on disk {size:,} bytes",
        f"accuracy {format_percent(row['accuracy'])} (95 % CI {low} to {high}), "
        f"{row['test_images']:,} test images",
        f"accuracy drop {format_points(row['accuracy_drop'])} (model minus file)",
    ]
    if not missing(entropy):
        difference = f"file {100 * (size / entropy - 1):+.1f} %"
        lines.insert(2, f"order-0 entropy {format_bytes(entropy)} ({difference})")
    return "<br>".join(lines)
