"""The four charts of a comparison: accuracy, model size, accuracy drop, compression ratio."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd
import plotly.graph_objects as go

from pruning_core.common.formatting import missing
from pruning_core.methods.strategies import BASELINE, CONTROL_TITLE, CORRECTION, QUANTIZED
from pruning_core.reports.charts.drawing import (
    Drawing,
    Part,
    add_end_labels,
    add_leader_line,
    add_marker_labels,
    add_reference_line,
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
    run_names,
    sparsity_labels,
)
from pruning_core.reports.charts.style import (
    BY_RUN,
    BY_STRATEGY,
    DASHES,
    GREY,
    LABEL_WIDTH,
    SERIES,
    Label,
    Subplot,
    axis,
    heading,
    layout,
    legend_below,
    on_white,
    series_color,
    value_range,
)
from pruning_core.results.rows import Row, grouped, is_control, rows_of

CONFIDENCE_BARS = "95 % CI (test set)"
# The patterns of Plotly's dashes in pixels: a stroke, a gap, and so on.
DASH_PIXELS = {
    "solid": (30,),
    "dash": (8, 4),
    "dot": (3, 3),
    "dashdot": (8, 3, 3, 3),
    "longdash": (13, 4),
    "longdashdot": (12, 3, 3, 3),
}
CHARTS = {
    "accuracy": Chart(
        "accuracy",
        "Accuracy",
        f"error bars: {CONFIDENCE_BARS}",
        100,
        " %",
        accuracy_references,
        error_bars=1,
    ),
    "size": Chart(
        "sparse_bytes",
        "Model size",
        "size on disk of the sparse file",
        1e-6,
        " MB",
        size_references,
        from_zero=True,
    ),
    "drop": Chart(
        "accuracy_drop",
        "Accuracy drop (percentage points)",
        f"error bars: {CONFIDENCE_BARS}",
        100,
        "",
        drop_references,
        error_bars=-1,
    ),
    "ratio": Chart(
        "compression_ratio",
        "Compression ratio",
        "size of the dense file / size of the sparse file",
        1,
        "x",
        ratio_references,
        from_zero=True,
    ),
}
X_AXES = {
    "sparsity_prunable": XAxis("sparsity_prunable", "Sparsity (prunable weights)", 100, " %"),
    "sparsity_weights": XAxis("sparsity_weights", "Sparsity (conv + linear weights)", 100, " %"),
    "sparsity_model": XAxis("sparsity_model", "Sparsity (all parameters)", 100, " %"),
    "epochs": XAxis("epochs", "Fine-tuning epochs", 1, budget=True),
    "seconds": XAxis("seconds", "Fine-tuning time", 1, " s", budget=True),
}
MAX_SPARSITY_LABELS = 16
BUDGET_LABEL_WIDTH = 14  # over a budget, labels also have the sparsity
MODELS = tuple(name for name in SERIES if name not in QUANTIZED)
PRINT_HEIGHT = 230  # of a plot in an image file, in pixels
PANEL_MARGIN = {"l": 64, "r": LABEL_WIDTH + 16, "t": 96, "b": 56, "pad": 0}
PANEL_SIZE = {"width": 1240, "height": 860, "margin": PANEL_MARGIN}


@dataclass(frozen=True)
class Plot:
    """One chart for an image file: its heading and its parts, on the axes x and y.

    `labels` is the width of the labels at its right edge in pixels, `height` that of the plot.
    """

    name: str
    title: str
    subtitle: str
    drawing: Drawing
    labels: int
    height: int = PRINT_HEIGHT


def comparison_chart(
    models: pd.DataFrame | list[Row],
    y: str,
    x: str = "sparsity_prunable",
    color_by: str = BY_STRATEGY,
) -> go.Figure:
    """One chart of the `models`. `y` is a key of CHARTS, `x` a key of X_AXES.

    The x range depends on `models` and `x` only, so it is equal in all four charts. `color_by` is
    `BY_STRATEGY` or `BY_RUN`. The legend of several runs is `legend_html`, once for all charts.
    """
    chart, rows = CHARTS[y], chart_rows(models)
    drawing = Drawing(layout(chart.title, _subtitle(rows, chart), _label_width(rows, x)))
    drawing.layout["uirevision"] = x  # keep the zoom when models are added, not when x changes
    _draw(drawing, rows, chart, X_AXES[x], Subplot(), color_by)
    return drawing.figure()


def legend_html(rows: list[Row], color_by: str = BY_STRATEGY) -> str:
    """The legend of all charts of a page, as a list in HTML: symbols of strategies, then runs.

    The symbols are those of a single run; with several, their colors or fills are the runs'.
    """
    several = several_runs(rows)
    by_run = several and color_by == BY_RUN
    items = [
        (_glyph(SERIES[name].glyph, GREY if by_run else SERIES[name].color), SERIES[name].title)
        for name in SERIES
        if any(row["strategy"] == name and not is_control(row) for row in rows)
    ]
    if any(row["strategy"] == BASELINE for row in rows):
        items.append((_dash("dash", GREY), "dense baseline"))
    if any(map(is_control, rows)):
        items.append((_dash("dot", GREY), CONTROL_TITLE))
    for run, name in enumerate(run_names(rows) if several else []):
        color = series_color("", run, BY_RUN) if by_run else GREY
        items.append(
            (_dash("solid" if by_run else DASHES[run % len(DASHES)], color), f"run {name}")
        )
    entries = "".join(f"<li>{handle} {html.escape(name)}</li>" for handle, name in items)
    return f'<ul class="legend" aria-label="Legend of the charts">{entries}</ul>'


def _glyph(glyph: str, color: str) -> str:
    return f'<span style="color:{color}" aria-hidden="true">{glyph}</span>'


def _dash(dash: str, color: str) -> str:
    """A short line with one of Plotly's dashes, as a background: pages allow no SVG in HTML."""
    stops, place = [], 0
    for i, length in enumerate(DASH_PIXELS[dash]):
        stops.append(f"{color if i % 2 == 0 else 'transparent'} {place}px {place + length}px")
        place += length
    style = (
        "display:inline-block;width:30px;height:3px;vertical-align:middle;"
        f"background:repeating-linear-gradient(to right,{','.join(stops)})"
    )
    return f'<span style="{style}" aria-hidden="true"></span>'


def comparison_panel(
    frame: pd.DataFrame, x: str = "sparsity_prunable", charts: Mapping[str, Chart] = CHARTS
) -> go.Figure:
    """The four charts as a 2 x 2 panel on white, for a file."""
    from plotly.subplots import make_subplots  # imported here: only files need it

    rows, drawing = chart_rows(frame), Drawing({**layout("Pruning comparison"), **PANEL_SIZE})
    for i, chart in enumerate(charts.values(), 1):
        subplot = Subplot(f"x{i}" if i > 1 else "x", f"y{i}" if i > 1 else "y", 280)
        _draw(drawing, rows, chart, X_AXES[x], subplot)
        _add_title(drawing, heading(chart.title, _subtitle(rows, chart)), subplot)
    if several_runs(rows):
        drawing.traces.extend(legend_entries(rows))
        drawing.layout.update(showlegend=True, legend=legend_below())
    grid = make_subplots(2, 2, horizontal_spacing=0.16, vertical_spacing=0.2)
    return on_white(drawing.add_to(grid))


def comparison_plots(
    frame: pd.DataFrame,
    x: str = "sparsity_prunable",
    charts: Mapping[str, Chart] = CHARTS,
    color_by: str = BY_STRATEGY,
) -> tuple[list[Plot], list[Part]]:
    """The charts for an image file, and the entries of their legend (empty for a single run)."""
    rows, plots = chart_rows(frame), []
    for name, chart in charts.items():
        drawing = Drawing({})
        _draw(drawing, rows, chart, X_AXES[x], Subplot(height=PRINT_HEIGHT), color_by)
        heading_lines = chart.title, _subtitle(rows, chart)
        plots.append(Plot(name, *heading_lines, drawing, _label_width(rows, x)))
    return plots, list(legend_entries(rows, color_by)) if several_runs(rows) else []


def _label_width(rows: list[Row], x: str) -> int:
    """The width of the labels at the right edge in pixels; several runs have a legend instead."""
    if several_runs(rows):
        return 16
    return LABEL_WIDTH + (BUDGET_LABEL_WIDTH if X_AXES[x].budget else 0)


def chart_rows(models: pd.DataFrame | list[Row]) -> list[Row]:
    """All rows but training-free corrections, which have a table.

    Four more markers at each sparsity would hide the strategies that the charts compare.
    """
    rows = rows_of(models) if isinstance(models, pd.DataFrame) else models
    return [row for row in rows if row["strategy"] != CORRECTION]


def _add_title(drawing: Drawing, text: str, subplot: Subplot) -> None:
    drawing.annotations.append(
        {
            "text": text,
            "x": 0,
            "xref": f"{subplot.xaxis} domain",
            "xanchor": "left",
            "y": 1,
            "yref": f"{subplot.yaxis} domain",
            "yanchor": "bottom",
            "yshift": 6,
            "align": "left",
            "showarrow": False,
            "font": {"size": 15},
        }
    )


def _subtitle(rows: list[Row], chart: Chart) -> str:
    """The subtitle of a chart: what its error bars and its thin lines are."""
    counts = {len({row["seed"] for row in run}) for run in grouped(rows, "run_id")}
    if counts <= {1}:
        return chart.subtitle
    seeds = "thin lines: seeds"
    if not chart.error_bars:
        return f"{chart.subtitle}; {seeds}"
    single = f" (one seed: {CONFIDENCE_BARS})" if 1 in counts else ""
    return f"error bars: standard deviation over seeds{single}; {seeds}"


def several_runs(rows: list[Row]) -> bool:
    """Whether the rows are those of more than one run."""
    return len({row["run_id"] for row in rows}) > 1


def _draw(
    drawing: Drawing,
    rows: list[Row],
    chart: Chart,
    x_axis: XAxis,
    subplot: Subplot,
    color_by: str = BY_STRATEGY,
) -> None:
    """Add axes, reference lines, series and labels of one chart."""
    series = all_series(rows, chart, x_axis, color_by if several_runs(rows) else BY_STRATEGY)
    references = _distinct(chart.references(rows))
    x_range, y_range = _x_range(rows, x_axis), _y_range(series, references, chart)
    drawing.layout[subplot.xaxis.replace("x", "xaxis")] = axis(
        x_axis.title, x_axis.suffix, range=x_range
    )
    drawing.layout[subplot.yaxis.replace("y", "yaxis")] = axis("", chart.suffix, range=y_range)
    for reference in references:
        add_reference_line(drawing, reference.value, GREY, reference.dash, subplot)
    traces = [line_trace(s) for s in series if has_line(s, x_axis)]
    traces += [marker_trace(s, chart) for s in series]
    for trace in traces or [_no_data(drawing, chart, subplot)]:
        drawing.traces.append({**trace, "xaxis": subplot.xaxis, "yaxis": subplot.yaxis})
    if x_axis.budget:
        _add_sparsities(drawing, series, (x_range, y_range), subplot)
    if not several_runs(rows):
        named = [s for s in series if s.kind != "seed" and s.strategy in SERIES]
        for s in named:
            add_leader_line(drawing, s.end, x_range[1], SERIES[s.strategy].color, subplot)
        labels = [end_label(s, x_axis) for s in named]
        labels += [Label(r.name, r.value) for r in references]
        add_end_labels(drawing, labels, y_range, subplot)


def _add_sparsities(
    drawing: Drawing,
    series: list[Series],
    ranges: tuple[tuple[float, float], tuple[float, float]],
    subplot: Subplot,
) -> None:
    """Write the target sparsity at each marker, if there are few enough.

    The int8 files of a model need no label: they have its x coordinate.
    """
    named = [s for s in series if s.kind != "seed" and s.strategy in MODELS]
    labels = [label for s in named for label in sparsity_labels(s)]
    if len(labels) <= MAX_SPARSITY_LABELS:
        add_marker_labels(drawing, labels, ranges, subplot)


def _no_data(drawing: Drawing, chart: Chart, subplot: Subplot) -> Part:
    """An empty trace, and a text that says so."""
    drawing.annotations.append(
        {
            "text": f"{chart.title}: no data",
            "x": 0.5,
            "xref": f"{subplot.xaxis} domain",
            "y": 0.5,
            "yref": f"{subplot.yaxis} domain",
            "showarrow": False,
        }
    )
    return {"type": "scatter", "mode": "none", "x": [None], "y": [None], "showlegend": False}


def _distinct(references: list[Reference]) -> list[Reference]:
    """Runs with the same baseline share one line."""
    return list({(r.name, round(r.value, 6)): r for r in references}.values())


def _x_range(rows: list[Row], x_axis: XAxis) -> tuple[float, float]:
    counted = (row for row in rows if not (x_axis.budget and row["strategy"] == BASELINE))
    known = [row[x_axis.column] for row in counted if not missing(row[x_axis.column])]
    largest = max(known, default=0.0) * x_axis.scale
    largest = largest if largest > 0 else 1.0
    return -0.03 * largest, 1.05 * largest


def _y_range(
    series: list[Series], references: list[Reference], chart: Chart
) -> tuple[float, float]:
    values = [reference.value for reference in references]
    for s in series:
        values += [row["py"] + _length(row["up"]) for row in s.rows]
        values += [row["py"] - _length(row["down"]) for row in s.rows]
    return value_range(values, chart.from_zero)


def _length(error_bar: float) -> float:
    return 0.0 if missing(error_bar) else error_bar
