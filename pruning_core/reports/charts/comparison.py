"""Points drawn: the four charts of a comparison, each alone or all in one panel."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import plotly.graph_objects as go

from pruning_core.common.formatting import missing
from pruning_core.methods.strategies import CORRECTION, QUANTIZED
from pruning_core.reports.charts.drawing import (
    Drawing,
    Part,
    add_end_labels,
    add_leader_line,
    add_marker_labels,
)
from pruning_core.reports.charts.references import (
    Reference,
    accuracy_references,
    drop_references,
    ratio_references,
    size_references,
)
from pruning_core.reports.charts.series import (
    Chart,
    Series,
    XAxis,
    all_series,
    end_label,
    has_line,
    legend_entries,
    line_trace,
    marker_trace,
    sparsity_labels,
)
from pruning_core.reports.charts.style import (
    GREY,
    HEIGHT,
    LABEL_WIDTH,
    SERIES,
    Label,
    Subplot,
    axis,
    heading,
    layout,
    legend_below,
    on_white,
    value_range,
)
from pruning_core.results.rows import Row, rows_of

__all__ = ["CHARTS", "X_AXES", "config", "figure", "panel"]  # assignment.py takes config from here

CHARTS = {
    "accuracy": Chart(
        "accuracy",
        "Accuracy",
        "bars: 95 % interval, sampling of test images",
        100,
        " %",
        accuracy_references,
        bars=1,
    ),
    "size": Chart(
        "sparse_bytes",
        "Model size (sparse file)",
        "bytes as written and read back",
        1e-6,
        " MB",
        size_references,
        from_zero=True,
    ),
    "drop": Chart(
        "accuracy_drop",
        "Accuracy drop (points)",
        "baseline minus point, bars: the point's own 95 % interval",
        100,
        "",
        drop_references,
        bars=-1,
    ),
    "ratio": Chart(
        "compression_ratio",
        "Compression ratio",
        "dense file divided by sparse file",
        1,
        "×",
        ratio_references,
        from_zero=True,
    ),
}
X_AXES = {
    "sparsity_prunable": XAxis("sparsity_prunable", "sparsity of the prunable weights", 100, " %"),
    "sparsity_weights": XAxis("sparsity_weights", "sparsity of all layer weights", 100, " %"),
    "sparsity_model": XAxis("sparsity_model", "sparsity of the whole model", 100, " %"),
    "epochs": XAxis("epochs", "epochs of fine-tuning", 1, spent=True),
    "seconds": XAxis("seconds", "seconds of fine-tuning", 1, " s", spent=True),
}
MOST_AMOUNTS = 16
POINTS = tuple(name for name in SERIES if name not in QUANTIZED)
PANEL_MARGIN = {"l": 64, "r": LABEL_WIDTH + 16, "t": 96, "b": 56, "pad": 0}
PANEL_SIZE = {"width": 1240, "height": 860, "margin": PANEL_MARGIN}


def comparison_chart(frame: pd.DataFrame, y: str, x: str = "sparsity_prunable") -> go.Figure:
    """One chart of the points. `y` is a key of CHARTS and `x` of X_AXES.

    The x range depends on the frame and `x` only, so it is the same in all four charts.
    """
    chart, points = CHARTS[y], _charted(frame)
    several = _several_runs(points)
    right = 16 if several else LABEL_WIDTH
    drawn = Drawing(layout(chart.title, _subtitle(points, chart), right))
    drawn.layout["uirevision"] = x  # a zoom outlives new points, but not another x axis
    _draw(drawn, points, chart, X_AXES[x], Subplot())
    if several:
        drawn.traces.extend(legend_entries(points))
        drawn.layout.update(showlegend=True, legend=legend_below(), height=HEIGHT + 90)
    return drawn.figure()


def comparison_panel(
    frame: pd.DataFrame, x: str = "sparsity_prunable", charts: Mapping[str, Chart] = CHARTS
) -> go.Figure:
    """The four charts two by two on white, for a file."""
    from plotly.subplots import make_subplots  # imported here: only files need it

    points, drawn = _charted(frame), Drawing({**layout("Pruning comparison"), **PANEL_SIZE})
    for i, chart in enumerate(charts.values(), 1):
        cell = Subplot(f"x{i}" if i > 1 else "x", f"y{i}" if i > 1 else "y", 280)
        _draw(drawn, points, chart, X_AXES[x], cell)
        _cell_title(drawn, heading(chart.title, _subtitle(points, chart)), cell)
    if _several_runs(points):
        drawn.traces.extend(legend_entries(points))
        drawn.layout.update(showlegend=True, legend=legend_below())
    places = make_subplots(2, 2, horizontal_spacing=0.16, vertical_spacing=0.2)
    return on_white(drawn.put_on(places))


def _charted(frame: pd.DataFrame) -> list[Row]:
    """The points that are drawn: rungs of a ladder stand in a table of their own.

    Four at each sparsity would hide the strategies that the charts are there to compare.
    """
    return [row for row in rows_of(frame) if row["strategy"] != CORRECTION]


def _cell_title(drawn: Drawing, text: str, cell: Subplot) -> None:
    drawn.annotations.append(
        {
            "text": text,
            "x": 0,
            "xref": f"{cell.xaxis} domain",
            "xanchor": "left",
            "y": 1,
            "yref": f"{cell.yaxis} domain",
            "yanchor": "bottom",
            "yshift": 6,
            "align": "left",
            "showarrow": False,
            "font": {"size": 15},
        }
    )


def _subtitle(points: list[Row], chart: Chart) -> str:
    seeds = {row["seed"] for row in points}
    return chart.subtitle + ("; thin: seeds" if len(seeds) > 1 else "")


def _several_runs(points: list[Row]) -> bool:
    return len({row["run_id"] for row in points}) > 1


def _draw(drawn: Drawing, points: list[Row], chart: Chart, across: XAxis, cell: Subplot) -> None:
    series = all_series(points, chart, across)
    references = _distinct(chart.references(points))
    x_range, y_range = _x_range(points, across), _y_range(series, references, chart)
    _set_axes(drawn, chart, across, cell, x_range, y_range)
    for reference in references:
        _across(drawn, reference.value, GREY, reference.dash, cell)
    traces = [line_trace(s) for s in series if has_line(s, across)]
    traces += [marker_trace(s, chart) for s in series]
    for trace in traces or [_nothing_known(drawn, chart, cell)]:
        drawn.traces.append({**trace, "xaxis": cell.xaxis, "yaxis": cell.yaxis})
    if across.spent:
        _put_amounts(drawn, series, (x_range, y_range), cell)
    if not _several_runs(points):
        named = [s for s in series if s.kind != "seed" and s.strategy in SERIES]
        for s in named:
            add_leader_line(drawn, s.end, x_range[1], SERIES[s.strategy].color, cell)
        labels = [Label(r.name, r.value) for r in references]
        add_end_labels(drawn, [*(end_label(s, across) for s in named), *labels], y_range, cell)


def _put_amounts(
    drawn: Drawing,
    series: list[Series],
    ranges: tuple[tuple[float, float], tuple[float, float]],
    cell: Subplot,
) -> None:
    """What was asked of each point, where they are few enough to be told apart.

    Their int8 files stand at the same place, above or below.
    """
    named = [s for s in series if s.kind != "seed" and s.strategy in POINTS]
    labels = [label for s in named for label in sparsity_labels(s)]
    if len(labels) <= MOST_AMOUNTS:
        add_marker_labels(drawn, labels, ranges, cell)


def _nothing_known(drawn: Drawing, chart: Chart, cell: Subplot) -> Part:
    """An empty plot that says so."""
    drawn.annotations.append(
        {
            "text": f"{chart.column.replace('_', ' ')} not known",
            "x": 0.5,
            "xref": f"{cell.xaxis} domain",
            "y": 0.5,
            "yref": f"{cell.yaxis} domain",
            "showarrow": False,
        }
    )
    return {"type": "scatter", "x": [None], "y": [None], "showlegend": False}


def _distinct(references: list[Reference]) -> list[Reference]:
    """Runs that share a baseline share its line."""
    return list({(r.name, round(r.value, 6)): r for r in references}.values())


def _x_range(points: list[Row], across: XAxis) -> tuple[float, float]:
    rows = (row for row in points if not (across.spent and row["strategy"] == "baseline"))
    known = [row[across.column] for row in rows if not missing(row[across.column])]
    largest = max(known, default=0.0) * across.scale
    largest = largest if largest > 0 else 1.0
    return -0.03 * largest, 1.05 * largest


def _y_range(
    series: list[Series], references: list[Reference], chart: Chart
) -> tuple[float, float]:
    values = [reference.value for reference in references]
    for s in series:
        values += [row["py"] + _known(row["up"]) for row in s.rows]
        values += [row["py"] - _known(row["down"]) for row in s.rows]
    return value_range(values, chart.from_zero)


def _known(bar: float) -> float:
    return 0.0 if missing(bar) else bar


def _set_axes(
    drawn: Drawing,
    chart: Chart,
    across: XAxis,
    cell: Subplot,
    x_range: tuple[float, float],
    y_range: tuple[float, float],
) -> None:
    axes = {
        cell.xaxis.replace("x", "xaxis"): axis(across.title, across.suffix, range=x_range),
        cell.yaxis.replace("y", "yaxis"): axis("", chart.suffix, range=y_range),
    }
    drawn.layout.update(axes)


def _across(drawn: Drawing, value: float, color: str, dash: str, cell: Subplot) -> None:
    drawn.shapes.append(
        {
            "type": "line",
            "x0": 0,
            "x1": 1,
            "xref": f"{cell.xaxis} domain",
            "y0": value,
            "y1": value,
            "yref": cell.yaxis,
            "line": {"color": color, "dash": dash, "width": 1.5},
            "layer": "below",
        }
    )
