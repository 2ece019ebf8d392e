"""Latency of models on this machine, by runtime, and their speed-up over the dense model."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from pruning_core.common.formatting import format_count
from pruning_core.methods.runtimes import RUNTIMES
from pruning_core.reports.charts.style import (
    GREY,
    LOGARITHMIC,
    MODEL_SYMBOLS,
    OTHER_COLORS,
    TEXT_SIZE,
    TRANSPARENT,
    axis,
    interval_bars,
    layout,
)
from pruning_core.results.latency import OVER_FASTEST

ROW_HEIGHT, FRAME_HEIGHT = 26, 132
MAX_LINEAR_RATIO = 3.0  # values that differ by a larger factor get a logarithmic axis
# The median and the ends of its interval, as columns of `results.latency.latency_frame`.
LATENCY = ("p50_ms", "p10_ms", "p90_ms")
SPEEDUP = ("speedup", "speedup_low", "speedup_high")


def latency_chart(frame: pd.DataFrame, batch: int = 1, threads: int = 1) -> go.Figure:
    """Latency in milliseconds: the median, with a bar from the 10th to the 90th percentile.

    `frame` is that of `results.latency.latency_frame`. The chart is empty if it has no latency at
    this batch size and number of threads.
    """
    rows = _with_heights(_selected(frame, batch, threads, ("dense", "candidate")))
    conditions = f"median, 10th to 90th percentile; {_conditions(batch, threads)}"
    return _dot_chart(frame, rows, LATENCY, ("Latency", conditions, "Latency (ms)"))


def speedup_chart(frame: pd.DataFrame, batch: int = 1, threads: int = 1) -> go.Figure:
    """Speed-up over the dense model in the same runtime, with 95 % confidence intervals.

    A sparse runtime has a second row for each model, over the dense model in the fastest dense
    runtime. The grey row is an A/A control, the dense model compared with itself: it shows the
    noise of the machine.
    """
    selected = _selected(frame, batch, threads, ("candidate", "control"))
    fastest = _over_fastest(selected)
    compared = selected[selected[SPEEDUP[0]].notna()]
    rows = _with_heights(pd.concat([compared, fastest], ignore_index=True))
    conditions = f"same runtime; {_conditions(batch, threads)}"
    titles = ("Speed-up over dense", conditions, "Speed-up over dense (95 % CI)")
    figure = _dot_chart(frame, rows, SPEEDUP, titles)
    figure.add_vline(x=1, line={"color": GREY, "dash": "dash", "width": 1})
    return figure


def _selected(
    frame: pd.DataFrame, batch: int, threads: int, roles: tuple[str, ...]
) -> pd.DataFrame:
    if frame.empty:
        return frame
    conditions = (frame["batch_size"] == batch) & (frame["threads"] == threads)
    rows = frame[conditions & frame["role"].isin(roles)].copy()
    control = rows["role"] == "control"
    rows.loc[control, "model"] = rows.loc[control, "model"] + " (A/A control)"
    return rows


def _over_fastest(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of sparse runtimes, with the speed-up over the fastest dense runtime."""
    sparse = rows["runtime"].map(lambda name: RUNTIMES[name].sparse)
    rows = rows[sparse & rows[f"speedup{OVER_FASTEST}"].notna()].copy()
    if rows.empty:
        return rows
    rows["runtime_title"] += " vs dense in " + rows["fastest_runtime"].map(RUNTIMES.titles)
    rows["conclusion_text"] = rows[f"conclusion{OVER_FASTEST}_text"]
    for end in ("", "_low", "_high"):
        rows[f"speedup{end}"] = rows[f"speedup{OVER_FASTEST}{end}"]
    return rows


def _with_heights(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with `height` on the y axis: below each runtime's title its models, from the top."""
    heights, height = dict[Hashable, int](), 0
    for _, models in rows.groupby("runtime_title", sort=False):
        heights |= {index: height + i for i, index in enumerate(models.index, start=1)}
        height += 1 + len(models)
    return rows.assign(height=[heights[index] for index in rows.index])


def _dot_chart(
    frame: pd.DataFrame,
    rows: pd.DataFrame,
    columns: tuple[str, str, str],
    titles: tuple[str, str, str],
) -> go.Figure:
    """A dot with an interval for each row, in rows below the title of its runtime.

    `columns` are the middle, low and high value; `titles` are those of chart, subtitle and axis.
    """
    # A model has the same style in both charts, whichever rows they select.
    order = {key: i for i, key in enumerate(frame["key"].unique())}
    models = [model for _, model in rows.groupby("model", sort=False)] if len(rows) else []
    figure = go.Figure([_dots(model, columns, order[model["key"].iloc[0]]) for model in models])
    last = int(rows["height"].max()) if len(rows) else 0
    title, subtitle, axis_title = titles
    figure.update_layout(**layout(title, subtitle, right=24))
    figure.update_layout(
        height=FRAME_HEIGHT + ROW_HEIGHT * (last + 1),
        font={"size": TEXT_SIZE},
        paper_bgcolor=TRANSPARENT,
    )
    figure.update_xaxes(**axis(axis_title, **_scale(rows, columns)))
    # Titles are tick labels too, so that the margin is wide enough for them.
    runtimes = rows.groupby("runtime_title", sort=False)["height"].min() - 1
    figure.update_yaxes(
        tickvals=[*runtimes, *rows["height"]],
        ticktext=[*(f"<b>{title}</b>" for title in runtimes.index), *rows["model"]],
        range=(last + 0.6, -0.6),
        automargin=True,
        gridcolor=TRANSPARENT,
        zeroline=False,
        title="",
    )
    return figure


def _scale(rows: pd.DataFrame, columns: tuple[str, str, str]) -> dict[str, Any]:
    _, low, high = columns
    wide = len(rows) and rows[high].max() > MAX_LINEAR_RATIO * rows[low].min()
    return LOGARITHMIC if wide else {}


def _dots(rows: pd.DataFrame, columns: tuple[str, str, str], i: int) -> go.Scatter:
    """The dots of one model, number `i` of the frame; the dense model is grey."""
    dense = set(rows["role"]) <= {"dense", "control"}
    color = GREY if dense else OTHER_COLORS[-i % len(OTHER_COLORS)]
    return go.Scatter(
        x=rows[columns[0]],
        y=rows["height"],
        name=rows["model"].iloc[0],
        mode="markers",
        marker={"color": color, "symbol": MODEL_SYMBOLS[i % len(MODEL_SYMBOLS)], "size": 10},
        error_x=interval_bars(rows, columns, color),
        text=[_hover(row) for row in rows.to_dict("records")],
        hovertemplate="%{text}<extra></extra>",
    )


def _hover(row: dict[Hashable, Any]) -> str:
    median, p10, p90 = (row[name] for name in LATENCY)
    lines = [
        f"{row['model']}, {row['runtime_title']}",
        f"latency {median:.3g} ms (10th to 90th percentile {p10:.3g} to {p90:.3g} ms)",
        f"throughput {row['images_per_second']:,.0f} images/s",
    ]
    speedup, low, high = (row[name] for name in SPEEDUP)
    if pd.notna(speedup):
        lines.append(
            f"speed-up over dense {speedup:.2f}x (95 % CI {low:.2f} to {high:.2f}, "
            f"{format_count(row['rounds'], 'round')}): {row['conclusion_text']}"
        )
    return "<br>".join(lines)


def _conditions(batch: int, threads: int) -> str:
    return f"batch size {batch}, {format_count(threads, 'thread')}"
