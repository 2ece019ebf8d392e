"""Building a figure from plain values: traces, lines, and labels that do not overlap.

Plotly validates a whole figure at each addition. A `Drawing` collects all parts first, so that
Plotly validates them once.
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
    TEXT_SIZE,
    Label,
    MarkerLabel,
    Subplot,
    separate_labels,
)

Part = dict[str, Any]


@dataclass(frozen=True)
class Drawing:
    """The layout, traces, shapes and annotations of a figure, as Plotly's JSON."""

    layout: Part
    traces: list[Part] = field(default_factory=list)
    shapes: list[Part] = field(default_factory=list)
    annotations: list[Part] = field(default_factory=list)

    def figure(self) -> go.Figure:
        """A new figure. Raises `ValueError` for a part that Plotly does not know."""
        return go.Figure(self.traces, self._layout())

    def add_to(self, base: go.Figure) -> go.Figure:
        """Add all parts to a figure that has the axes of its subplots."""
        return base.update_layout(self._layout()).add_traces(self.traces)

    def _layout(self) -> Part:
        return {**self.layout, "shapes": self.shapes, "annotations": self.annotations}


def add_end_labels(
    drawing: Drawing, labels: Sequence[Label], y_range: tuple[float, float], subplot: Subplot
) -> None:
    """Write each label at the end of its line, moved up or down where two would overlap."""
    low, high = y_range
    scale = subplot.height / (high - low)
    ordered = sorted(labels, key=lambda label: -label.y)
    targets = [(high - label.y) * scale for label in ordered]
    sizes = [LINE_HEIGHT * (1 + label.text.count("<br>")) for label in ordered]
    positions = separate_labels(targets, sizes, subplot.height)
    for label, target, position in zip(ordered, targets, positions, strict=True):
        drawing.annotations.append(_end_annotation(label, position - target, subplot))


def _end_annotation(label: Label, shift: float, subplot: Subplot) -> Part:
    glyph = f'<span style="color:{label.color}">{label.glyph}</span> ' if label.glyph else ""
    return {
        "text": glyph + label.text,
        "x": 1,
        "xref": f"{subplot.xaxis} domain",
        "y": label.y,
        "yref": subplot.yaxis,
        "ax": 12,
        "ay": shift,
        "xanchor": "left",
        "align": "left",
        "showarrow": True,
        "arrowhead": 0,
        "arrowwidth": 1.2,
        "arrowcolor": label.color,
        "font": {"size": TEXT_SIZE},
    }


def add_marker_labels(
    drawing: Drawing,
    labels: Sequence[MarkerLabel],
    ranges: tuple[tuple[float, float], tuple[float, float]],
    subplot: Subplot,
) -> None:
    """Write each label beside its marker; labels of close markers form a column.

    Labels of markers on a line (`up` 1 or -1) stand to the right, other labels to the left,
    unless the edge of the plot is too close. `ranges` are those of the x and the y axis.
    """
    (x_low, x_high), (y_low, y_high) = ranges
    scale, near = subplot.height / (y_high - y_low), NEAR * (x_high - x_low)
    on_line = _columns([label for label in labels if label.up], near)
    for column in [*on_line, *_columns([label for label in labels if not label.up], near)]:
        ordered = sorted(column, key=lambda label: -label.y)
        heights = [(y_high - label.y) * scale for label in ordered]
        targets = [height - SMALL_LINE * ordered[0].up for height in heights]
        positions = separate_labels(targets, [SMALL_LINE] * len(ordered), subplot.height)
        edge = EDGE if ordered[0].up else 1 - EDGE
        side = -1 if max(label.x for label in column) > x_low + edge * (x_high - x_low) else 1
        for label, height, position in zip(ordered, heights, positions, strict=True):
            annotation = _marker_annotation(label, 16 * side, position - height, subplot)
            drawing.annotations.append(annotation)


def _columns(labels: Sequence[MarkerLabel], near: float) -> list[list[MarkerLabel]]:
    """The labels in groups from left to right, none wider than `near`."""
    columns: list[list[MarkerLabel]] = []
    for label in sorted(labels, key=lambda label: label.x):
        if columns and label.x - columns[-1][0].x < near:
            columns[-1].append(label)
        else:
            columns.append([label])
    return columns


def _marker_annotation(label: MarkerLabel, ax: float, ay: float, subplot: Subplot) -> Part:
    """`ax` and `ay` are the distance of the text from the marker, in pixels."""
    return {
        "text": label.text,
        "x": label.x,
        "xref": subplot.xaxis,
        "y": label.y,
        "yref": subplot.yaxis,
        "ax": ax,
        "ay": ay,
        "xanchor": "left" if ax > 0 else "right",
        "showarrow": True,
        "arrowhead": 0,
        "arrowwidth": 1,
        "arrowcolor": label.color,
        "standoff": 5,
        "font": {"size": TEXT_SIZE},
    }


def add_leader_line(
    drawing: Drawing, marker: tuple[float, float], edge: float, color: str, subplot: Subplot
) -> None:
    """A dotted line from the last marker of a series to its label at the right edge."""
    drawing.shapes.append(
        {
            "type": "line",
            "x0": marker[0],
            "x1": edge,
            "xref": subplot.xaxis,
            "y0": marker[1],
            "y1": marker[1],
            "yref": subplot.yaxis,
            "line": {"color": color, "dash": "dot", "width": 1},
            "opacity": 0.6,
            "layer": "below",
        }
    )


def add_reference_line(
    drawing: Drawing, value: float, color: str, dash: str, subplot: Subplot
) -> None:
    """A horizontal line across the whole plot, under the traces."""
    drawing.shapes.append(
        {
            "type": "line",
            "x0": 0,
            "x1": 1,
            "xref": f"{subplot.xaxis} domain",
            "y0": value,
            "y1": value,
            "yref": subplot.yaxis,
            "line": {"color": color, "dash": dash, "width": 1.5},
            "layer": "below",
        }
    )
