"""The chart of a verdict: what the goal allows, the models with their bounds, the ring."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go
import pytest

from pruning_core.reports.charts.style import BY_RUN, SERIES
from pruning_core.reports.charts.verdict import chart_caption, verdict_chart
from pruning_core.results.goal import DEFAULT_GOAL, Goal
from pruning_core.results.verdict import Verdict, verdicts_of
from tests.helpers.frames import comparison, point


def verdict(rows: list[dict[str, Any]], goal: Goal = DEFAULT_GOAL) -> Verdict:
    (only,) = verdicts_of(rows, goal)
    return only


def band(chart: go.Figure) -> Any:
    return next((shape for shape in chart.layout.shapes if shape.type == "rect"), None)


def ring(chart: go.Figure) -> tuple[float, float] | None:
    rings = [(trace.x[0], trace.y[0]) for trace in chart.data if trace.name == "ring"]
    return rings[0] if rings else None


def test_the_goal_is_shaded_and_the_model_that_meets_it_ringed() -> None:
    one = verdict(comparison(), Goal(0.01, 3e6))
    chart = verdict_chart(one)
    shaded = band(chart)
    assert (shaded.x1, shaded.y0) == (3, pytest.approx(94))  # the baseline has 95 %
    best = next(row for row in comparison() if row["sparsity_asked"] == 0.749)
    assert ring(chart) == (best["sparse_bytes"] / 1e6, pytest.approx(94.5))
    dense = next(trace for trace in chart.data if trace.name == "baseline")
    assert dense.y[0] == pytest.approx(95)
    assert "ring: the best model" in chart_caption(one)


def test_a_model_meets_the_goal_if_its_bar_ends_in_the_shaded_part() -> None:
    goal = Goal(0.01)
    one = verdict(comparison(), goal)
    chart = verdict_chart(one)
    ends = {
        x: y - down
        for trace in chart.data
        if trace.name in SERIES
        for x, y, down in zip(trace.x, trace.y, trace.error_y.arrayminus, strict=True)
    }
    assert len(ends) >= 6
    for row in one.models:
        if (end := ends.get(row["sparse_bytes"] / 1e6)) is not None and row["drop_bound"] < 0.05:
            assert (end >= band(chart).y0 - 1e-9) == goal.allows_drop(row["drop_bound"])


def test_models_far_below_are_counted_and_not_drawn() -> None:
    one = verdict(comparison())
    drawn = sum(len(trace.x) for trace in verdict_chart(one).data if trace.name in SERIES)
    below = len(one.models) - drawn
    assert below == 3  # at 90 %
    assert f"{below} models with larger drops not drawn" in chart_caption(one)
    wide = verdict(comparison(), Goal(0.3))
    assert "not drawn" not in chart_caption(wide)


def test_corrections_are_grey_and_the_caption_says_so() -> None:
    rows = [*comparison(), point("correction", 0.5, 378, iteration=3)]
    one = verdict(rows)
    (markers,) = [trace for trace in verdict_chart(one).data if trace.name == "correction"]
    assert markers.marker.color == "#808080"
    assert "grey: training-free correction" in chart_caption(one)
    assert "grey" not in chart_caption(verdict(comparison()))


def test_runs_with_other_baselines_share_the_baseline_as_zero() -> None:
    rows = [*comparison(), *comparison(run="b", run_id="run-2", luck=-8)]
    one = verdict(rows)
    chart = verdict_chart(one, BY_RUN, {"run-1": 0, "run-2": 1})
    assert "Change of validation accuracy" in chart.layout.title.text
    assert band(chart).y0 == pytest.approx(-1)
    colors = {t.marker.color for t in chart.data if t.name == "iterative"}
    assert colors == {"#0072B2", "#D55E00"}


@pytest.mark.parametrize("goal", [Goal(None, None), Goal(None, 1e6), Goal(0.0, None)])
def test_any_goal_can_be_drawn(goal: Goal) -> None:
    chart = verdict_chart(verdict(comparison(), goal))
    assert (band(chart) is None) == (not goal.text)


def test_a_single_model_without_a_baseline_can_be_drawn() -> None:
    one = verdict([point("one_shot", 0.5)])
    chart = verdict_chart(one)
    low, high = chart.layout.yaxis.range
    assert low < high
