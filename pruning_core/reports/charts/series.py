"""From rows of results to series: the markers and lines of each strategy, run and seed."""

from __future__ import annotations

import html
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from pruning_core.common.formatting import format_percent, missing
from pruning_core.methods.strategies import (
    BASELINE,
    CONTROL_TITLE,
    ONE_SHOT,
    STRATEGIES,
)
from pruning_core.reports.charts.hover import hover_text
from pruning_core.reports.charts.references import Reference
from pruning_core.reports.charts.style import (
    BY_RUN,
    BY_STRATEGY,
    DASHES,
    GREY,
    RUN_COLORS,
    SERIES,
    Label,
    MarkerLabel,
    series_color,
    series_dash,
    series_symbol,
    symbol,
)
from pruning_core.results.rows import Row, grouped, is_control, mean_over_seeds

Part = dict[str, Any]
NAN = float("nan")
WHOLE_PERCENT = 0.985
MAX_RUN_LABEL = 44


@dataclass(frozen=True)
class Chart:
    """The y axis of a comparison chart: the result `column`, its unit, and its reference lines.

    `error_bars` is 1 for the 95 % CI of the accuracy, -1 for the CI turned upside down (a drop
    falls where the accuracy rises), 0 for none.
    """

    column: str
    title: str
    subtitle: str
    scale: float
    suffix: str
    references: Callable[[list[Row]], list[Reference]]
    error_bars: int = 0
    from_zero: bool = False


@dataclass(frozen=True)
class XAxis:
    """The x axis of a comparison chart. `budget` marks a training budget; the baseline has 0."""

    column: str
    title: str
    scale: float
    suffix: str = ""
    budget: bool = False


@dataclass(frozen=True)
class Series:
    """The models of one strategy in run number `run`; `kind` is single, seed or mean.

    Each of `rows` has the coordinates px and py, the lengths of its error bars up and down (NaN
    for none) and its text hover. The line to the first of them begins at `start`. `color_by` says
    what its color stands for.
    """

    strategy: str
    run: int
    kind: str
    rows: list[Row]
    start: list[Row]
    color_by: str = BY_STRATEGY

    @property
    def color(self) -> str:
        """The color of its strategy or of its run; the dense models are grey."""
        if self.strategy == BASELINE:
            return GREY
        return series_color(self.strategy, self.run, self.color_by)

    @property
    def end(self) -> tuple[float, float]:
        """The coordinates of the last model, where the label stands."""
        last = self.rows[-1]
        return float(last["px"]), float(last["py"])

    def column(self, name: str) -> list[Any]:
        """One value of each row."""
        return [row[name] for row in self.rows]


def all_series(
    rows: list[Row], chart: Chart, x_axis: XAxis, color_by: str = BY_STRATEGY
) -> list[Series]:
    """Every series of the rows; with several seeds, one series a seed and one of their means.

    A dense model that several runs share is drawn once.
    """
    series: list[Series] = []
    for run, run_rows in enumerate(grouped(rows, "run_id")):
        seeds = grouped(run_rows, "seed")
        kinds = [("single", run_rows)]
        if len(seeds) > 1:
            kinds = [("seed", seed_rows) for seed_rows in seeds]
            kinds.append(("mean", mean_over_seeds(run_rows)))
        for kind, models in kinds:
            drawn = _with_coordinates(models, chart, x_axis)
            series += [replace(s, color_by=color_by) for s in _by_strategy(drawn, run, kind)]
    return list(_shared_once(series))


def _shared_once(series: Iterable[Series]) -> Iterator[Series]:
    """The series without the dense models that stand in an earlier one of their kind."""
    drawn: set[tuple[str, object]] = set()
    for one in series:
        if one.strategy != BASELINE:
            yield one
            continue
        keys = {(one.kind, row.get("keys") or row.get("key", id(row))): row for row in one.rows}
        if rows := [row for key, row in keys.items() if key not in drawn]:
            yield replace(one, rows=rows)
        drawn |= keys.keys()


def _with_coordinates(rows: list[Row], chart: Chart, x_axis: XAxis) -> list[Row]:
    drawn = [_drawn_row(row, chart, x_axis) for row in rows]
    return [row for row in drawn if not missing(row["py"]) and not missing(row["px"])]


def _drawn_row(row: Row, chart: Chart, x_axis: XAxis) -> Row:
    accuracy, scale = row["accuracy"], chart.scale
    above = below = NAN
    if "seeds" in row:
        # The deviation of the drop is that of the column: the baselines differ by seed, too.
        above = below = row.get(f"{chart.column}_sd", NAN) * scale if chart.error_bars else NAN
    elif chart.error_bars:
        above = (row.get("accuracy_high", NAN) - accuracy) * scale
        below = (accuracy - row.get("accuracy_low", NAN)) * scale
    # The row of the baseline holds its own training, which is no fine-tuning.
    no_budget = x_axis.budget and row["strategy"] == BASELINE
    return {
        **row,
        "px": 0.0 if no_budget else row[x_axis.column] * x_axis.scale,
        "py": row[chart.column] * scale,
        "up": above if chart.error_bars == 1 else below,
        "down": below if chart.error_bars == 1 else above,
        "hover": hover_text(row),
    }


def _by_strategy(rows: list[Row], run: int, kind: str) -> Iterator[Series]:
    control = [row for row in rows if is_control(row)]
    baseline = [row for row in rows if row["strategy"] == BASELINE]
    dense = [row for row in rows if row["strategy"] == BASELINE or is_control(row)]
    if dense:
        yield Series(BASELINE, run, kind, dense, [])
    for strategy in SERIES:
        models = [row for row in rows if row["strategy"] == strategy and not is_control(row)]
        start = control if strategy == ONE_SHOT and control else baseline
        if models:
            yield Series(strategy, run, kind, sorted(models, key=_order), start)


def _order(row: Row) -> tuple[int, float]:
    target = row["sparsity_asked"]
    return row["iteration"], float("inf") if missing(target) else target


def has_line(series: Series, x_axis: XAxis) -> bool:
    """Whether a line joins the models: the iterative steps always, others over sparsity only.

    Over a budget, the one-shot models are independent runs, and so are the structured ones.
    """
    strategy = STRATEGIES[series.strategy]
    return bool(strategy.width) and (strategy.one_chain or not x_axis.budget)


def line_trace(series: Series) -> Part:
    """The line under the markers: thin for one of several seeds, else thick."""
    path = [*series.start, *_line_rows(series)]
    strategy, thin = SERIES[series.strategy], series.kind == "seed"
    return {
        "type": "scatter",
        "x": [row["px"] for row in path],
        "y": [row["py"] for row in path],
        "mode": "lines",
        "name": series.strategy,
        "line": {
            "color": series.color,
            "width": 1 if thin else strategy.width,
            "dash": series_dash(series.strategy, series.run, series.color_by),
        },
        "opacity": 0.55 if thin else 1,
        "hoverinfo": "skip",
        "showlegend": False,
    }


def _line_rows(series: Series) -> list[Row]:
    """The rows that the line joins: the last step of each ratio in iterative structured pruning."""
    if not STRATEGIES[series.strategy].removes_channels:
        return series.rows
    last = max(row["iteration"] for row in series.rows)
    return [row for row in series.rows if row["iteration"] == last]


def marker_trace(series: Series, chart: Chart) -> Part:
    """The markers with their hover texts, and error bars if the chart has them."""
    trace = {
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
    # The bars of each seed would hide the mean.
    if chart.error_bars and series.kind != "seed" and not all(map(missing, ups)):
        lengths = {"array": ups, "arrayminus": downs}
        trace["error_y"] = {**lengths, "color": series.color, "thickness": 1, "width": 3}
    return trace


def _marker(series: Series) -> dict[str, object]:
    if series.strategy == BASELINE:
        return {"color": GREY, "symbol": "circle", "size": 4 if series.kind == "seed" else 7}
    strategy = SERIES[series.strategy]
    if series.kind == "seed":
        return {"color": series.color, "symbol": strategy.symbol, "size": 4}
    return {
        "color": series.color,
        "symbol": series_symbol(series.strategy, series.run, series.color_by),
        "size": strategy.size,
        "line": {"width": 2, "color": series.color},
    }


def end_label(series: Series, x_axis: XAxis) -> Label:
    """The title of the strategy, at the end of its line; over a budget with the sparsity."""
    strategy = SERIES[series.strategy]
    target = format_percent(series.rows[-1]["sparsity_asked"])
    first, *rest = strategy.title.split(", ")
    text = ",<br>".join([f"{first} {target}" if x_axis.budget else first, *rest])
    return Label(text, series.end[1], strategy.color, strategy.glyph)


def sparsity_labels(series: Series) -> Iterator[MarkerLabel]:
    """The target sparsity of all models but the last, whose sparsity is in `end_label`.

    On a rising line the labels stand below it, on a falling line above it.
    """
    strategy, rows = SERIES[series.strategy], series.rows
    on_line = strategy.one_chain
    rises = on_line and rows[-1]["py"] > rows[0]["py"]
    up = (-1 if rises else 1) if on_line else 0
    for row, following in itertools.pairwise(rows):
        target = row["sparsity_asked"]
        if on_line and target == following["sparsity_asked"]:
            continue  # a step that prunes nothing, such as final fine-tuning: label its last model
        # Whole percent keeps labels narrow; the hover text has every digit.
        text = format_percent(target, 0 if target < WHOLE_PERCENT else None)
        yield MarkerLabel(text, float(row["px"]), float(row["py"]), strategy.color, up)


def legend_entries(rows: list[Row], color_by: str = BY_STRATEGY) -> Iterator[Part]:
    """Legend entries for several runs: the strategies, the dense models, the runs."""
    by_run = color_by == BY_RUN
    for name, strategy in STRATEGIES.items():
        if name in SERIES and any(row["strategy"] == name for row in rows):
            color = GREY if by_run else strategy.color
            dash = series_dash(name, 0, color_by) if strategy.width else "solid"
            yield _entry(strategy.title, color, symbol(name, 0), dash, strategy.width)
    yield _entry("baseline, dense file", GREY, "", "dash", 1.5)
    if any(map(is_control, rows)):
        yield _entry(CONTROL_TITLE, GREY, "", "dot", 1.5)
    for run, name in enumerate(run_names(rows)):
        if by_run:
            yield _entry(name, RUN_COLORS[run % len(RUN_COLORS)], "", "solid", 2.5)
        else:
            yield _entry(name, GREY, symbol(ONE_SHOT, run), DASHES[run % len(DASHES)], 2)


def run_names(rows: list[Row]) -> list[str]:
    """The names of the runs in their order, shortened for a legend."""
    names = [str(group[0]["run"]) for group in grouped(rows, "run_id")]
    return [
        name if len(name) <= MAX_RUN_LABEL else f"{name[: MAX_RUN_LABEL - 1]}…" for name in names
    ]


def _entry(name: str, color: str, marker: str, dash: str, width: float) -> Part:
    mode = "+".join([*(["lines"] if width else []), *(["markers"] if marker else [])])
    return {
        "type": "scatter",
        "x": [None],
        "y": [None],
        "mode": mode,
        "name": html.escape(name, quote=False),
        "line": {"color": color, "dash": dash, "width": min(width, 2.5)},
        "marker": {"color": color, "size": 8, **({"symbol": marker} if marker else {})},
        "showlegend": True,
    }
