"""The sparsity schedule: target sparsity per pruning step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from pruning_core.common.formatting import format_percent
from pruning_core.methods.strategies import ITERATIVE, STRATEGIES
from pruning_core.reports.charts.drawing import Drawing, Part, add_end_labels, add_leader_line
from pruning_core.reports.charts.style import (
    OTHER_COLORS,
    SERIES,
    Label,
    Subplot,
    axis,
    layout,
    symbol,
)

Y_RANGE = (-3.0, 103.0)
MARGIN = 0.15  # of a step, at both ends of the x axis
MAX_TICKS = 10


def schedule_chart(series: Mapping[str, Sequence[float]]) -> go.Figure:
    """Target sparsity after each pruning step.

    `series` maps a strategy (or any other name) to sparsities, fractions from 0 to 1. Those of a
    strategy without steps are independent models, pruned in step 1; those of any other name are
    the steps of one schedule.
    """
    steps = max((len(v) for name, v in series.items() if not _one_step(name)), default=1)
    drawing, labels = Drawing(layout("Target sparsity per pruning step")), []
    for i, (name, sparsities) in enumerate(series.items()):
        if len(sparsities):
            trace = _markers if _one_step(name) else _staircase
            drawing.traces.append(trace(name, sparsities, i))
            labels.append(_label(name, sparsities, i))
        for sparsity in filter(None, sparsities if _one_step(name) else ()):
            edge, color = steps + MARGIN, _color(name, i)
            add_leader_line(drawing, (1, 100 * sparsity), edge, color, Subplot())
    dtick = max(1, -(-steps // MAX_TICKS))
    drawing.layout["xaxis"] = axis("Pruning step", range=(-MARGIN, steps + MARGIN), dtick=dtick)
    drawing.layout["yaxis"] = axis("", " %", range=Y_RANGE)
    add_end_labels(drawing, labels, Y_RANGE, Subplot())
    return drawing.figure()


def _one_step(name: str) -> bool:
    return name in STRATEGIES and not STRATEGIES[name].has_steps


def _color(name: str, i: int) -> str:
    return SERIES[name].color if name in SERIES else OTHER_COLORS[i % len(OTHER_COLORS)]


def _title(name: str) -> str:
    """The title of a strategy; any other name as it is."""
    return STRATEGIES[name].title if name in STRATEGIES else name


def _label(name: str, sparsities: Sequence[float], i: int) -> Label:
    text = _title(name).replace(", ", ",<br>")
    glyph = SERIES[name].glyph if name in SERIES else "●"
    return Label(text, 100 * max(sparsities), _color(name, i), glyph)


def _markers(name: str, sparsities: Sequence[float], i: int) -> Part:
    """A marker at step 1 for each sparsity."""
    title, color = _title(name), _color(name, i)
    return {
        "type": "scatter",
        "x": [1] * len(sparsities),
        "y": [100 * sparsity for sparsity in sparsities],
        "mode": "markers",
        "name": name,
        "marker": {
            "color": color,
            "symbol": symbol(name, 0),
            "size": SERIES[name].size,
            "line": {"width": 2, "color": color},
        },
        "hovertext": [f"{title}: {format_percent(value)} in one step" for value in sparsities],
        "hoverinfo": "text",
    }


def _staircase(name: str, sparsities: Sequence[float], i: int) -> Part:
    """The steps of one schedule, from 0 % at step 0."""
    title, color = _title(name), _color(name, i)
    values = [0.0, *sparsities]
    return {
        "type": "scatter",
        "x": list(range(len(values))),
        "y": [100 * value for value in values],
        "mode": "lines+markers",
        "name": name,
        "line": {"color": color, "width": 3, "shape": "hv"},
        "marker": {
            "color": color,
            "opacity": 1,
            "symbol": symbol(ITERATIVE, 0),
            "size": [0, *[SERIES[ITERATIVE].size] * len(sparsities)],
            "line": {"width": 2, "color": color},
        },
        "hovertext": [
            f"{title}, step {step}: {format_percent(value, 2)}" for step, value in enumerate(values)
        ],
        "hoverinfo": "text",
    }
