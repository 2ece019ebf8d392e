"""Accuracy against size with the goal: what is allowed, the chosen model, the dense baseline."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean

import plotly.graph_objects as go

from pruning_core.common.formatting import format_count
from pruning_core.methods.strategies import BASELINE, CORRECTION
from pruning_core.reports.charts.drawing import Drawing, Part
from pruning_core.reports.charts.hover import hover_text
from pruning_core.reports.charts.style import (
    BY_STRATEGY,
    GREY,
    SERIES,
    TEXT_SIZE,
    axis,
    layout,
    series_color,
    series_symbol,
    value_range,
)
from pruning_core.results.rows import Row, grouped
from pruning_core.results.verdict import MET, Verdict

ALLOWED = "rgba(0, 158, 115, 0.14)"
EDGE = "#009E73"
HEIGHT = 300
LEAST_DEPTH = 0.05  # of the plot below the baseline, a fraction: 5 points
DEPTHS = 6  # how many times the allowed drop the plot reaches down
HEADROOM = 0.1  # of the y axis, for the name of the baseline
FALLBACK = "circle-open"  # the symbol of a model that has none on the charts


def verdict_chart(
    verdict: Verdict, color_by: str = BY_STRATEGY, runs: Mapping[str, int] | None = None
) -> go.Figure:
    """The candidates of a verdict: validation accuracy against the size of the sparse file.

    A bar goes down to the 95 % bound of the drop, so a model meets the goal if its bar ends in the
    shaded part. Where runs have different baselines, the axis is the change against the baseline
    of the run. `runs` are the numbers of the runs, for their colors. Models far below are left out
    and counted by `chart_caption`, because the band would be too thin to see.
    """
    zero, absolute = _zero(verdict)
    lowest = zero - _depth(verdict)
    models = _drawn(verdict, zero, lowest)
    title = "Validation accuracy" if absolute else "Change of validation accuracy (points)"
    drawing = Drawing({**layout(title, right=16), "height": HEIGHT})
    sizes = [row["sparse_bytes"] / 1e6 for row in (*verdict.models, *verdict.baselines)]
    limit = verdict.goal.max_bytes
    widest = 1.08 * max([*sizes, (limit or 0) / 1e6, 1e-3])
    ends = [100 * max(lowest, zero - row["drop_bound"]) for row in models]
    tops = [100 * (zero - row["validation_drop"]) for row in models]
    low, high = value_range([100 * zero, *ends, *tops, *_edges(verdict, zero)])
    y_range = low, high + HEADROOM * (high - low)
    drawing.layout["xaxis"] = axis("Size of the sparse file", " MB", range=(0, widest))
    drawing.layout["yaxis"] = axis("", " %" if absolute else "", range=y_range)
    _shade(drawing, verdict, zero, (widest, y_range))
    numbers = runs or {}
    for group in grouped(models, "run_id", "strategy"):
        drawing.traces.append(_markers(group, zero, lowest, numbers, color_by))
    _add_baseline(drawing, verdict, zero)
    ringed = next((row for row in models if row["key"] == verdict.key), None)
    if ringed:
        _add_ring(drawing, ringed, zero, verdict.kind == MET)
    return drawing.figure()


def chart_caption(verdict: Verdict) -> str:
    """What stands on the chart, and how many models do not."""
    zero, _ = _zero(verdict)
    drawn = _drawn(verdict, zero, zero - _depth(verdict))
    parts = ["Shaded: what the goal allows"] if verdict.goal.text else []
    if any(row["key"] == verdict.key for row in drawn):
        parts.append(f"ring: the {'best' if verdict.kind == MET else 'nearest'} model")
    parts.append("bars: down to the 95 % bound of the drop")
    if any(row["strategy"] == CORRECTION for row in drawn):
        parts.append("grey: training-free correction")
    if below := len(verdict.models) - len(drawn):
        parts.append(f"{format_count(below, 'model')} with larger drops not drawn")
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}."


def _drawn(verdict: Verdict, zero: float, lowest: float) -> list[Row]:
    """The models that are not below the plot."""
    return [row for row in verdict.models if zero - row["validation_drop"] >= lowest]


def _zero(verdict: Verdict) -> tuple[float, bool]:
    """The accuracy of the baseline, and whether it is one for all runs; else 0 and False."""
    accuracies = [row["validation_accuracy"] for row in verdict.baselines]
    one = bool(accuracies) and max(accuracies) - min(accuracies) < 1e-9
    return (fmean(accuracies), True) if one else (0.0, False)


def _depth(verdict: Verdict) -> float:
    """How far below the baseline the plot reaches, as a fraction."""
    allowed = DEPTHS * (verdict.goal.max_drop or 0.0)
    named = [row["drop_bound"] for row in verdict.models if row["key"] == verdict.key]
    return float(max([LEAST_DEPTH, allowed, *(1.2 * bound for bound in named)]))


def _edges(verdict: Verdict, zero: float) -> list[float]:
    drop = verdict.goal.max_drop
    return [] if drop is None else [100 * (zero - drop)]


def _shade(
    drawing: Drawing, verdict: Verdict, zero: float, ends: tuple[float, tuple[float, float]]
) -> None:
    """Shade what the goal allows, with a line at each limit."""
    widest, (low, high) = ends
    goal = verdict.goal
    if not goal.text:
        return
    right = widest if goal.max_bytes is None else goal.max_bytes / 1e6
    bottom = low if goal.max_drop is None else 100 * (zero - goal.max_drop)
    corners = {"x0": 0, "x1": right, "y0": bottom, "y1": high}
    drawing.shapes.append(
        {"type": "rect", **corners, "fillcolor": ALLOWED, "line": {"width": 0}, "layer": "below"}
    )
    line = {"type": "line", "line": {"color": EDGE, "width": 1.5, "dash": "dash"}, "layer": "below"}
    if goal.max_drop is not None:
        drawing.shapes.append({**line, "x0": 0, "x1": right, "y0": bottom, "y1": bottom})
    if goal.max_bytes is not None:
        drawing.shapes.append({**line, "x0": right, "x1": right, "y0": bottom, "y1": high})


def _markers(
    rows: list[Row], zero: float, lowest: float, runs: Mapping[str, int], color_by: str
) -> Part:
    """The models of one strategy and run, each with a bar down to the bound of its drop."""
    strategy, run = rows[0]["strategy"], runs.get(rows[0]["run_id"], 0)
    drawn = SERIES.get(strategy)
    color = series_color(strategy, run, color_by) if drawn else GREY
    accuracies = [zero - row["validation_drop"] for row in rows]
    ends = [max(lowest, zero - row["drop_bound"]) for row in rows]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": strategy,
        "x": [row["sparse_bytes"] / 1e6 for row in rows],
        "y": [100 * accuracy for accuracy in accuracies],
        "error_y": {
            "array": [0] * len(rows),
            "arrayminus": [100 * (a - end) for a, end in zip(accuracies, ends, strict=True)],
            "color": color,
            "thickness": 1,
            "width": 3,
        },
        "marker": {
            "color": color,
            "symbol": series_symbol(strategy, run, color_by) if drawn else FALLBACK,
            "size": min(drawn.size, 12) if drawn else 7,
            "line": {"width": 2, "color": color},
        },
        "hovertext": [hover_text(row) for row in rows],
        "hoverinfo": "text",
        "showlegend": False,
        "opacity": 0.55 if strategy == CORRECTION else 1,
    }


def _add_baseline(drawing: Drawing, verdict: Verdict, zero: float) -> None:
    """The dense baseline: one marker, or one for each size that baselines have."""
    baselines = {round(row["sparse_bytes"]): row for row in verdict.baselines}
    if not baselines:
        return
    rows = list(baselines.values())
    drawing.traces.append(
        {
            "type": "scatter",
            "mode": "markers",
            "name": BASELINE,
            "x": [row["sparse_bytes"] / 1e6 for row in rows],
            "y": [100 * zero] * len(rows),
            "marker": {"color": GREY, "symbol": "circle", "size": 10},
            "hovertext": [hover_text(row) for row in rows],
            "hoverinfo": "text",
            "showlegend": False,
        }
    )
    largest = max(row["sparse_bytes"] for row in rows)
    drawing.annotations.append(
        {
            "text": "dense baseline",
            "x": largest / 1e6,
            "y": 100 * zero,
            "yshift": 14,
            "xanchor": "right",
            "showarrow": False,
            "font": {"size": TEXT_SIZE},
        }
    )


def _add_ring(drawing: Drawing, row: Row, zero: float, met: bool) -> None:
    """A ring around the chosen model, grey where it is only the nearest one."""
    x, y = row["sparse_bytes"] / 1e6, 100 * (zero - row["validation_drop"])
    ring = {"symbol": "circle-open", "size": 24, "line": {"width": 3}}
    drawing.traces.append(
        {
            "type": "scatter",
            "mode": "markers",
            "name": "ring",
            "x": [x],
            "y": [y],
            "marker": {**ring, "color": EDGE if met else GREY},
            "hoverinfo": "skip",
            "showlegend": False,
        }
    )
