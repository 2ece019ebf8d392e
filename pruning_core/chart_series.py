"""Points turned into lines and symbols: one series a strategy, run and seed."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pandas as pd
import plotly.graph_objects as go

from pruning_core.chart_style import DASHES, GREY, LOOKS, Label, PointLabel, symbol
from pruning_core.hover import point_text
from pruning_core.points import STRATEGY_NAMES, is_control, mean_over_seeds
from pruning_core.text import format_bytes, format_percent

WHOLE_PERCENT = 0.985


@dataclass(frozen=True)
class Reference:
    """A grey line across the plot, and its name."""

    name: str
    value: float
    dash: str = "dash"


@dataclass(frozen=True)
class Chart:
    """What stands on the y axis. `bars` is the sign of the interval: 1, -1, or 0 for none."""

    column: str
    title: str
    subtitle: str
    scale: float
    suffix: str
    references: Callable[[pd.DataFrame], list[Reference]]
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

    `rows` have their place in the columns px, py, up and down (the bars) and hover;
    `start` is the point from which the line to the first of them comes.
    """

    strategy: str
    run: int
    kind: str
    rows: pd.DataFrame
    start: pd.DataFrame

    @property
    def end(self) -> tuple[float, float]:
        """The place of the last point, beside which the label stands."""
        last = self.rows.iloc[-1]
        return float(last["px"]), float(last["py"])


def all_series(frame: pd.DataFrame, chart: Chart, across: XAxis) -> list[Series]:
    """Every series of the frame; of several seeds each one, then their mean."""
    series: list[Series] = []
    for run, (_, group) in enumerate(frame.groupby("run_id", sort=False)):
        if group["seed"].nunique() == 1:
            series += _strategies(_placed(group, chart, across), run, "single")
            continue
        for _, part in group.groupby("seed", sort=False):
            series += _strategies(_placed(part, chart, across), run, "seed")
        series += _strategies(_placed(mean_over_seeds(group), chart, across), run, "mean")
    return series


def _placed(frame: pd.DataFrame, chart: Chart, across: XAxis) -> pd.DataFrame:
    x = frame[across.column] * across.scale
    accuracy = frame["accuracy"]
    nothing = pd.Series(float("nan"), index=frame.index)
    above = (frame.get("accuracy_high", nothing) - accuracy) * chart.scale
    below = (accuracy - frame.get("accuracy_low", nothing)) * chart.scale
    placed = frame.assign(
        px=x.mask(frame["strategy"] == "baseline", 0.0) if across.spent else x,
        py=frame[chart.column] * chart.scale,
        up=above if chart.bars == 1 else below if chart.bars == -1 else nothing,
        down=below if chart.bars == 1 else above if chart.bars == -1 else nothing,
        hover=[point_text(row) for row in frame.to_dict("records")],
    )
    return placed[placed["py"].notna() & placed["px"].notna()]


def _strategies(points: pd.DataFrame, run: int, kind: str) -> Iterator[Series]:
    control = is_control(points)
    baseline = points["strategy"] == "baseline"
    grey = points[control | baseline]
    if len(grey):
        yield Series("baseline", run, kind, grey, grey.iloc[:0])
    for strategy in LOOKS:
        rows = points[(points["strategy"] == strategy) & ~control]
        begins = control if strategy == "one_shot" and control.any() else baseline
        if len(rows):
            order = rows.sort_values(["iteration", "sparsity_asked"])
            yield Series(strategy, run, kind, order, points[begins])


def has_line(series: Series, across: XAxis) -> bool:
    """A line joins what belongs together: the chain of cuts, or one-shot over sparsity.

    Over a budget, one-shot's points are separate runs and stay separate.
    """
    return series.strategy == "iterative" or (series.strategy == "one_shot" and not across.spent)


def line(series: Series) -> go.Scatter:
    """The line under the symbols: thin for one seed of several, else thick."""
    path = pd.concat([series.start, series.rows])
    look, thin = LOOKS[series.strategy], series.kind == "seed"
    return go.Scatter(
        x=path["px"],
        y=path["py"],
        mode="lines",
        name=series.strategy,
        line={
            "color": look.colour,
            "width": 1 if thin else look.width,
            "dash": DASHES[series.run % len(DASHES)],
        },
        opacity=0.55 if thin else 1,
        hoverinfo="skip",
        showlegend=False,
    )


def marks(series: Series, chart: Chart) -> go.Scatter:
    """The symbols, with bars where the chart has them and hover that tells all."""
    rows, thin = series.rows, series.kind == "seed"
    look = LOOKS.get(series.strategy)
    colour = look.colour if look else GREY
    bars = {
        "array": rows["up"],
        "arrayminus": rows["down"],
        "color": colour,
        "thickness": 1,
        "width": 3,
    }
    return go.Scatter(
        x=rows["px"],
        y=rows["py"],
        mode="markers",
        name=series.strategy,
        marker=_marker(series),
        opacity=0.55 if thin else 1,
        error_y=bars if chart.bars and rows["up"].notna().any() else None,
        hovertext=rows["hover"],
        hoverinfo="text",
        showlegend=False,
    )


def _marker(series: Series) -> dict[str, object]:
    if series.strategy == "baseline":
        return {"color": GREY, "symbol": "circle", "size": 4 if series.kind == "seed" else 7}
    look = LOOKS[series.strategy]
    if series.kind == "seed":
        return {"color": look.colour, "symbol": look.symbol, "size": 4}
    return {
        "color": look.colour,
        "symbol": symbol(series.strategy, series.run),
        "size": look.size,
        "line": {"width": 2, "color": look.colour},
    }


def end_label(series: Series, across: XAxis) -> Label:
    """The strategy's name, to stand where its line ends."""
    look = LOOKS[series.strategy]
    asked = format_percent(series.rows["sparsity_asked"].iloc[-1])
    first, *more = STRATEGY_NAMES[series.strategy].split(", ")
    name = ",<br>".join([f"{first} {asked}" if across.spent else first, *more])
    return Label(name, series.end[1], look.colour, look.glyph)


def amounts(series: Series) -> Iterator[PointLabel]:
    """The sparsity asked of all points but the last, which `end_label` names.

    Where a line rises from point to point they stand under it, else above it.
    """
    look, rows = LOOKS[series.strategy], series.rows
    joined = series.strategy == "iterative"
    rises = joined and rows["py"].iloc[-1] > rows["py"].iloc[0]
    up = (-1 if rises else 1) if joined else 0
    for x, y, asked in list(zip(rows["px"], rows["py"], rows["sparsity_asked"], strict=True))[:-1]:
        # Narrow, where it tells enough: the hover has every digit.
        text = format_percent(asked, 0 if asked < WHOLE_PERCENT else None)
        yield PointLabel(text, float(x), float(y), look.colour, up)


def keys(frame: pd.DataFrame) -> Iterator[go.Scatter]:
    """Entries of a legend for several runs, the same in all charts, so that plots align."""
    for strategy, name in STRATEGY_NAMES.items():
        if strategy in LOOKS and (frame["strategy"] == strategy).any():
            look = LOOKS[strategy]
            yield _key(name, look.colour, symbol(strategy, 0), "solid", look.width)
    yield _key("baseline, dense file", GREY, "", "dash", 1.5)
    if is_control(frame).any():
        yield _key("dense control", GREY, "", "dot", 1.5)
    for run, label in enumerate(frame.groupby("run_id", sort=False)["run"].first()):
        text = label if len(label) <= 44 else label[:43] + "…"
        yield _key(text, GREY, symbol("one_shot", run), DASHES[run % len(DASHES)], 2)


def _key(name: str, colour: str, mark: str, dash: str, width: float) -> go.Scatter:
    mode = "+".join([*(["lines"] if width else []), *(["markers"] if mark else [])])
    return go.Scatter(
        x=[None],
        y=[None],
        mode=mode,
        name=html.escape(name, quote=False),
        line={"color": colour, "dash": dash, "width": min(width, 2.5)},
        marker={"color": colour, "symbol": mark or None, "size": 8},
        showlegend=True,
    )


def trained_accuracy(frame: pd.DataFrame) -> list[Reference]:
    """The accuracy, in percent, of the baseline and of the dense control."""
    return [
        Reference(
            f"{name} {format_percent(mean)}" if name == "baseline" else name, 100 * mean, dash
        )
        for name, mean, dash in _means(frame, "accuracy")
    ]


def trained_drop(frame: pd.DataFrame) -> list[Reference]:
    """The accuracy drop, in points, of the baseline (none) and of the dense control."""
    return [Reference(n, 100 * mean, dash) for n, mean, dash in _means(frame, "accuracy_drop")]


def dense_file(frame: pd.DataFrame) -> list[Reference]:
    """The size of the dense file in MB, the same at every sparsity."""
    sizes = frame.groupby("run_id", sort=False)["dense_bytes"].mean().dropna()
    return [Reference(f"dense file<br>{format_bytes(size)}", size / 1e6) for size in sizes]


def no_compression(frame: pd.DataFrame) -> list[Reference]:
    """The ratio of a file that is no smaller."""
    return [Reference("dense file", 1.0)]


def _means(frame: pd.DataFrame, column: str) -> Iterator[tuple[str, float, str]]:
    for _, run in frame.groupby("run_id", sort=False):
        rows = (("baseline", run["strategy"] == "baseline", "dash"),)
        for name, chosen, dash in (*rows, ("dense control", is_control(run), "dot")):
            mean = run.loc[chosen, column].mean()
            if pd.notna(mean):
                yield name, float(mean), dash
