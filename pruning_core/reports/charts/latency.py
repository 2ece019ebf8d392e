"""Charts of speed: time by model and runtime, how many times as fast, where zeros begin to pay."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from pruning_core.common.formatting import format_percent
from pruning_core.methods.runtimes import DENSE_KERNELS, SPARSE_KERNELS
from pruning_core.reports.charts.style import (
    FONT,
    GREY,
    HEIGHT,
    OTHER_COLORS,
    TRANSPARENT,
    axis,
    layout,
    legend_below,
)
from pruning_core.results.sparse_speedup import ALL_LAYERS

ROW_HEIGHT, FRAME_HEIGHT, CROSSOVER_HEIGHT = 26, 132, HEIGHT + 80
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "star", "hexagon")
THIN = "rgba(128, 128, 128, 0.45)"
LEGEND_ROOM = 84
TITLE_SHIFT = 40  # into the room of the names, so that a title fits on a phone
NEAR = 3.0  # ratios within this factor of each other stand on a linear axis
TICKS = [factor * 10.0**power for power in range(-3, 4) for factor in (1, 2, 5)]
LOGARITHMIC: dict[str, Any] = {
    "type": "log",
    "tickvals": TICKS,
    "ticktext": [f"{tick:g}" for tick in TICKS],
}


def latency_chart(frame: pd.DataFrame, batch: int = 1, threads: int = 1) -> go.Figure:
    """Milliseconds of a call, runtime by runtime: the median, a bar from 10 % to 90 % of calls.

    `frame` is what `speed.latency_frame` gives. Empty where nothing was timed so.
    """
    rows = _placed(_chosen(frame, batch, threads, ("dense", "candidate")))
    columns, places = ("p50_ms", "p10_ms", "p90_ms"), _places(frame)
    drawn = go.Figure([_dots(own, *columns, places) for own in _models(rows)])
    _dress(drawn, "Time of a call", f"median, 10 to 90 %; {_told(batch, threads)}", rows)
    drawn.update_xaxes(**axis("milliseconds", **_scale(rows, columns)))
    return drawn


def speedup_chart(frame: pd.DataFrame, batch: int = 1, threads: int = 1) -> go.Figure:
    """How many times as fast as the dense model in the same runtime, with 95 % intervals.

    The grey row is the dense model timed against itself: what this machine makes of nothing.
    """
    chosen = _chosen(frame, batch, threads, ("candidate", "control"))
    rows = _placed(chosen[chosen["times_as_fast"].notna()])
    columns = ("times_as_fast", "times_as_fast_low", "times_as_fast_high")
    drawn = go.Figure([_dots(own, *columns, _places(frame)) for own in _models(rows)])
    drawn.add_vline(x=1, line={"color": GREY, "dash": "dash", "width": 1})
    told = f"as the dense model, 95 % intervals; {_told(batch, threads)}"
    _dress(drawn, "Times as fast", told, rows)
    drawn.update_xaxes(**axis("times as fast", **_scale(rows, columns)))
    return drawn


def break_even_chart(
    frame: pd.DataFrame,
    kernels: Iterable[str] = tuple(SPARSE_KERNELS),
    sparsity: float | None = None,
) -> go.Figure:
    """How many times as fast a sparse product is, over sparsity: above 1, zeros pay.

    `frame` is what `crossover.crossover_frame` gives. A thick line for all layers together
    with its 95 % intervals, thin ones for each shape of layer; `sparsity` marks a model's own.
    """
    drawn = go.Figure()
    for i, kernel in enumerate(kernels):
        own = frame[frame["kernel"] == kernel]
        drawn.add_traces([_thin(rows, i) for rows in _shapes(own)])
        drawn.add_trace(_thick(own[own["layer"] == ALL_LAYERS], kernel, i))
    drawn.add_hline(y=1, line={"color": GREY, "dash": "dash", "width": 1})
    drawn.add_annotation(
        x=0,
        xref="paper",
        xanchor="left",
        y=0,  # on a logarithmic axis a note stands at the logarithm
        yanchor="bottom",
        text="as fast as the dense product",
        showarrow=False,
        font={"size": 12, "color": GREY},
    )
    if sparsity is not None:
        drawn.add_vline(
            x=100 * sparsity,
            line={"color": GREY, "width": 1},
            annotation_text=f"this model: {format_percent(sparsity)}",
            annotation_position="top left",
            annotation_font={"size": 12, "color": GREY},
        )
    drawn.update_layout(**layout("Where zeros begin to pay", _measured(frame), right=24))
    drawn.update_layout(height=CROSSOVER_HEIGHT, showlegend=True, legend=legend_below())
    drawn.update_layout(margin={"b": LEGEND_ROOM}, font={"family": FONT})
    drawn.update_xaxes(**axis("zeros in the weight", " %"))
    drawn.update_yaxes(**axis("dense time over sparse time", **LOGARITHMIC))
    return drawn


def _chosen(frame: pd.DataFrame, batch: int, threads: int, roles: tuple[str, ...]) -> pd.DataFrame:
    if frame.empty:
        return frame
    kept = (frame["images_at_a_time"] == batch) & (frame["threads"] == threads)
    rows = frame[kept & frame["role"].isin(roles)].copy()
    again = rows["role"] == "control"
    rows.loc[again, "model"] = rows.loc[again, "model"] + ", timed twice"
    return rows


def _placed(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with `height`, from the top down: under each runtime's title its models."""
    heights, height = dict[Hashable, int](), 0
    for _, own in rows.groupby("runtime_title", sort=False):
        heights |= {index: height + i for i, index in enumerate(own.index, start=1)}
        height += 1 + len(own)
    return rows.assign(height=[heights[index] for index in rows.index])


def _models(rows: pd.DataFrame) -> list[pd.DataFrame]:
    """The rows of each model, in the order in which they come."""
    return [own for _, own in rows.groupby("model", sort=False)] if len(rows) else []


def _places(frame: pd.DataFrame) -> dict[str, int]:
    """Each point's place in the whole table, so that a model looks the same in all charts."""
    return {point: i for i, point in enumerate(frame["point"].unique())}


def _scale(rows: pd.DataFrame, columns: tuple[str, str, str]) -> dict[str, Any]:
    _, low, high = columns
    return LOGARITHMIC if len(rows) and rows[high].max() > NEAR * rows[low].min() else {}


def _dots(
    rows: pd.DataFrame, middle: str, low: str, high: str, places: dict[str, int]
) -> go.Scatter:
    plain = set(rows["role"]) <= {"dense", "control"}
    name, i = rows["model"].iloc[0], places[rows["point"].iloc[0]]
    colour = GREY if plain else OTHER_COLORS[-i % len(OTHER_COLORS)]
    return go.Scatter(
        x=rows[middle],
        y=rows["height"],
        name=name,
        mode="markers",
        marker={"color": colour, "symbol": SYMBOLS[i % len(SYMBOLS)], "size": 10},
        error_x=_bars(rows, middle, low, high, colour),
        text=[_hover(row) for row in rows.to_dict("records")],
        hovertemplate="%{text}<extra></extra>",
    )


def _bars(rows: pd.DataFrame, middle: str, low: str, high: str, colour: str) -> dict[str, Any]:
    return {
        "type": "data",
        "symmetric": False,
        "array": rows[high] - rows[middle],
        "arrayminus": rows[middle] - rows[low],
        "color": colour,
        "thickness": 2,
    }


def _hover(row: dict[str, Any]) -> str:
    lines = [
        f"{row['model']}, {row['runtime_title']}",
        f"median {row['p50_ms']:.3g} ms, 10 % under {row['p10_ms']:.3g} ms, "
        f"10 % over {row['p90_ms']:.3g} ms",
        f"{row['images_per_second']:,.0f} images a second",
    ]
    if row["times_as_fast"] == row["times_as_fast"]:
        low, high = row["times_as_fast_low"], row["times_as_fast_high"]
        lines.append(
            f"{row['times_as_fast']:.2f} times as fast as the dense model "
            f"(95 %: {low:.2f} to {high:.2f}), {row['rounds']} rounds: {row['judgement_text']}"
        )
    return "<br>".join(lines)


def _told(batch: int, threads: int) -> str:
    images = "one image" if batch == 1 else f"{batch} images"
    return f"{images}, {threads} thread{'s' * (threads != 1)}"


def _dress(drawn: go.Figure, title: str, subtitle: str, rows: pd.DataFrame) -> None:
    titles = rows.groupby("runtime_title", sort=False)["height"].min() - 1
    last = int(rows["height"].max()) if len(rows) else 0
    drawn.update_layout(**layout(title, subtitle, right=24))
    drawn.update_layout(
        height=FRAME_HEIGHT + ROW_HEIGHT * (last + 1),
        font={"family": FONT},
        paper_bgcolor=TRANSPARENT,
    )
    drawn.update_yaxes(
        tickvals=list(rows["height"]),
        ticktext=list(rows["model"]),
        range=(last + 0.6, -0.6),
        automargin=True,
        gridcolor=TRANSPARENT,
        zeroline=False,
        title="",
    )
    for text, height in titles.items():
        drawn.add_annotation(
            **{"x": 0, "xref": "paper", "xanchor": "left", "y": height, "showarrow": False},
            text=f"<b>{text}</b>",
            xshift=-TITLE_SHIFT,
        )


def _shapes(rows: pd.DataFrame) -> list[pd.DataFrame]:
    """One layer of each shape: layers of one shape have one measurement."""
    layers = rows[rows["layer"] != ALL_LAYERS]
    shapes = layers.groupby(["rows", "columns", "pixels"], sort=False)
    return [own[own["layer"] == own["layer"].iloc[0]] for _, own in shapes]


def _thin(rows: pd.DataFrame, i: int) -> go.Scatter:
    first = rows.iloc[0]
    about = (
        f"{first['layer']}: {first['rows']:.0f}x{first['columns']:.0f} weights, "
        f"{first['pixels']:.0f} pixels"
    )
    return go.Scatter(
        x=100 * rows["sparsity"],
        y=rows["times_as_fast"],
        mode="lines",
        line={"color": THIN, "width": 1, "dash": ("solid", "dot")[i % 2]},
        showlegend=False,
        customdata=[[_product(row)] for row in rows.to_dict("records")],
        hovertemplate=f"{about}<br>%{{customdata[0]}}<extra></extra>",
    )


def _thick(rows: pd.DataFrame, kernel: str, i: int) -> go.Scatter:
    colour = OTHER_COLORS[-1 - i % len(OTHER_COLORS)]
    columns = ("times_as_fast", "times_as_fast_low", "times_as_fast_high")
    return go.Scatter(
        x=100 * rows["sparsity"],
        y=rows["times_as_fast"],
        name=f"{ALL_LAYERS}, {SPARSE_KERNELS[kernel]}",
        mode="lines+markers",
        line={"color": colour, "width": 3},
        marker={"color": colour, "symbol": SYMBOLS[i % len(SYMBOLS)], "size": 9},
        error_y=_bars(rows, *columns, colour),
        customdata=[[_product(row)] for row in rows.to_dict("records")],
        hovertemplate=f"{ALL_LAYERS}<br>%{{customdata[0]}}<extra></extra>",
    )


def _product(row: dict[str, Any]) -> str:
    dense = f" ({DENSE_KERNELS[row['dense_kernel']]})" if row["dense_kernel"] else ""
    low, high = row["times_as_fast_low"], row["times_as_fast_high"]
    return (
        f"{format_percent(row['sparsity'])} zeros: {row['sparse_us']:.3g} µs, "
        f"dense {row['dense_us']:.3g} µs{dense}<br>{SPARSE_KERNELS[row['kernel']]} is "
        f"{row['times_as_fast']:.2f} times as fast (95 %: {low:.2f} to {high:.2f})"
    )


def _measured(frame: pd.DataFrame) -> str:
    layers = frame.loc[frame["layer"] != ALL_LAYERS, "layer"].nunique()
    return f"{layers} layers that are matrix products, one image, one thread, random masks"
