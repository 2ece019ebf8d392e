"""What a run trains: sparsity and learning rate over the fine-tuning epochs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from pruning_core.common.formatting import epoch_number, format_percent
from pruning_core.methods.strategies import CONTROL_TITLE, ONE_SHOT, STRATEGIES
from pruning_core.planning.preview import TrainingSeries
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
PREVIOUS_OPACITY = 0.35
LABEL_SHARE = 0.14  # of the x axis, that a text needs
RATE, EPOCHS = Subplot("x", "y2", 70), Subplot("x", "y", 205)


@dataclass(frozen=True)
class NeededSparsity:
    """The sparsity (a fraction) that a maximum size needs, and the text at its line."""

    sparsity: float
    text: str


def preview_chart(
    all_series: Sequence[TrainingSeries],
    previous: Sequence[TrainingSeries] = (),
    needed: NeededSparsity | None = None,
) -> go.Figure:
    """Sparsity (above) and learning rate (below) over the fine-tuning epochs of each series.

    A chain of pruning steps is a staircase, a model that is pruned once is a line. The marker at
    the end of a model's training is filled, with its accuracy, where it is already measured.
    `previous` are the series before the last change, drawn in grey.
    """
    drawing = Drawing(layout("Sparsity and learning rate"))
    last = max((series.epochs for series in (*all_series, *previous)), default=0.0)
    right = max(last, LEAST_EPOCHS) * (1 + MARGIN)
    for series in previous:
        drawing.traces.extend(_previous_lines(series))
    if needed:
        add_reference_line(drawing, 100 * needed.sparsity, GREY, "dash", EPOCHS)
    for series in all_series:
        drawing.traces.append(_line(series))
        drawing.traces.append(_markers(series))
    drawing.traces.extend(_rates(all_series))
    drawing.annotations.extend(_accuracies(all_series, last))
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
    labels = list(_labels(all_series, last))
    labels += [Label(needed.text, 100 * needed.sparsity)] if needed else []
    add_end_labels(drawing, labels, Y_RANGE, EPOCHS)
    return drawing.figure()


def _path(series: TrainingSeries) -> tuple[list[float], list[float]]:
    """Epochs and sparsities (percent) of a series; a pruning step is a vertical line."""
    several = len(series.steps) > 1 or STRATEGIES[series.strategy].one_chain
    x, y = ([0.0], [0.0]) if several else ([], [])
    for step in series.steps:
        x += [step.start, step.end]
        y += [100 * step.sparsity] * 2
    return x, y


def _line(series: TrainingSeries) -> Part:
    x, y = _path(series)
    strategy = SERIES[series.strategy]
    return {
        "type": "scatter",
        "x": x,
        "y": y,
        "mode": "lines",
        "name": strategy.title,
        "line": {"color": strategy.color, "width": max(2, strategy.width)},
        "hoverinfo": "skip",
    }


def _markers(series: TrainingSeries) -> Part:
    """A marker at the end of each step: filled where the model is measured."""
    strategy, opened = SERIES[series.strategy], symbol(series.strategy, 0).removesuffix("-open")
    return {
        "type": "scatter",
        "x": [step.end for step in series.steps],
        "y": [100 * step.sparsity for step in series.steps],
        "mode": "markers",
        "name": strategy.title,
        "marker": {
            "color": strategy.color,
            "symbol": [opened + "-open" * (step.accuracy is None) for step in series.steps],
            "size": max(8, strategy.size - 2),
            "line": {"width": 2, "color": strategy.color},
        },
        "hovertext": _hover_texts(series),
        "hoverinfo": "text",
    }


def _hover_texts(series: TrainingSeries) -> list[str]:
    title, texts, count = _title(series), [], len(series.steps)
    for i, step in enumerate(series.steps, start=1):
        number = f", step {i} of {count}" if count > 1 else ""
        state = (
            "not computed yet"
            if step.accuracy is None
            else f"computed: test accuracy {format_percent(step.accuracy)}"
        )
        texts.append(
            f"{title}{number}: {format_percent(step.sparsity)}<br>"
            f"epochs {epoch_number(step.start)} to {epoch_number(step.end)}, {state}"
        )
    return texts


def _title(series: TrainingSeries) -> str:
    if series.strategy == ONE_SHOT and not series.steps[-1].sparsity:
        return CONTROL_TITLE
    return STRATEGIES[series.strategy].title


def _rates(all_series: Sequence[TrainingSeries]) -> Iterator[Part]:
    """The learning rate of each series once: one-shot models of all sparsities share theirs."""
    drawn = set[tuple[str, tuple[tuple[float, float], ...]]]()
    for series in all_series:
        if not series.rates or (series.strategy, series.rates) in drawn:
            continue
        drawn.add((series.strategy, series.rates))
        strategy = SERIES[series.strategy]
        yield {
            "type": "scatter",
            "x": [epoch for epoch, _ in series.rates],
            "y": [rate for _, rate in series.rates],
            "yaxis": "y2",
            "mode": "lines",
            "name": f"{strategy.title}: learning rate",
            "line": {"color": strategy.color, "width": 2},
            "hovertemplate": f"{strategy.title}<br>epoch %{{x:.3g}}: learning rate %{{y:.3g}}"
            "<extra></extra>",
        }


def _previous_lines(series: TrainingSeries) -> Iterator[Part]:
    x, y = _path(series)
    line = {"color": GREY, "width": 2}
    common = {"type": "scatter", "mode": "lines", "line": line, "opacity": PREVIOUS_OPACITY}
    yield {**common, "x": x, "y": y, "name": "before the last change", "hoverinfo": "skip"}
    if series.rates:
        epochs, rates = zip(*series.rates, strict=True)
        yield {
            **common,
            "x": list(epochs),
            "y": list(rates),
            "yaxis": "y2",
            "name": "learning rate before the last change",
            "hoverinfo": "skip",
        }


def _accuracies(all_series: Sequence[TrainingSeries], last: float) -> Iterator[Part]:
    """The measured accuracy of each model; at the right edge the label of its series has it.

    Steps that are too short for a text have it in their hover text only.
    """
    for series in all_series:
        several = len(series.steps) > 1
        for step in series.steps:
            wide = last and (step.end - step.start) / last >= LABEL_SHARE
            if step.accuracy is None or step.end == last or (several and not wide):
                continue
            # Above its own stair there is room, and beside the end of a line.
            place = (
                {"xanchor": "right", "xshift": -4} if several else {"xanchor": "left", "xshift": 7}
            )
            yield {
                "text": format_percent(step.accuracy),
                "x": step.end,
                "y": 100 * step.sparsity,
                "yanchor": "bottom",
                "showarrow": False,
                "font": {"size": TEXT_SIZE},
                **place,
            }


def _labels(all_series: Sequence[TrainingSeries], last: float) -> Iterator[Label]:
    """The name of each strategy, at the height of its highest sparsity.

    A series that ends at the right edge has its measured accuracy there, too.
    """
    highest: dict[str, TrainingSeries] = {}
    for series in all_series:
        top = highest.get(series.strategy, series)
        if series.steps[-1].sparsity >= top.steps[-1].sparsity:
            highest[series.strategy] = series
    for name, series in highest.items():
        strategy = SERIES[name]
        text, final = strategy.title.replace(", ", ",<br>"), series.steps[-1]
        if final.accuracy is not None and final.end == last:
            text += f" {format_percent(final.accuracy)}"
        y = 100 * max(step.sparsity for step in series.steps)
        yield Label(text, y, strategy.color, strategy.glyph)


PICTURE_WIDTH, PICTURE_HEIGHT, PICTURE_MARGIN = 120, 44, 4


def preview_picture(all_series: Sequence[TrainingSeries]) -> str:
    """A small picture of the sparsities over the epochs, as SVG, for a narrow screen."""
    last = max((series.epochs for series in all_series), default=0.0) or LEAST_EPOCHS
    width, height = PICTURE_WIDTH - 2 * PICTURE_MARGIN, PICTURE_HEIGHT - 2 * PICTURE_MARGIN
    lines = []
    for series in all_series:
        points = " ".join(
            f"{PICTURE_MARGIN + width * x / last:.1f},{PICTURE_MARGIN + height * (1 - y / 100):.1f}"
            for x, y in zip(*_path(series), strict=True)
        )
        color = SERIES[series.strategy].color
        lines.append(f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="2"/>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" '
        f'viewBox="0 0 {PICTURE_WIDTH} {PICTURE_HEIGHT}" width="{PICTURE_WIDTH}" '
        f'height="{PICTURE_HEIGHT}">{"".join(lines)}</svg>'
    )
