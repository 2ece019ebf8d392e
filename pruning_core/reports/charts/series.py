"""Points turned into lines and symbols: one series a strategy, run and seed."""

from __future__ import annotations

import html
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from pruning_core.common.formatting import format_percent, missing
from pruning_core.methods.strategies import STRATEGIES, STRUCTURED
from pruning_core.reports.charts.hover import hover_text
from pruning_core.reports.charts.references import Reference
from pruning_core.reports.charts.style import DASHES, GREY, SERIES, Label, MarkerLabel, symbol
from pruning_core.results.rows import Row, grouped, is_control, mean_over_seeds

Part = dict[str, Any]
NAN = float("nan")
WHOLE_PERCENT = 0.985


@dataclass(frozen=True)
class Chart:
    """What stands on the y axis. `bars` is the sign of the interval: 1, -1, or 0 for none."""

    column: str
    title: str
    subtitle: str
    scale: float
    suffix: str
    references: Callable[[list[Row]], list[Reference]]
    bars: int = 0
    from_zero: bool = False


@dataclass(frozen=True)
class XAxis:
    """What stands on the x axis. `spent` marks a budget, of which the baseline has none."""

    column: str
    title: str
    scale: float
    suffix: str = ""
    spent: bool = False


@dataclass(frozen=True)
class Series:
    """Points of one strategy in run number `run`; `kind` is single, seed or mean.

    `rows` have their place in px, py, up and down (the bars, NaN for none) and hover;
    `start` is the point from which the line to the first of them comes.
    """

    strategy: str
    run: int
    kind: str
    rows: list[Row]
    start: list[Row]

    @property
    def end(self) -> tuple[float, float]:
        """The place of the last point, beside which the label stands."""
        last = self.rows[-1]
        return float(last["px"]), float(last["py"])

    def column(self, name: str) -> list[Any]:
        """One figure of all rows."""
        return [row[name] for row in self.rows]


def all_series(points: list[Row], chart: Chart, across: XAxis) -> list[Series]:
    """Every series of the points; of several seeds each one, then their mean."""
    series: list[Series] = []
    for run, group in enumerate(grouped(points, "run_id")):
        seeds = grouped(group, "seed")
        if len(seeds) == 1:
            series += _strategies(_placed(group, chart, across), run, "single")
            continue
        for part in seeds:
            series += _strategies(_placed(part, chart, across), run, "seed")
        series += _strategies(_placed(mean_over_seeds(group), chart, across), run, "mean")
    return series


def _placed(points: list[Row], chart: Chart, across: XAxis) -> list[Row]:
    placed = [_place(row, chart, across) for row in points]
    return [row for row in placed if not missing(row["py"]) and not missing(row["px"])]


def _place(row: Row, chart: Chart, across: XAxis) -> Row:
    accuracy, scale = row["accuracy"], chart.scale
    above = (row.get("accuracy_high", NAN) - accuracy) * scale if chart.bars else NAN
    below = (accuracy - row.get("accuracy_low", NAN)) * scale if chart.bars else NAN
    spent_nothing = across.spent and row["strategy"] == "baseline"
    return {
        **row,
        "px": 0.0 if spent_nothing else row[across.column] * across.scale,
        "py": row[chart.column] * scale,
        "up": above if chart.bars == 1 else below,
        "down": below if chart.bars == 1 else above,
        "hover": hover_text(row),
    }


def _strategies(points: list[Row], run: int, kind: str) -> Iterator[Series]:
    control = [row for row in points if is_control(row)]
    baseline = [row for row in points if row["strategy"] == "baseline"]
    grey = [row for row in points if row["strategy"] == "baseline" or is_control(row)]
    if grey:
        yield Series("baseline", run, kind, grey, [])
    for strategy in SERIES:
        rows = [row for row in points if row["strategy"] == strategy and not is_control(row)]
        begins = control if strategy == "one_shot" and control else baseline
        if rows:
            yield Series(strategy, run, kind, sorted(rows, key=_order), begins)


def _order(row: Row) -> tuple[int, float]:
    asked = row["sparsity_asked"]
    return row["iteration"], float("inf") if missing(asked) else asked


def has_line(series: Series, across: XAxis) -> bool:
    """A line joins what belongs together: the chain of cuts, or one-shot over sparsity.

    Over a budget, one-shot's points are separate runs and stay separate, and so do amounts of
    channels.
    """
    if series.strategy in ("one_shot", STRUCTURED):
        return not across.spent
    return series.strategy == "iterative"


def line_trace(series: Series) -> Part:
    """The line under the symbols: thin for one seed of several, else thick."""
    path = [*series.start, *_ends(series)]
    look, thin = SERIES[series.strategy], series.kind == "seed"
    return {
        "type": "scatter",
        "x": [row["px"] for row in path],
        "y": [row["py"] for row in path],
        "mode": "lines",
        "name": series.strategy,
        "line": {
            "color": look.color,
            "width": 1 if thin else look.width,
            "dash": DASHES[series.run % len(DASHES)],
        },
        "opacity": 0.55 if thin else 1,
        "hoverinfo": "skip",
        "showlegend": False,
    }


def _ends(series: Series) -> list[Row]:
    """The rows that a line joins: of several chains of channel cuts the last of each."""
    if series.strategy != STRUCTURED:
        return series.rows
    last = max(row["iteration"] for row in series.rows)
    return [row for row in series.rows if row["iteration"] == last]


def marker_trace(series: Series, chart: Chart) -> Part:
    """The symbols, with bars where the chart has them and hover that tells all."""
    look = SERIES.get(series.strategy)
    drawn = {
        "type": "scatter",
        "x": series.column("px"),
        "y": series.column("py"),
        "mode": "markers",
        "name": series.strategy,
        "marker": _marker(series),
        "opacity": 0.55 if series.kind == "seed" else 1,
        "hovertext": series.column("hover"),
        "hoverinfo": "text",
        "showlegend": False,
    }
    ups, downs = series.column("up"), series.column("down")
    if chart.bars and not all(map(missing, ups)):
        color = look.color if look else GREY
        bars = {"array": ups, "arrayminus": downs, "color": color, "thickness": 1, "width": 3}
        drawn["error_y"] = bars
    return drawn


def _marker(series: Series) -> dict[str, object]:
    if series.strategy == "baseline":
        return {"color": GREY, "symbol": "circle", "size": 4 if series.kind == "seed" else 7}
    look = SERIES[series.strategy]
    if series.kind == "seed":
        return {"color": look.color, "symbol": look.symbol, "size": 4}
    return {
        "color": look.color,
        "symbol": symbol(series.strategy, series.run),
        "size": look.size,
        "line": {"width": 2, "color": look.color},
    }


def end_label(series: Series, across: XAxis) -> Label:
    """The strategy's name, to stand where its line ends."""
    look = SERIES[series.strategy]
    asked = format_percent(series.rows[-1]["sparsity_asked"])
    first, *more = STRATEGIES[series.strategy].title.split(", ")
    name = ",<br>".join([f"{first} {asked}" if across.spent else first, *more])
    return Label(name, series.end[1], look.color, look.glyph)


def sparsity_labels(series: Series) -> Iterator[MarkerLabel]:
    """The sparsity asked of all points but the last, which `end_label` names.

    Where a line rises from point to point they stand under it, else above it.
    """
    look, rows = SERIES[series.strategy], series.rows
    joined = series.strategy == "iterative"
    rises = joined and rows[-1]["py"] > rows[0]["py"]
    up = (-1 if rises else 1) if joined else 0
    for row, following in itertools.pairwise(rows):
        asked = row["sparsity_asked"]
        if joined and asked == following["sparsity_asked"]:
            continue  # a step without a cut, such as a tail: the last of them bears the label
        # Narrow, where it tells enough: the hover has every digit.
        text = format_percent(asked, 0 if asked < WHOLE_PERCENT else None)
        yield MarkerLabel(text, float(row["px"]), float(row["py"]), look.color, up)


def legend_entries(points: list[Row]) -> Iterator[Part]:
    """Entries of a legend for several runs, the same in all charts, so that plots align."""
    for strategy, name in STRATEGIES.titles.items():
        if strategy in SERIES and any(row["strategy"] == strategy for row in points):
            look = SERIES[strategy]
            yield _key(name, look.color, symbol(strategy, 0), "solid", look.width)
    yield _key("baseline, dense file", GREY, "", "dash", 1.5)
    if any(map(is_control, points)):
        yield _key("dense control", GREY, "", "dot", 1.5)
    for run, group in enumerate(grouped(points, "run_id")):
        label = group[0]["run"]
        text = label if len(label) <= 44 else label[:43] + "…"
        yield _key(text, GREY, symbol("one_shot", run), DASHES[run % len(DASHES)], 2)


def _key(name: str, color: str, mark: str, dash: str, width: float) -> Part:
    mode = "+".join([*(["lines"] if width else []), *(["markers"] if mark else [])])
    return {
        "type": "scatter",
        "x": [None],
        "y": [None],
        "mode": mode,
        "name": html.escape(name, quote=False),
        "line": {"color": color, "dash": dash, "width": min(width, 2.5)},
        "marker": {"color": color, "size": 8, **({"symbol": mark} if mark else {})},
        "showlegend": True,
    }
