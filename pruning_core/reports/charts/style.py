"""How charts look: colours, symbols, labels at the line, and the chart's own buttons.

Text colours and the background are left to the theme that shows the figure, so that one
figure is legible in light and dark; `on_white` fixes them for files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from pruning_core.methods.strategies import STRATEGIES

# Strategies that are drawn, in the order in which they are drawn.
SERIES = {name: strategy for name, strategy in STRATEGIES.items() if strategy.size}
GREY = "#808080"
OTHER_COLORS = ("#56B4E9", "#E69F00", "#CC79A7", "#009E73", "#D55E00", "#0072B2")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
FILLS = ("-open", "-open-dot", "-cross-open", "-x-open", "")
# Plotly has no cross inside these shapes: four fills of theirs, and another shape for a fifth run.
FILLS_WITHOUT_CROSS = {
    shape: (*(shape + fill for fill in ("-open", "-open-dot", "", "-dot")), fifth)
    for shape, fifth in (
        ("triangle-up", "triangle-down-open"),
        ("x", "hash-open"),
        ("cross", "star-open"),
    )
}
GRID = "rgba(128, 128, 128, 0.22)"
TRANSPARENT = "rgba(0, 0, 0, 0)"
FONT = "system-ui, -apple-system, 'Segoe UI', 'Liberation Sans', Arial, sans-serif"
HEIGHT = 340
TOP = 54
LABEL_WIDTH = 116
LINE_HEIGHT, SMALL_LINE = 15, 12
NEAR = 0.08  # points closer than this share of the x axis would write over each other
EDGE = 0.84  # past this share of the x axis a label stands to the left of its point


@dataclass(frozen=True)
class Label:
    """Text beside the right end of the plot, for the line that ends at height `y`."""

    text: str
    y: float
    colour: str = GREY
    glyph: str = ""


@dataclass(frozen=True)
class MarkerLabel:
    """Text beside a point of the plot, above it (`up` 1), beside it (0) or below it (-1)."""

    text: str
    x: float
    y: float
    colour: str
    up: int = 0


@dataclass(frozen=True)
class Subplot:
    """The axes of one plot within a figure, and the height of the plot in pixels."""

    xaxis: str = "x"
    yaxis: str = "y"
    height: float = HEIGHT - TOP - 52


def symbol(strategy: str, run: int) -> str:
    """The marker of a strategy in the run number `run`: the shape is the strategy's."""
    shape = SERIES[strategy].symbol
    if own := FILLS_WITHOUT_CROSS.get(shape):
        return own[run % len(own)]
    fills = FILLS if strategy != "one_shot" else ("", *FILLS[:-1])
    return shape + fills[run % len(fills)]


def separate_labels(wanted: Sequence[float], sizes: Sequence[float], space: float) -> list[float]:
    """Positions near the `wanted` ones (ascending) at which labels do not overlap.

    All are in pixels; a label of size s takes s/2 on both sides. They stay within
    0 to `space` where there is room for all.
    """
    places: list[float] = []
    floor = 0.0
    for want, size in zip(wanted, sizes, strict=True):
        places.append(max(want, floor + size / 2))
        floor = places[-1] + size / 2
    ceiling = max(space, sum(sizes))
    for i in reversed(range(len(places))):
        places[i] = min(places[i], ceiling - sizes[i] / 2)
        ceiling = places[i] - sizes[i] / 2
    return places


def value_range(values: Sequence[float], from_zero: bool = False) -> tuple[float, float]:
    """An axis range round the values, with room at both ends."""
    low, high = (min(values), max(values)) if len(values) else (0.0, 1.0)
    low = min(low, 0.0) if from_zero else low
    room = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    return low - room, high + room


def axis(title: str = "", suffix: str = "", **settings: Any) -> dict[str, Any]:
    """An axis with a quiet grid; the unit stands at each number."""
    return {
        "title": {"text": title, "standoff": 10, "font": {"size": 12}},
        "ticksuffix": suffix,
        "tickfont": {"size": 12},
        "gridcolor": GRID,
        "zeroline": False,
        "showgrid": True,
        "automargin": True,
        "nticks": 7,
        **settings,
    }


def heading(title: str, subtitle: str = "") -> str:
    """A bold title, and under it a smaller line."""
    small = f'<br><span style="font-size: 12px; font-weight: 400">{subtitle}</span>'
    return f"<b>{title}</b>" + (small if subtitle else "")


def layout(title: str, subtitle: str = "", right: int = LABEL_WIDTH) -> dict[str, Any]:
    """What all figures share. `right` is the width kept for labels, in pixels."""
    corner = {"x": 0, "xanchor": "left", "xref": "container", "y": 1, "yanchor": "top"}
    return {
        "title": {
            "text": heading(title, subtitle),
            "font": {"size": 15},
            "yref": "container",
            "pad": {"t": 19 if subtitle else 8, "l": 4},  # two lines are centred on the first
            **corner,
        },
        "height": HEIGHT,
        "margin": {"l": 64, "r": right, "t": TOP, "b": 52, "pad": 0},
        "font": {"size": 13},
        "plot_bgcolor": TRANSPARENT,
        "hovermode": "closest",
        "hoverlabel": {"align": "left"},
        "showlegend": False,
        "uirevision": "keep",  # a live chart keeps its zoom when its data grow
    }


def legend_below() -> dict[str, Any]:
    """Names in a row under the plot, for charts with too many lines to label."""
    return {
        "orientation": "h",
        "x": 0,
        "xref": "container",
        "xanchor": "left",
        "y": 0,
        "yref": "container",
        "yanchor": "bottom",
        "itemclick": False,
        "itemdoubleclick": False,
        "font": {"size": 12},
    }


def on_white(figure: go.Figure) -> go.Figure:
    """A copy for files: dark text on white, whatever theme shows the page."""
    copy = go.Figure(figure)
    copy.update_layout(template="none", paper_bgcolor="white", plot_bgcolor="white")
    copy.update_layout(font={"color": "#222222", "family": FONT})
    return copy


def chart_config(name: str, image_format: str = "png") -> dict[str, Any]:
    """The chart's own buttons: save the image (`png` or `svg`) and reset the zoom.

    Plotly's button saves one format; a page that offers both passes the chosen one.
    Nothing here reaches the internet.
    """
    unused = ["zoom2d", "pan2d", "select2d", "lasso2d", "zoomIn2d", "zoomOut2d", "autoScale2d"]
    return {
        "displaylogo": False,
        "showSendToCloud": False,
        "displayModeBar": True,
        "responsive": True,
        "modeBarButtonsToRemove": unused,
        "toImageButtonOptions": {"format": image_format, "filename": name, "scale": 2},
    }
