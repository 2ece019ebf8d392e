"""What a figure shows, in sentences and as a table, for people who do not see it."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from pruning_core.common.formatting import format_count, missing, trimmed
from pruning_core.methods.strategies import STRATEGIES

MOST_SERIES = 8
LONGEST_TEXT = 900
DIGITS = 3  # significant digits of a number in a sentence
TAG = re.compile(r"<[^>]*>")
SERIES = "Series"


@dataclass(frozen=True)
class Axis:
    """What an axis shows, and the unit of its values."""

    title: str
    unit: str

    @property
    def column(self) -> str:
        """The name of the axis as the heading of a column."""
        unit = self.unit.strip()
        return f"{self.title} ({unit})" if unit and f"({unit})" not in self.title else self.title


@dataclass(frozen=True)
class Points:
    """The points of a series. `cells` are the values of a heat map, which has no other y."""

    name: str
    x_axis: Axis
    y_axis: Axis
    x: list[Any]
    y: list[Any]
    cells: list[Any] | None = None
    cells_title: str = "Value"


def chart_text(figure: go.Figure) -> str:
    """A sentence for the figure, and one for each series: its points, first and last value."""
    lines = [line for line in _lines(_title_of(figure.layout.to_plotly_json())) if line]
    series = _series(figure)
    sentences = [f"{'; '.join(lines)}." if lines else "A chart."]
    sentences += [_sentence(points) for points in series[:MOST_SERIES]]
    if len(series) > MOST_SERIES:
        sentences.append(f"And {len(series) - MOST_SERIES} more series.")
    text = " ".join(sentences)
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]} …"


def named_axis(name: str) -> dict[str, dict[str, str]]:
    """Layout that names a y axis without a title in a table of its numbers."""
    return {"meta": {"y": name}}


def chart_numbers(figure: go.Figure) -> pd.DataFrame:
    """The points of all series: a row for each, with the titles of the axes as columns.

    Figures whose series have no names have no column for them.
    """
    rows: list[dict[str, Any]] = []
    series = _series(figure)
    named = any(points.name for points in series)
    for points in series:
        columns = [points.x_axis.column, points.y_axis.column]
        if columns[0] == columns[1]:
            columns[1] = f"{columns[1]} (y)"
        for i, (x, y) in enumerate(zip(points.x, points.y, strict=True)):
            row = {SERIES: points.name} if named else {}
            row |= {columns[0]: _cell(x), columns[1]: _cell(y)}
            if points.cells is not None:
                row[points.cells_title] = _cell(points.cells[i])
            rows.append(row)
    return pd.DataFrame(rows)


def _title_of(layout: Any) -> Any:
    title = layout.get("title")
    return title.get("text") if isinstance(title, dict) else title


def _lines(text: Any) -> list[str]:
    """The lines of a text of Plotly, without its tags."""
    parts = re.split(r"<br\s*/?>", str(text or ""))
    return [html.unescape(TAG.sub("", part)).strip() for part in parts]


def _series(figure: go.Figure) -> list[Points]:
    """The series of a figure. Of the traces with one name, those with markers count.

    Beside a heat map there are no others: points on its cells only take clicks.
    """
    # The JSON of a whole figure holds arrays as encoded bytes.
    layout = figure.layout.to_plotly_json()
    traces = [trace.to_plotly_json() for trace in figure.data]
    traces = [trace for trace in traces if trace.get("visible", True) is True]
    heat_maps = [trace for trace in traces if trace.get("type") == "heatmap"]
    traces = heat_maps or traces
    marked = {t.get("name") for t in traces if "markers" in t.get("mode", "")}
    joined: dict[tuple[str, str, str], Points] = {}
    for trace in traces:
        is_line = trace.get("mode") == "lines" and trace.get("name") in marked
        for points in () if is_line else _points(layout, trace):
            key = (points.name, points.x_axis.column, points.y_axis.column)
            if before := joined.get(key):
                before.x.extend(points.x)
                before.y.extend(points.y)
            else:
                joined[key] = points
    return list(joined.values())


def _points(layout: dict[str, Any], trace: dict[str, Any]) -> Iterator[Points]:
    """The points of a trace; nothing for an entry of the legend without points."""
    name = _name(trace)
    x_axis = _axis(layout, "x", trace.get("xaxis", "x"))
    y_axis = _axis(layout, "y", trace.get("yaxis", "y"))
    if trace.get("type") == "heatmap":
        columns, rows = _values(trace.get("x")), _values(trace.get("y"))
        cells = [
            (column, row, value)
            for row, values in zip(rows, np.asarray(trace["z"], dtype=object), strict=False)
            for column, value in zip(columns, values, strict=False)
            if _given(value)
        ]
        if cells:
            x, y, values = (list(part) for part in zip(*cells, strict=True))
            title = " ".join(_lines(_title_of(trace.get("colorbar") or {}))).strip()
            yield Points(name, x_axis, y_axis, x, y, values, title or "Value")
        return
    pairs = [
        (x, y)
        for x, y in zip(_values(trace.get("x")), _values(trace.get("y")), strict=False)
        if _given(x) and _given(y)
    ]
    if pairs:
        x, y = (list(part) for part in zip(*pairs, strict=True))
        yield Points(name, x_axis, y_axis, x, y)


def _given(value: Any) -> bool:
    """Whether a value is drawn: text, or a number that is known."""
    return isinstance(value, str) or not missing(value)


def _name(trace: dict[str, Any]) -> str:
    name = " ".join(_lines(trace.get("name"))).strip()
    return STRATEGIES[name].title if name in STRATEGIES else name


def _values(values: Any) -> list[Any]:
    return [] if values is None else np.asarray(values).tolist()


def _axis(layout: dict[str, Any], letter: str, axis: str) -> Axis:
    """An axis. One without a title shows what `named_axis` or the title of the figure says."""
    content = layout.get(f"{letter}axis{axis[1:]}", {})
    title = " ".join(_lines(_title_of(content))).strip() or (layout.get("meta") or {}).get(letter)
    if not title:
        title = _lines(_title_of(layout))[0] if letter == "y" else letter
    return Axis(title or letter, str(content.get("ticksuffix") or ""))


def _sentence(points: Points) -> str:
    name = f"{points.name}: " if points.name else ""
    if points.cells is not None:
        numbers = [float(value) for value in points.cells]
        low, high = _shown(min(numbers), ""), _shown(max(numbers), "")
        return f"{name}{format_count(len(numbers), 'cell')}, from {low} to {high}."
    values = [_shown(value, points.y_axis.unit) for value in points.y]
    places = [_shown(value, points.x_axis.unit) for value in points.x]
    start = f"{name}{points.y_axis.title} {values[0]} at {points.x_axis.title} {places[0]}"
    if len(values) == 1:
        return f"{start}."
    return f"{start}, {values[-1]} at {places[-1]} ({format_count(len(values), 'point')})."


def _shown(value: Any, unit: str) -> str:
    """A number with a few digits and its unit; another value as text."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return trimmed(float(f"{float(value):.{DIGITS}g}"), 6) + unit
    return " ".join(_lines(value))


def _cell(value: Any) -> Any:
    return " ".join(_lines(value)) if isinstance(value, str) else value
