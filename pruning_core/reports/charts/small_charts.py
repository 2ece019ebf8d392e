"""Small pictures as SVG in HTML: a chart of a few lines, and weights before and after pruning.

They take the text color of the page, have no toolbar, and cost a page almost nothing. Each has a
text that says what it shows.
"""

from __future__ import annotations

import base64
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from pruning_core.common.formatting import format_percent
from pruning_core.methods.sparsity_schedules import geometric
from pruning_core.methods.strategies import (
    BASELINE,
    CORRECTION,
    ITERATIVE,
    ONE_SHOT,
    STRATEGIES,
    STRUCTURED,
)
from pruning_core.reports.charts.style import GREY, SERIES
from pruning_core.results.rows import Row, mean_over_seeds
from pruning_core.settings.pruning_steps import targets
from pruning_core.settings.spec import Spec

MARGIN = 0.06  # of a range, so that no marker is cut off
GRID_SIZE = 10  # the side of the square of weights
CELL, GAP = 8, 2  # pixels
WRAPPED = "flex-wrap:wrap;justify-content:flex-start;gap:0 1rem"
ROW_STYLE = "display:flex;gap:0.4rem;align-items:stretch"
LABEL_STYLE = "display:flex;justify-content:space-between;font-size:0.8rem"


@dataclass(frozen=True)
class Line:
    """A line through points; one with `steps` rises in stairs, one without `joined` has dots only.

    `title` is its text in the legend, after the `glyph`; without it, it is not in the legend.
    """

    points: Sequence[tuple[float, float]]
    color: str
    title: str = ""
    glyph: str = "●"
    steps: bool = False
    joined: bool = True
    dashed: bool = False


def small_chart(
    lines: Iterable[Line],
    alt: str,
    height: int = 70,
    x_labels: tuple[str, str] = ("", ""),
    legend: bool = False,
) -> str:
    """A chart of lines with percent on its y axis, as HTML. `height` is in pixels.

    `x_labels` stand at both ends of the x axis. `alt` says what the chart shows.
    """
    lines = [line for line in lines if line.points]
    x_range = _range([x for line in lines for x, _ in line.points])
    y_range = _range([y for line in lines for _, y in line.points])
    shapes = "".join(_shapes(line, x_range, y_range) for line in lines)
    high, low = (format_percent(y) for y in (max(_ys(lines)), min(_ys(lines))))
    y_axis = f'<div style="{LABEL_STYLE};flex-direction:column">{_texts((high, low))}</div>'
    style = f"flex:1;min-width:0;height:{height}px;border:solid {GREY};border-width:0 0 1px 1px"
    image = _image(shapes, 100, f'style="{style}"', 'preserveAspectRatio="none"')
    x_axis = f'<div style="{LABEL_STYLE};padding-left:3rem">{_texts(x_labels)}</div>'
    titles = [
        f'<span><span style="color:{line.color}">{line.glyph}</span> {escape(line.title)}</span>'
        for line in lines
        if line.title
    ]
    names = f'<div style="{LABEL_STYLE};{WRAPPED}">{"".join(titles)}</div>'
    return _figure(
        f'<div style="{ROW_STYLE}">{y_axis}{image}</div>'
        + x_axis * any(x_labels)
        + names * bool(legend and titles),
        alt,
    )


def _figure(body: str, alt: str) -> str:
    return (
        f'<div role="img" aria-label="{escape(alt)}" style="margin:0;line-height:1.3">'
        f'<div aria-hidden="true">{body}</div></div>'
    )


def _image(shapes: str, side: int, attributes: str, options: str = "") -> str:
    """A square picture of SVG shapes; pages drop SVG that is not in an image."""
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {side} {side}" {options}>'
        f"{shapes}</svg>"
    )
    encoded = base64.b64encode(svg.encode()).decode()
    return f'<img alt="" src="data:image/svg+xml;base64,{encoded}" {attributes}>'


def _texts(texts: Iterable[str]) -> str:
    return "".join(f"<span>{escape(text)}</span>" for text in texts)


def _ys(lines: Iterable[Line]) -> list[float]:
    return [y for line in lines for _, y in line.points] or [0.0]


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    margin = MARGIN * (high - low) or 0.5
    return low - margin, high + margin


def _shapes(line: Line, x_range: tuple[float, float], y_range: tuple[float, float]) -> str:
    """The line and its dots in a square of 100 by 100, whose y axis points down."""
    places = [
        (100 * _share(x, x_range), 100 * (1 - _share(y, y_range))) for x, y in sorted(line.points)
    ]
    stroke = f'fill="none" stroke="{line.color}" style="vector-effect:non-scaling-stroke"'
    path = "M" + " L".join(f"{x:.1f} {y:.1f}" for x, y in _corners(places, line.steps))
    dash = ' stroke-dasharray="4 3"' if line.dashed else ""
    drawn = f'<path d="{path}" {stroke} stroke-width="2"{dash}/>' if line.joined else ""
    if line.dashed:
        return drawn
    # A line without length has a round end, which stays a circle however wide the chart is.
    dots = "".join(f"M{x:.1f} {y:.1f}h0" for x, y in places)
    return f'{drawn}<path d="{dots}" {stroke} stroke-width="6" stroke-linecap="round"/>'


def _share(value: float, limits: tuple[float, float]) -> float:
    low, high = limits
    return (value - low) / (high - low)


def _corners(places: Sequence[tuple[float, float]], steps: bool) -> list[tuple[float, float]]:
    if not steps:
        return list(places)
    corners = [places[0]]
    for (_, before), (x, y) in pairwise(places):
        corners += [(x, before), (x, y)]
    return corners


def schedule_picture(spec: Spec) -> str:
    """The sparsity after each pruning step of the iterative run, and of each one-shot model.

    Structured pruning has a line for each of its pruning ratios.
    """
    steps = targets(spec.iterative) if spec.iterative.enabled else []
    amounts = [amount for amount in spec.one_shot.amounts if amount]
    ratios = spec.structured.ratios if spec.structured.enabled else ()
    chains = [geometric(ratio, spec.structured.steps) for ratio in ratios]
    lines = [
        Line(
            list(enumerate([0.0, *steps])) if steps else [],
            SERIES[ITERATIVE].color,
            SERIES[ITERATIVE].title,
            steps=True,
        ),
        Line(
            [(1.0, amount) for amount in amounts],
            SERIES[ONE_SHOT].color,
            SERIES[ONE_SHOT].title,
            joined=False,
        ),
        *(
            Line(
                list(enumerate([0.0, *chain])),
                SERIES[STRUCTURED].color,
                "" if i else SERIES[STRUCTURED].title,
                steps=True,
            )
            for i, chain in enumerate(chains)
        ),
    ]
    texts = [
        f"{name}: {', '.join(map(format_percent, shares))}"
        for name, shares in (
            ("Iterative, after each step", steps),
            ("One-shot", amounts),
            ("Structured, pruning ratios", ratios),
        )
        if shares
    ]
    alt = f"Sparsity per pruning step. {'. '.join(texts)}."
    last = f"step {max(1, *map(len, (steps, *chains)))}"
    return small_chart(lines, alt, x_labels=("dense", last), legend=True)


def accuracy_picture(rows: Sequence[Row], height: int = 60, detailed: bool = False) -> str:
    """Test accuracy over sparsity of each series of a run, means over seeds.

    `rows` are `model_rows`. A `detailed` picture has the range of the x axis and a legend. Models
    without training are left out.
    """
    means = mean_over_seeds([row for row in rows if row["strategy"] != CORRECTION])
    series: dict[str, list[tuple[float, float]]] = {}
    for row in means:
        point = row["sparsity_prunable"], row["accuracy"]
        series.setdefault(row["strategy"], []).append(point)
    ends = [x for points in series.values() for x, _ in points] or [0.0]
    lines = [_accuracy_line(name, points, ends) for name, points in series.items()]
    labels = ("dense", f"{format_percent(max(ends))} sparsity") if detailed else ("", "")
    return small_chart(lines, _accuracy_text(series), height, labels, legend=detailed)


def _accuracy_line(name: str, points: Sequence[tuple[float, float]], ends: Sequence[float]) -> Line:
    strategy = STRATEGIES[name]
    if name == BASELINE:
        accuracy = points[0][1]
        level = [(min(ends), accuracy), (max(ends), accuracy)]
        return Line(level, GREY, strategy.title, glyph="╌", dashed=True)
    joined = bool(strategy.width)
    return Line(points, strategy.color, strategy.title, joined=joined)


def _accuracy_text(series: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    parts = []
    for name, points in series.items():
        (sparsity, accuracy), title = max(points), STRATEGIES[name].title
        parts.append(f"{title} {format_percent(accuracy)} at {format_percent(sparsity)} sparsity")
    return f"Test accuracy over sparsity: {'; '.join(parts)}."


def pruning_picture(shares: Sequence[float]) -> str:
    """The same 100 weights dense and after each pruning step, to these sparsities, as HTML.

    A darker square is a larger weight. The smallest ones are removed, as in magnitude pruning.
    """
    values = random.Random(0)
    weights = [abs(values.gauss(0, 1)) for _ in range(GRID_SIZE**2)]
    steps = [0.0, *shares]
    names = ["dense", *(f"step {number}" for number in range(1, len(steps)))]
    grids = [
        f'<div style="text-align:center">{_grid(weights, share)}'
        f'<div style="font-size:0.8rem">{name}<br><b>{format_percent(share)}</b></div></div>'
        for name, share in zip(names, steps, strict=True)
    ]
    alt = (
        f"{GRID_SIZE**2} weights of a network, dense and after each of {len(shares)} pruning "
        f"steps: {', '.join(map(format_percent, shares))} of them are removed, the smallest first."
    )
    return _figure(
        f'<div style="display:flex;flex-wrap:wrap;gap:0.8rem">{"".join(grids)}</div>', alt
    )


def _grid(weights: Sequence[float], share: float) -> str:
    removed = set(
        sorted(range(len(weights)), key=weights.__getitem__)[: round(share * len(weights))]
    )
    largest, side = max(weights), GRID_SIZE * (CELL + GAP) - GAP
    cells = []
    for i, weight in enumerate(weights):
        x, y = (part * (CELL + GAP) for part in (i % GRID_SIZE, i // GRID_SIZE))
        opacity = 0.25 + 0.75 * weight / largest
        fill = (
            f'fill="none" stroke="{GREY}" stroke-opacity="0.35"'
            if i in removed
            else f'fill="{SERIES[ONE_SHOT].color}" fill-opacity="{opacity:.2f}"'
        )
        cells.append(f'<rect x="{x}" y="{y}" width="{CELL}" height="{CELL}" {fill}/>')
    return _image("".join(cells), side, f'width="{side}" height="{side}"')
