"""The sparsity schedule as a chart."""

from __future__ import annotations

import pytest

from pruning_core.reports.charts.schedule import schedule_chart


def test_a_schedule_is_a_staircase_and_one_shot_sparsities_are_markers() -> None:
    chart = schedule_chart(
        {"iterative": [0.5, 0.8, 0.9], "one_shot": [0.0, 0.3], "one_shot_equal_budget": [0.9]}
    )
    iterative, one_shot, equal_budget = chart.data
    assert list(iterative.y) == pytest.approx([0, 50, 80, 90])
    assert list(iterative.x) == [0, 1, 2, 3]
    assert iterative.line.shape == "hv"
    assert (iterative.line.color, one_shot.marker.color) == ("#D55E00", "#0072B2")
    assert (list(one_shot.x), list(one_shot.y)) == ([1, 1], pytest.approx([0, 30]))
    assert list(equal_budget.y) == pytest.approx([90])


def test_hover_texts_name_strategy_step_and_sparsity() -> None:
    chart = schedule_chart({"iterative": [0.5, 0.8], "one_shot": [0.3]})
    assert list(chart.data[0].hovertext)[-1] == "iterative, step 2: 80.00 %"
    assert list(chart.data[1].hovertext) == ["one-shot: 30 % in one step"]


def test_an_empty_schedule_is_an_empty_chart() -> None:
    assert len(schedule_chart({"one_shot": []}).data) == 0


def test_each_strategy_is_named_at_the_right_edge() -> None:
    chart = schedule_chart({"iterative": [0.5, 0.9], "one_shot_equal_budget": [0.9]})
    ends = [note.text for note in chart.layout.annotations]
    assert any(text.endswith("iterative") for text in ends)
    assert any(text.endswith("one-shot,<br>equal budget") for text in ends)
