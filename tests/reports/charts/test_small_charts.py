"""Small pictures: what they draw, and the text that says it."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from pruning_core.methods.strategies import BASELINE, CORRECTION, ITERATIVE, ONE_SHOT, STRUCTURED
from pruning_core.planning.presets import PRESETS, QUICKSTART
from pruning_core.reports.charts.small_charts import (
    Line,
    accuracy_picture,
    pruning_picture,
    schedule_picture,
    small_chart,
)
from pruning_core.reports.charts.style import SERIES
from pruning_core.settings.pruning_steps import targets
from pruning_core.settings.spec import Spec
from tests.helpers.frames import point


def images(html: str) -> list[ElementTree.Element]:
    """The SVG images of a picture."""
    encoded = re.findall(r"data:image/svg\+xml;base64,([^\"]+)", html)
    return [ElementTree.fromstring(base64.b64decode(text)) for text in encoded]


def alt(html: str) -> str:
    (text,) = re.findall(r'aria-label="([^"]*)"', html)
    return text


def paths(html: str, color: str) -> list[list[tuple[float, float]]]:
    """The points of the paths in a color: of the line, then of its dots."""
    (image,) = images(html)
    drawn = [path.get("d", "") for path in image if path.get("stroke") == color]
    return [
        [(float(x), float(y)) for x, y in re.findall(r"(-?[\d.]+) (-?[\d.]+)", path)]
        for path in drawn
    ]


def test_a_line_runs_from_left_to_right_and_higher_values_are_higher() -> None:
    html = small_chart([Line([(0.0, 0.9), (0.5, 0.95), (0.9, 0.5)], "red", "a & b")], "A <text>.")
    line, dots = paths(html, "red")
    assert line == dots
    xs, ys = zip(*line, strict=True)
    assert list(xs) == sorted(xs)
    assert ys[1] < ys[0] < ys[2]
    assert all(0 <= value <= 100 for value in (*xs, *ys))
    assert "95 %" in html
    assert "50 %" in html
    assert alt(html) == "A &lt;text&gt;."
    assert "a &amp; b" in small_chart([Line([(0, 0)], "red", "a & b")], "", legend=True)


def test_stairs_rise_at_the_next_step() -> None:
    html = small_chart([Line([(0, 0.0), (1, 0.5)], "red", steps=True)], "")
    line, _ = paths(html, "red")
    assert [x for x, _ in line] == [line[0][0], line[-1][0], line[-1][0]]


@pytest.mark.parametrize("lines", [[], [Line([], "red")], [Line([(0.5, 0.5)], "red")]])
def test_few_points_are_drawn_without_an_error(lines: list[Line]) -> None:
    assert len(images(small_chart(lines, "Nothing."))) == 1


@pytest.mark.parametrize("name", PRESETS)
def test_the_schedule_of_a_preset_is_that_of_its_settings(name: str) -> None:
    spec = PRESETS[name].spec
    html = schedule_picture(spec)
    if spec.iterative.enabled:
        _, dots = paths(html, SERIES[ITERATIVE].color)
        assert len(dots) == 1 + len(targets(spec.iterative))
        assert "after each step: " in alt(html)
    if one_shot := [amount for amount in spec.one_shot.amounts if amount]:
        assert len(paths(html, SERIES[ONE_SHOT].color)[0]) == len(one_shot)
        assert "One-shot: " in alt(html)
    ratios = spec.structured.ratios if spec.structured.enabled else ()
    assert len(paths(html, SERIES[STRUCTURED].color)) == 2 * len(ratios)


def test_a_schedule_has_a_line_for_each_ratio_of_structured_pruning() -> None:
    structured = replace(QUICKSTART.structured, enabled=True, ratios=(0.3, 0.5), steps=3)
    html = schedule_picture(replace(QUICKSTART, structured=structured))
    _, dots, _, _ = paths(html, SERIES[STRUCTURED].color)
    assert len(dots) == 4, "the dense model and three steps"
    assert "Structured, pruning ratios: 30 %, 50 %" in alt(html)


def test_a_schedule_without_iterative_pruning_has_its_one_shot_models_only() -> None:
    spec: Spec = replace(QUICKSTART, iterative=replace(QUICKSTART.iterative, enabled=False))
    html = schedule_picture(spec)
    assert paths(html, SERIES[ITERATIVE].color) == []
    assert "Iterative" not in alt(html)


def test_the_accuracy_of_a_run_is_drawn_with_its_baseline_dashed() -> None:
    rows = [
        point(BASELINE, 0.0, 380),
        point(ONE_SHOT, 0.5, 360),
        point(ONE_SHOT, 0.9, 160),
        point(ITERATIVE, 0.9, 320),
        point(CORRECTION, 0.9, 40),
    ]
    html = accuracy_picture(rows, detailed=True)
    assert len(paths(html, SERIES[ONE_SHOT].color)[0]) == 2
    (image,) = images(html)
    assert [path.get("stroke-dasharray") for path in image].count("4 3") == 1
    assert "one-shot 40 % at 90 % sparsity" in alt(html)
    assert "iterative 80 % at 90 % sparsity" in alt(html)
    assert "10 %" not in html, "models without training are left out"


def test_as_many_weights_are_removed_as_the_schedule_says_and_the_smallest_first() -> None:
    shares = targets(QUICKSTART.iterative)
    grids = images(pruning_picture(shares))
    removed = [{i for i, cell in enumerate(grid) if cell.get("fill") == "none"} for grid in grids]
    assert [len(cells) for cells in removed] == [0, *(round(100 * share) for share in shares)]
    assert all(before <= after for before, after in pairwise(removed))
    dense = [float(cell.get("fill-opacity", 0)) for cell in grids[0]]
    last = removed[-1]
    assert max(dense[i] for i in last) <= min(dense[i] for i in range(100) if i not in last)
