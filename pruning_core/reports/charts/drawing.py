"""A figure while it is drawn: its parts as plain values, with labels and lines put to them.

Plotly checks the whole of a figure at each addition. The parts are gathered here and checked
once, when the figure is made of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import plotly.graph_objects as go

from pruning_core.reports.charts.style import (
    EDGE,
    LINE_HEIGHT,
    NEAR,
    SMALL_LINE,
    Label,
    MarkerLabel,
    Subplot,
    separate_labels,
)

Part = dict[str, Any]


@dataclass(frozen=True)
class Drawing:
    """The parts of a figure, in Plotly's own terms."""

    layout: Part
    traces: list[Part] = field(default_factory=list)
    shapes: list[Part] = field(default_factory=list)
    annotations: list[Part] = field(default_factory=list)

    def figure(self) -> go.Figure:
        """The figure of these parts. Raises ValueError where Plotly does not know one."""
        return go.Figure(self.traces, self._layout())

    def put_on(self, base: go.Figure) -> go.Figure:
        """The same on a figure whose axes have their places already."""
        return base.update_layout(self._layout()).add_traces(self.traces)

    def _layout(self) -> Part:
        return {**self.layout, "shapes": self.shapes, "annotations": self.annotations}


def add_end_labels(
    drawn: Drawing, labels: Sequence[Label], y_range: tuple[float, float], cell: Subplot
) -> None:
    """Write each label at its line, moved up or down where two would overlap."""
    low, high = y_range
    scale = cell.height / (high - low)
    ordered = sorted(labels, key=lambda label: -label.y)
    wanted = [(high - label.y) * scale for label in ordered]
    sizes = [LINE_HEIGHT * (1 + label.text.count("<br>")) for label in ordered]
    for label, want, place in zip(
        ordered, wanted, separate_labels(wanted, sizes, cell.height), strict=True
    ):
        drawn.annotations.append(_annotation(label, place - want, cell))


def _annotation(label: Label, shift: float, cell: Subplot) -> Part:
    glyph = f'<span style="color:{label.colour}">{label.glyph}</span> ' if label.glyph else ""
    return {
        "text": glyph + label.text,
        "x": 1,
        "xref": f"{cell.xaxis} domain",
        "y": label.y,
        "yref": cell.yaxis,
        "ax": 12,
        "ay": shift,
        "xanchor": "left",
        "align": "left",
        "showarrow": True,
        "arrowhead": 0,
        "arrowwidth": 1.2,
        "arrowcolor": label.colour,
        "font": {"size": 12},
    }


def add_marker_labels(
    drawn: Drawing,
    labels: Sequence[MarkerLabel],
    ranges: tuple[tuple[float, float], tuple[float, float]],
    cell: Subplot,
) -> None:
    """Write each label beside its point; those of neighbours stand over each other in a column.

    Points on a line have theirs to the right of it, others to the left, where there is room.
    """
    (left, right), (low, high) = ranges
    scale, near = cell.height / (high - low), NEAR * (right - left)
    lines = _columns([label for label in labels if label.up], near)
    for column in [*lines, *_columns([label for label in labels if not label.up], near)]:
        ordered = sorted(column, key=lambda label: -label.y)
        heights = [(high - label.y) * scale for label in ordered]
        wanted = [height - SMALL_LINE * ordered[0].up for height in heights]
        places = separate_labels(wanted, [SMALL_LINE] * len(ordered), cell.height)
        edge = EDGE if ordered[0].up else 1 - EDGE
        side = -1 if max(label.x for label in column) > left + edge * (right - left) else 1
        for label, height, place in zip(ordered, heights, places, strict=True):
            drawn.annotations.append(_beside(label, 16 * side, place - height, cell))


def _columns(labels: Sequence[MarkerLabel], near: float) -> list[list[MarkerLabel]]:
    """The labels from left to right, each group no wider than `near`."""
    columns: list[list[MarkerLabel]] = []
    for label in sorted(labels, key=lambda label: label.x):
        if columns and label.x - columns[-1][0].x < near:
            columns[-1].append(label)
        else:
            columns.append([label])
    return columns


def _beside(label: MarkerLabel, across: float, up: float, cell: Subplot) -> Part:
    return {
        "text": label.text,
        "x": label.x,
        "xref": cell.xaxis,
        "y": label.y,
        "yref": cell.yaxis,
        "ax": across,
        "ay": up,
        "xanchor": "left" if across > 0 else "right",
        "showarrow": True,
        "arrowhead": 0,
        "arrowwidth": 1,
        "arrowcolor": label.colour,
        "standoff": 5,
        "font": {"size": 10},
    }


def add_leader_line(
    drawn: Drawing, point: tuple[float, float], edge: float, colour: str, cell: Subplot
) -> None:
    """A dotted line from the last point of a series to its label at the right edge."""
    drawn.shapes.append(
        {
            "type": "line",
            "x0": point[0],
            "x1": edge,
            "xref": cell.xaxis,
            "y0": point[1],
            "y1": point[1],
            "yref": cell.yaxis,
            "line": {"color": colour, "dash": "dot", "width": 1},
            "opacity": 0.6,
            "layer": "below",
        }
    )
