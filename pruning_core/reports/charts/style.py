"""The style of all charts: colors, symbols, label positions, axes, layout and toolbar.

Figures set no text color and no background, so that the theme of the page does and one figure
is legible in light and dark. `on_white` sets both for files. Colors are those of Okabe and Ito
(2008, https://jfly.uni-koeln.de/color/), which color-blind people can tell apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from pruning_core.methods.strategies import STRATEGIES

# Strategies that are drawn, in drawing order: larger markers first, under the smaller ones.
SERIES = {name: strategy for name, strategy in STRATEGIES.items() if strategy.size}
GREY = "#808080"
OTHER_COLORS = ("#56B4E9", "#E69F00", "#CC79A7", "#009E73", "#D55E00", "#0072B2")
# Of runs, where the color is the run's: the same colors, those that stand out on white first.
RUN_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
BY_STRATEGY, BY_RUN = "strategy", "run"  # what the color of a series stands for
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
FILLS = ("-open", "-open-dot", "-cross-open", "-x-open", "")
# Plotly has no cross inside these shapes: they have four fills, and the fifth run another shape.
FILLS_WITHOUT_CROSS = {
    shape: (*(shape + fill for fill in ("-open", "-open-dot", "", "-dot")), fifth)
    for shape, fifth in (
        ("triangle-up", "triangle-down-open"),
        ("x", "hash-open"),
        ("cross", "star-open"),
        ("hexagon", "hexagon2-open"),
    )
}
# Of models that are no strategies: models on latency charts, kernels.
MODEL_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "star", "hexagon")
GRID = "rgba(128, 128, 128, 0.22)"
TRANSPARENT = "rgba(0, 0, 0, 0)"
FONT = "system-ui, -apple-system, 'Segoe UI', 'Liberation Sans', Arial, sans-serif"
HEIGHT = 340
TOP = 54
LABEL_WIDTH = 116
# All text of a chart has one size; its title is larger.
TEXT_SIZE, TITLE_SIZE = 12, 15
LINE_HEIGHT, SMALL_LINE = 15, 14
TICKS = [factor * 10.0**power for power in range(-3, 4) for factor in (1, 2, 5)]
LOGARITHMIC: dict[str, Any] = {
    "type": "log",
    "tickvals": TICKS,
    "ticktext": [f"{tick:g}" for tick in TICKS],
}
NEAR = 0.08  # labels of markers closer than this fraction of the x axis would overlap
EDGE = 0.84  # beyond this fraction of the x axis a label stands to the left of its marker


@dataclass(frozen=True)
class Label:
    """Text at the right edge of the plot, for the line that ends at height `y`."""

    text: str
    y: float
    color: str = GREY
    glyph: str = ""


@dataclass(frozen=True)
class MarkerLabel:
    """Text at a marker: above it (`up` 1), beside it (0) or below it (-1)."""

    text: str
    x: float
    y: float
    color: str
    up: int = 0


@dataclass(frozen=True)
class Subplot:
    """The axes of one plot within a figure, and its height in pixels."""

    xaxis: str = "x"
    yaxis: str = "y"
    height: float = HEIGHT - TOP - 52


def symbol(strategy: str, run: int) -> str:
    """The Plotly symbol: strategies differ in shape, runs (number `run`) in fill."""
    shape, filled = SERIES[strategy].symbol, SERIES[strategy].filled
    if symbols := FILLS_WITHOUT_CROSS.get(shape):
        return symbols[run % len(symbols)]
    fills = ("", *FILLS[:-1]) if filled else FILLS
    return shape + fills[run % len(fills)]


def series_color(strategy: str, run: int, color_by: str = BY_STRATEGY) -> str:
    """The color of a strategy, or of run number `run`."""
    if color_by == BY_RUN:
        return RUN_COLORS[run % len(RUN_COLORS)]
    return SERIES[strategy].color


def series_symbol(strategy: str, run: int, color_by: str = BY_STRATEGY) -> str:
    """The Plotly symbol of a strategy; its fill is the run's, unless the color is."""
    return symbol(strategy, run // len(RUN_COLORS) if color_by == BY_RUN else run)


def series_dash(strategy: str, run: int, color_by: str = BY_STRATEGY) -> str:
    """The dash of a line: the run's, or the strategy's where the color is the run's."""
    if color_by == BY_STRATEGY:
        return DASHES[run % len(DASHES)]
    lines = [name for name, one in SERIES.items() if one.width]
    return DASHES[lines.index(strategy) % len(DASHES)]


def separate_labels(targets: Sequence[float], sizes: Sequence[float], space: float) -> list[float]:
    """Positions near the ascending `targets` at which labels do not overlap.

    All values are in pixels. A label of size s covers s/2 on both sides of its position. Labels
    stay within 0 to `space` if they all fit.
    """
    # The first pass pushes labels up just far enough. The second pass pushes the stack back
    # from the far end, so that only labels without room move.
    positions: list[float] = []
    lower = 0.0
    for target, size in zip(targets, sizes, strict=True):
        positions.append(max(target, lower + size / 2))
        lower = positions[-1] + size / 2
    upper = max(space, sum(sizes))
    for i in reversed(range(len(positions))):
        positions[i] = min(positions[i], upper - sizes[i] / 2)
        upper = positions[i] - sizes[i] / 2
    return positions


def value_range(values: Sequence[float], from_zero: bool = False) -> tuple[float, float]:
    """An axis range around the values, with a margin of 6 % at both ends."""
    low, high = (min(values), max(values)) if len(values) else (0.0, 1.0)
    low = min(low, 0.0) if from_zero else low
    margin = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    return low - margin, high + margin


def axis(title: str = "", suffix: str = "", **settings: Any) -> dict[str, Any]:
    """An axis with a faint grid and its unit at each tick."""
    return {
        "title": {"text": title, "standoff": 10, "font": {"size": TEXT_SIZE}},
        "ticksuffix": suffix,
        "tickfont": {"size": TEXT_SIZE},
        "gridcolor": GRID,
        "zeroline": False,
        "showgrid": True,
        "automargin": True,
        "nticks": 7,
        **settings,
    }


def interval_bars(rows: pd.DataFrame, columns: tuple[str, str, str], color: str) -> dict[str, Any]:
    """Error bars from the columns of the middle, the low and the high value."""
    middle, low, high = (rows[name] for name in columns)
    return {
        "type": "data",
        "symmetric": False,
        "array": high - middle,
        "arrayminus": middle - low,
        "color": color,
        "thickness": 2,
    }


def heading(title: str, subtitle: str = "") -> str:
    """A bold title with a smaller line below."""
    second_line = f'<br><span style="font-size: {TEXT_SIZE}px; font-weight: 400">{subtitle}</span>'
    return f"<b>{title}</b>" + (second_line if subtitle else "")


def layout(title: str, subtitle: str = "", right: int = LABEL_WIDTH) -> dict[str, Any]:
    """The layout of every figure. `right` is the margin for labels, in pixels."""
    corner = {"x": 0, "xanchor": "left", "xref": "container", "y": 1, "yanchor": "top"}
    return {
        "title": {
            "text": heading(title, subtitle),
            "font": {"size": TITLE_SIZE},
            "yref": "container",
            "pad": {"t": 19 if subtitle else 8, "l": 4},  # two lines are centred on the first
            **corner,
        },
        "height": HEIGHT,
        "margin": {"l": 64, "r": right, "t": TOP, "b": 52, "pad": 0},
        "font": {"size": TEXT_SIZE},
        "plot_bgcolor": TRANSPARENT,
        "hovermode": "closest",
        "hoverlabel": {"align": "left"},
        "showlegend": False,
        "uirevision": "keep",  # a live chart keeps its zoom when data are added
    }


def compact_layout(figure: go.Figure, height: int) -> None:
    """The layout of a chart that has its heading on the page, with labels on both axes."""
    figure.update_layout(
        height=height,
        margin={"l": 8, "r": 16, "t": 28, "b": 40},
        font={"size": TEXT_SIZE},
        plot_bgcolor=TRANSPARENT,
        showlegend=False,
        bargap=0.05,
    )
    figure.update_xaxes(gridcolor=GRID, zeroline=False, automargin=True)
    figure.update_yaxes(gridcolor=GRID, zeroline=False, automargin=True)


def legend_below() -> dict[str, Any]:
    """A legend below the plot, for charts with too many lines to label each."""
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
        "font": {"size": TEXT_SIZE},
    }


def on_white(figure: go.Figure) -> go.Figure:
    """A copy for files: dark text on white, whatever the theme of the page."""
    copy = go.Figure(figure)
    copy.update_layout(template="none", paper_bgcolor="white", plot_bgcolor="white")
    copy.update_layout(font={"color": "#222222", "family": FONT})
    return copy


def chart_config(name: str, image_format: str = "png") -> dict[str, Any]:
    """Plotly's configuration: a toolbar that saves the image as `name` and resets the zoom.

    Plotly's button saves one format, `png` or `svg`; a page that offers both passes the chosen
    one. No button sends data to the internet.
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
