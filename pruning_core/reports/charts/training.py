"""Training curves: loss or validation accuracy over epochs, while a run is training and after."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import Any

import plotly.graph_objects as go

from pruning_core.common.formatting import missing
from pruning_core.methods.strategies import BASELINE, CONTROL_TITLE
from pruning_core.reports.charts.drawing import Drawing, Part, add_end_labels, add_leader_line
from pruning_core.reports.charts.style import (
    DASHES,
    GREY,
    HEIGHT,
    LABEL_WIDTH,
    OTHER_COLORS,
    SERIES,
    Label,
    Subplot,
    axis,
    layout,
    legend_below,
    value_range,
)

GLYPHS = {strategy.color: strategy.glyph for strategy in SERIES.values()}
MAX_LABEL_LINES, LABEL_CHARACTERS = 15, 15
NO_BREAK_SPACE = "\N{NO-BREAK SPACE}"
MAX_TICKS = 8
MAX_MARKERS = 30
LEGEND_COLUMNS, LEGEND_ROW = 2, 20
# Title, scale and unit of what the epochs of a history hold.
CURVES = {
    "loss": ("Training loss", 1.0, ""),
    "accuracy": ("Validation accuracy", 100.0, " %"),
}


def training_curves(
    histories: Mapping[str, Sequence[Mapping[str, Any]]],
    y: str = "loss",
    strategies: Mapping[str, str] | None = None,
) -> go.Figure:
    """One curve per history. `histories` maps a label to epochs with `epoch`, `loss`, `accuracy`.

    `y` is a key of CURVES. `strategies` may map a label to its strategy, which gives the curve
    its color. An epoch may hold `stage`, a text for the hover. Epochs without the value are left
    out.
    """
    title, scale, suffix = CURVES[y]
    curves = [
        _curve(label, history, y, scale, suffix, _style(label, i, strategies or {}))
        for i, (label, history) in enumerate(histories.items())
    ]
    labels = [_end_label(curve) for curve in curves if curve["x"]]
    crowded = sum(1 + label.text.count("<br>") for label in labels) > MAX_LABEL_LINES
    drawing = Drawing(layout(title, right=16 if crowded else LABEL_WIDTH + 12), curves)
    y_range = value_range([v for curve in curves for v in curve["y"]], from_zero=y == "loss")
    last = max((curve["x"][-1] for curve in curves if curve["x"]), default=1)
    edge = last + max(0.25, 0.04 * last)
    drawing.layout["xaxis"] = axis("Epoch", range=(0, edge), dtick=_tick_distance(last))
    drawing.layout["yaxis"] = axis("", suffix, range=y_range)
    if crowded:
        legend_height = LEGEND_ROW * -(-len(curves) // LEGEND_COLUMNS)
        drawing.layout.update(
            showlegend=True,
            legend=legend_below(),
            height=HEIGHT + 20 + legend_height,
            margin={**drawing.layout["margin"], "b": 72 + legend_height},
        )
    else:
        for curve in filter(lambda curve: curve["x"], curves):
            end = curve["x"][-1], curve["y"][-1]
            add_leader_line(drawing, end, edge, curve["line"]["color"], Subplot())
        add_end_labels(drawing, labels, y_range, Subplot())
    return drawing.figure()


def _tick_distance(last: float) -> float:
    """A distance between ticks in whole epochs (1, 2 or 5 times a power of ten), at most 8 ticks.

    Less than one epoch is divided by four.
    """
    if last < 1:
        return last / 4
    power = 1
    while True:
        for distance in (power, 2 * power, 5 * power):
            if last <= MAX_TICKS * distance:
                return distance
        power *= 10


def _end_label(curve: Part) -> Label:
    """The name of a curve in at most two lines, with no HTML entity broken."""
    lines = wrap(
        html.unescape(curve["name"]).replace(" %", NO_BREAK_SPACE + "%"),
        LABEL_CHARACTERS,
        max_lines=2,
        placeholder="…",
        break_on_hyphens=False,
    )
    color = curve["line"]["color"]
    text = "<br>".join(html.escape(line, quote=False) for line in lines)
    text = text.replace(NO_BREAK_SPACE, " ")
    return Label(text, curve["y"][-1], color, GLYPHS.get(color, "●"))


def _style(label: str, i: int, strategies: Mapping[str, str]) -> tuple[str, str, str]:
    """Color, dash and symbol: strategies differ in color and symbol, their curves in dash.

    The baseline and the fine-tuned dense control, a one-shot model at 0 %, are grey.
    """
    strategy = strategies.get(label, "")
    if strategy == BASELINE:
        return GREY, "dash", "circle"
    if label == CONTROL_TITLE:
        return GREY, "dot", "circle"
    if strategy not in SERIES:
        return OTHER_COLORS[i % len(OTHER_COLORS)], "solid", "circle"
    same_strategy = [other for other in strategies if strategies[other] == strategy]
    dash = DASHES[same_strategy.index(label) % len(DASHES)]
    return SERIES[strategy].color, dash, SERIES[strategy].symbol


def _curve(
    label: str,
    history: Sequence[Mapping[str, Any]],
    y: str,
    scale: float,
    suffix: str,
    style: tuple[str, str, str],
) -> Part:
    color, dash, marker = style
    epochs = [epoch for epoch in history if not missing(epoch.get(y))]
    return {
        "type": "scatter",
        "x": [epoch["epoch"] for epoch in epochs],
        "y": [scale * float(epoch[y]) for epoch in epochs],
        "mode": "lines+markers" if len(epochs) < MAX_MARKERS else "lines",
        "name": html.escape(label, quote=False),
        "line": {"color": color, "width": 2, "dash": dash},
        "marker": {"size": 5, "symbol": marker},
        "customdata": [html.escape(str(e.get("stage", label)), quote=False) for e in epochs],
        "hovertemplate": "%{customdata}<br>epoch %{x}: %{y:.4g}" + suffix + "<extra></extra>",
    }
