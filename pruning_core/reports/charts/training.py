"""Charts that change while one looks: the schedule as sliders move, curves as they grow."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from pruning_core.common.formatting import format_percent, missing
from pruning_core.methods.strategies import STRATEGIES
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
    symbol,
    value_range,
)

GLYPHS = {look.color: look.glyph for look in SERIES.values()}
MOST_LABELS = 14
MOST_TICKS = 8
LEGEND_COLUMNS = 2
MOST_MARKERS = 30
CURVES = {
    "loss": ("Loss", 1.0, ""),
    "accuracy": ("Accuracy", 100.0, " %"),
}


def schedule_chart(series: Mapping[str, Sequence[float]]) -> go.Figure:
    """Target sparsity after each step, as moving sliders show it.

    `series` maps a strategy (or any other name) to fractions. `one_shot` and
    `one_shot_equal_budget` are amounts, each cut at once in step 1; others are a chain of steps.
    """
    steps = max((len(v) for name, v in series.items() if not _at_once(name)), default=1)
    drawn = Drawing(layout("Target sparsity after each step"))
    labels = []
    for i, (name, values) in enumerate(series.items()):
        if len(values):
            trace = _amounts(name, values) if _at_once(name) else _chain(name, values, i)
            drawn.traces.append(trace)
            labels.append(_schedule_label(name, values, i))
        for value in filter(None, values if _at_once(name) else ()):
            add_leader_line(drawn, (1, 100 * value), steps + 0.15, _colour(name, i), Subplot())
    ticks = max(1, -(-steps // 10))
    drawn.layout["xaxis"] = axis("step", range=(-0.15, steps + 0.15), dtick=ticks)
    drawn.layout["yaxis"] = axis("", " %", range=(-3, 103))
    add_end_labels(drawn, labels, (-3, 103), Subplot())
    return drawn.figure()


def training_curves(
    histories: Mapping[str, Sequence[Mapping[str, Any]]],
    y: str = "loss",
    strategies: Mapping[str, str] | None = None,
) -> go.Figure:
    """Curves over epochs. `histories` maps a label to entries with epoch, loss, accuracy.

    `strategies` may map a label to its strategy, whose color it then has. An entry may hold
    `stage`, which the hover then tells. Epochs without the figure are left out.
    """
    title, scale, suffix = CURVES[y]
    curves = [
        _curve(name, history, y, scale, _curve_look(name, i, strategies or {}))
        for i, (name, history) in enumerate(histories.items())
    ]
    crowded = len(curves) > MOST_LABELS
    drawn = Drawing(layout(title, right=16 if crowded else LABEL_WIDTH + 8), curves)
    y_range = value_range([v for curve in curves for v in curve["y"]], from_zero=y == "loss")
    last = max((curve["x"][-1] for curve in curves if curve["x"]), default=1)
    edge = last + max(0.25, 0.04 * last)
    drawn.layout["xaxis"] = axis("epoch", range=(0, edge), dtick=_step(last))
    drawn.layout["yaxis"] = axis("", suffix, range=y_range)
    if crowded:
        rows = -(-len(curves) // LEGEND_COLUMNS)
        below = {**drawn.layout["margin"], "b": 72 + 20 * rows}
        height = HEIGHT + 20 + 20 * rows
        drawn.layout.update(showlegend=True, legend=legend_below(), height=height, margin=below)
    else:
        _label_curves(drawn, [curve for curve in curves if curve["x"]], edge, y_range)
    return drawn.figure()


def _step(last: float) -> float:
    """A distance between ticks in whole epochs: 1, 2 or 5 times a power of ten, at most 8 ticks.

    Where not even one epoch is trained, a quarter of what is.
    """
    if last < 1:
        return last / 4
    size = 1
    while True:
        for step in (size, 2 * size, 5 * size):
            if last <= MOST_TICKS * step:
                return step
        size *= 10


def _label_curves(
    drawn: Drawing, curves: list[Part], edge: float, y_range: tuple[float, float]
) -> None:
    labels = []
    for curve in curves:
        end, color = (curve["x"][-1], curve["y"][-1]), curve["line"]["color"]
        add_leader_line(drawn, end, edge, color, Subplot())
        labels.append(Label(_short(curve["name"]), end[1], color, GLYPHS.get(color, "●")))
    add_end_labels(drawn, labels, y_range, Subplot())


def _at_once(name: str) -> bool:
    return name in ("one_shot", "one_shot_equal_budget")


def _colour(name: str, i: int) -> str:
    return SERIES[name].color if name in SERIES else OTHER_COLORS[i % len(OTHER_COLORS)]


def _schedule_label(name: str, values: Sequence[float], i: int) -> Label:
    text = _title(name).replace(", ", ",<br>")
    glyph = SERIES[name].glyph if name in SERIES else "●"
    return Label(text, 100 * max(values), _colour(name, i), glyph)


def _amounts(name: str, values: Sequence[float]) -> Part:
    look = SERIES[name]
    return {
        "type": "scatter",
        "x": [1] * len(values),
        "y": [100 * value for value in values],
        "mode": "markers",
        "name": name,
        "marker": {
            "color": look.color,
            "symbol": symbol(name, 0),
            "size": look.size,
            "line": {"width": 2, "color": look.color},
        },
        "hovertext": [f"{STRATEGIES[name].title}: {format_percent(v)} in one cut" for v in values],
        "hoverinfo": "text",
    }


def _chain(name: str, values: Sequence[float], i: int) -> Part:
    cuts = [0.0, *values]
    told = [f"{_title(name)}, step {n}: " for n in range(len(cuts))]
    return {
        "type": "scatter",
        "x": list(range(len(cuts))),
        "y": [100 * value for value in cuts],
        "mode": "lines+markers",
        "name": name,
        "line": {"color": _colour(name, i), "width": 3, "shape": "hv"},
        "marker": {
            "color": _colour(name, i),
            "opacity": 1,
            "symbol": symbol("iterative", 0),
            "size": [0, *[SERIES["iterative"].size] * len(values)],
            "line": {"width": 2, "color": _colour(name, i)},
        },
        "hovertext": [text + format_percent(v, 2) for text, v in zip(told, cuts, strict=True)],
        "hoverinfo": "text",
    }


def _curve_look(name: str, i: int, strategies: Mapping[str, str]) -> tuple[str, str, str]:
    """A strategy's color and symbol; the dash tells its curves apart."""
    strategy = strategies.get(name, "")
    if strategy == "baseline":
        return GREY, "solid", "circle"
    if strategy not in SERIES:
        return OTHER_COLORS[i % len(OTHER_COLORS)], "solid", "circle"
    same = [label for label in strategies if strategies[label] == strategy]
    look = SERIES[strategy]
    return look.color, DASHES[same.index(name) % len(DASHES)], look.symbol


def _curve(
    name: str,
    history: Sequence[Mapping[str, Any]],
    y: str,
    scale: float,
    look: tuple[str, str, str],
) -> Part:
    known = [entry for entry in history if not missing(entry.get(y))]
    return {
        "type": "scatter",
        "x": [entry["epoch"] for entry in known],
        "y": [scale * float(entry[y]) for entry in known],
        "mode": "lines+markers" if len(known) < MOST_MARKERS else "lines",
        "name": html.escape(name, quote=False),
        "line": {"color": look[0], "width": 2, "dash": look[1]},
        "marker": {"size": 5, "symbol": look[2]},
        "customdata": [html.escape(str(entry.get("stage", name)), quote=False) for entry in known],
        "hovertemplate": "%{customdata}<br>epoch %{x}: %{y:.4g}" + CURVES[y][2] + "<extra></extra>",
    }


def _short(name: str) -> str:
    """At most 16 characters of an escaped name, none of its entities cut."""
    plain = html.unescape(name)
    return html.escape(plain if len(plain) <= 16 else plain[:15] + "…", quote=False)


def _title(name: str) -> str:
    """The title of a strategy; the name itself of any other line."""
    return STRATEGIES[name].title if name in STRATEGIES else name
