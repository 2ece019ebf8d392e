"""The chart of a model's files: bytes, and the floor that the entropy of their content sets."""

from __future__ import annotations

from typing import Any

import pandas as pd
import plotly.graph_objects as go

from pruning_core.common.formatting import format_bytes, format_percent, format_points, missing
from pruning_core.methods.file_formats import FILE_FORMATS
from pruning_core.reports.charts.style import FONT, GRID, SERIES, TRANSPARENT

ROW_HEIGHT, FRAME_HEIGHT = 30, 70
BAR, FLOOR = SERIES["one_shot"].color, SERIES["iterative"].color


def file_size_chart(frame: pd.DataFrame) -> go.Figure:
    """A bar a file with its size and accuracy, the floor as a mark; of a ladder's rows."""
    rows = frame.to_dict("records")
    names = [FILE_FORMATS[row["format"]].title for row in rows]
    drawn = go.Figure(
        go.Bar(
            x=[row["bytes"] / 1e6 for row in rows],
            y=names,
            orientation="h",
            marker={"color": BAR},
            text=[f"{format_bytes(r['bytes'])}, {format_percent(r['accuracy'])}" for r in rows],
            textposition="outside",
            cliponaxis=False,
            hovertext=[_told(row) for row in rows],
            hoverinfo="text",
        )
    )
    drawn.add_trace(_floors(rows, names))
    drawn.update_layout(
        height=FRAME_HEIGHT + ROW_HEIGHT * len(rows),
        margin={"l": 8, "r": 24, "t": 30, "b": 40},
        font={"family": FONT},
        plot_bgcolor=TRANSPARENT,
        showlegend=False,
        bargap=0.3,
    )
    longest = max((row["bytes"] for row in rows), default=1) / 1e6
    drawn.update_xaxes(
        title="size of the file", ticksuffix=" MB", gridcolor=GRID, range=(0, 1.9 * longest)
    )
    drawn.update_yaxes(autorange="reversed", automargin=True, gridcolor=TRANSPARENT)
    return drawn


def _floors(rows: list[dict[Any, Any]], names: list[str]) -> go.Scatter:
    there = [
        (row["floor_bytes"] / 1e6, name)
        for row, name in zip(rows, names, strict=True)
        if not missing(row["floor_bytes"])
    ]
    return go.Scatter(
        x=[x for x, _ in there],
        y=[name for _, name in there],
        mode="markers",
        marker={"symbol": "line-ns", "size": 18, "line": {"color": FLOOR, "width": 3}},
        hovertemplate="floor %{x:.3f} MB: the entropy of what the file holds<extra></extra>",
    )


def _told(row: dict[Any, Any]) -> str:
    floor, place = row["floor_bytes"], FILE_FORMATS[row["format"]].title
    over = "" if missing(floor) else f"<br>{100 * (row['bytes'] / floor - 1):+.1f} % over its floor"
    low, high = format_percent(row["accuracy_low"]), format_percent(row["accuracy_high"])
    return (
        f"{place}: {row['bytes']:,} bytes{over}<br>accuracy {format_percent(row['accuracy'])} "
        f"(95 %: {low} to {high})<br>{format_points(row['accuracy_drop'])} lost by the file, "
        f"on {row['test_images']:,} test images"
    )
