"""What a run trains: sparsity and learning rate over the fine-tuning epochs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from pruning_core.common.formatting import epoch_number, format_percent
from pruning_core.methods.strategies import CONTROL_TITLE, ONE_SHOT, STRATEGIES
from pruning_core.planning.outlook import Course
from pruning_core.reports.charts.drawing import Drawing, Part, add_end_labels, add_reference_line
from pruning_core.reports.charts.style import (
    GREY,
    GRID,
    SERIES,
    TEXT_SIZE,
    Label,
    Subplot,
    axis,
    layout,
    symbol,
)

CHART_HEIGHT = 430
SPARSITY_DOMAIN, RATE_DOMAIN = (0.4, 1.0), (0.0, 0.24)
Y_RANGE = (-4.0, 106.0)
MARGIN = 0.03  # of the epochs, at both ends of the x axis
LEAST_EPOCHS = 0.5
GHOST = 0.35
LABEL_SHARE = 0.14  # of the x axis, that a text needs
RATE, EPOCHS = Subplot("x", "y2", 70), Subplot("x", "y", 205)


@dataclass(frozen=True)
class NeededSparsity:
    """The sparsity (a fraction) that a maximum size needs, and the text at its line."""

    sparsity: float
    text: str


def outlook_chart(
    courses: Sequence[Course],
    before: Sequence[Course] = (),
    needed: NeededSparsity | None = None,
) -> go.Figure:
    """Sparsity (above) and learning rate (below) over the fine-tuning epochs of each series.

    A chain of pruning steps is a staircase, a model that is pruned once is a line. The marker at
    the end of a model's training is filled, with its accuracy, where it is already measured.
    `before` are the series before the last change, drawn in grey.
    """
    drawing = Drawing(layout("Sparsity and learning rate"))
    last = max((course.epochs for course in (*courses, *before)), default=0.0)
    right = max(last, LEAST_EPOCHS) * (1 + MARGIN)
    for course in before:
        drawing.traces.extend(_ghost(course))
    if needed:
        add_reference_line(drawing, 100 * needed.sparsity, GREY, "dash", EPOCHS)
    for course in courses:
        drawing.traces.append(_line(course))
        drawing.traces.append(_markers(course))
    drawing.traces.extend(_rates(courses))
    drawing.annotations.extend(_accuracies(courses, last))
    drawing.layout.update(height=CHART_HEIGHT, uirevision=f"{right:g}")
    drawing.layout["xaxis"] = axis(
        "Fine-tuning epochs after the baseline", range=(-MARGIN * right, right), anchor="y2"
    )
    drawing.layout["yaxis"] = axis(
        "Sparsity", " %", range=Y_RANGE, domain=SPARSITY_DOMAIN, nticks=6
    )
    drawing.layout["yaxis2"] = axis(
        "Learning rate", domain=RATE_DOMAIN, rangemode="tozero", nticks=4, gridcolor=GRID
    )
    labels = list(_labels(courses, last))
    labels += [Label(needed.text, 100 * needed.sparsity)] if needed else []
    add_end_labels(drawing, labels, Y_RANGE, EPOCHS)
    return drawing.figure()


def _path(course: Course) -> tuple[list[float], list[float]]:
    """Epochs and sparsities (percent) of a series; a pruning step is a vertical line."""
    several = len(course.parts) > 1 or STRATEGIES[course.strategy].one_chain
    x, y = ([0.0], [0.0]) if several else ([], [])
    for part in course.parts:
        x += [part.start, part.end]
        y += [100 * part.sparsity] * 2
    return x, y


def _line(course: Course) -> Part:
    x, y = _path(course)
    strategy = SERIES[course.strategy]
    return {
        "type": "scatter",
        "x": x,
        "y": y,
        "mode": "lines",
        "name": strategy.title,
        "line": {"color": strategy.color, "width": max(2, strategy.width)},
        "hoverinfo": "skip",
    }


def _markers(course: Course) -> Part:
    """A marker at the end of each part: filled where the model is measured."""
    strategy, opened = SERIES[course.strategy], symbol(course.strategy, 0).removesuffix("-open")
    return {
        "type": "scatter",
        "x": [part.end for part in course.parts],
        "y": [100 * part.sparsity for part in course.parts],
        "mode": "markers",
        "name": strategy.title,
        "marker": {
            "color": strategy.color,
            "symbol": [opened + "-open" * (part.accuracy is None) for part in course.parts],
            "size": max(8, strategy.size - 2),
            "line": {"width": 2, "color": strategy.color},
        },
        "hovertext": _hover_texts(course),
        "hoverinfo": "text",
    }


def _hover_texts(course: Course) -> list[str]:
    title, texts = _title(course), []
    for i, part in enumerate(course.parts, start=1):
        step = f", step {i} of {len(course.parts)}" if len(course.parts) > 1 else ""
        state = (
            "not computed yet"
            if part.accuracy is None
            else f"computed: test accuracy {format_percent(part.accuracy)}"
        )
        texts.append(
            f"{title}{step}: {format_percent(part.sparsity)}<br>"
            f"epochs {epoch_number(part.start)} to {epoch_number(part.end)}, {state}"
        )
    return texts


def _title(course: Course) -> str:
    if course.strategy == ONE_SHOT and not course.parts[-1].sparsity:
        return CONTROL_TITLE
    return STRATEGIES[course.strategy].title


def _rates(courses: Sequence[Course]) -> Iterator[Part]:
    """The learning rate of each series once: one-shot models of all sparsities share theirs."""
    drawn = set[tuple[str, tuple[tuple[float, float], ...]]]()
    for course in courses:
        if not course.rates or (course.strategy, course.rates) in drawn:
            continue
        drawn.add((course.strategy, course.rates))
        strategy = SERIES[course.strategy]
        yield {
            "type": "scatter",
            "x": [epoch for epoch, _ in course.rates],
            "y": [rate for _, rate in course.rates],
            "yaxis": "y2",
            "mode": "lines",
            "name": f"{strategy.title}: learning rate",
            "line": {"color": strategy.color, "width": 2},
            "hovertemplate": f"{strategy.title}<br>epoch %{{x:.3g}}: learning rate %{{y:.3g}}"
            "<extra></extra>",
        }


def _ghost(course: Course) -> Iterator[Part]:
    x, y = _path(course)
    line = {"color": GREY, "width": 2}
    common = {"type": "scatter", "mode": "lines", "line": line, "opacity": GHOST}
    yield {**common, "x": x, "y": y, "name": "before the last change", "hoverinfo": "skip"}
    if course.rates:
        epochs, rates = zip(*course.rates, strict=True)
        yield {
            **common,
            "x": list(epochs),
            "y": list(rates),
            "yaxis": "y2",
            "name": "learning rate before the last change",
            "hoverinfo": "skip",
        }


def _accuracies(courses: Sequence[Course], last: float) -> Iterator[Part]:
    """The measured accuracy of each model; at the right edge the label of its series has it.

    Steps that are too short for a text have it in their hover text only.
    """
    for course in courses:
        several = len(course.parts) > 1
        for part in course.parts:
            wide = last and (part.end - part.start) / last >= LABEL_SHARE
            if part.accuracy is None or part.end == last or (several and not wide):
                continue
            # Above its own stair there is room, and beside the end of a line.
            place = (
                {"xanchor": "right", "xshift": -4} if several else {"xanchor": "left", "xshift": 7}
            )
            yield {
                "text": format_percent(part.accuracy),
                "x": part.end,
                "y": 100 * part.sparsity,
                "yanchor": "bottom",
                "showarrow": False,
                "font": {"size": TEXT_SIZE},
                **place,
            }


def _labels(courses: Sequence[Course], last: float) -> Iterator[Label]:
    """The name of each strategy, at the height of its highest sparsity.

    A series that ends at the right edge has its measured accuracy there, too.
    """
    highest: dict[str, Course] = {}
    for course in courses:
        top = highest.get(course.strategy, course)
        if course.parts[-1].sparsity >= top.parts[-1].sparsity:
            highest[course.strategy] = course
    for name, course in highest.items():
        strategy = SERIES[name]
        text, final = strategy.title.replace(", ", ",<br>"), course.parts[-1]
        if final.accuracy is not None and final.end == last:
            text += f" {format_percent(final.accuracy)}"
        y = 100 * max(part.sparsity for part in course.parts)
        yield Label(text, y, strategy.color, strategy.glyph)


PICTURE_WIDTH, PICTURE_HEIGHT, PICTURE_MARGIN = 120, 44, 4


def outlook_picture(courses: Sequence[Course]) -> str:
    """A small picture of the sparsities over the epochs, as SVG, for a narrow screen."""
    last = max((course.epochs for course in courses), default=0.0) or LEAST_EPOCHS
    width, height = PICTURE_WIDTH - 2 * PICTURE_MARGIN, PICTURE_HEIGHT - 2 * PICTURE_MARGIN
    lines = []
    for course in courses:
        points = " ".join(
            f"{PICTURE_MARGIN + width * x / last:.1f},{PICTURE_MARGIN + height * (1 - y / 100):.1f}"
            for x, y in zip(*_path(course), strict=True)
        )
        color = SERIES[course.strategy].color
        lines.append(f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="2"/>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" '
        f'viewBox="0 0 {PICTURE_WIDTH} {PICTURE_HEIGHT}" width="{PICTURE_WIDTH}" '
        f'height="{PICTURE_HEIGHT}">{"".join(lines)}</svg>'
    )
