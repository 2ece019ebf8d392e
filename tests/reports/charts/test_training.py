"""Charts that change while one looks."""

from __future__ import annotations

import pytest

from pruning_core.reports.charts.training import schedule_chart, training_curves


def test_the_schedule_has_a_step_for_each_target_and_a_point_for_each_amount() -> None:
    drawn = schedule_chart(
        {"iterative": [0.5, 0.8, 0.9], "one_shot": [0.0, 0.3], "one_shot_equal_budget": [0.9]}
    )
    chain, one_shot, equal_budget = drawn.data
    assert list(chain.y) == pytest.approx([0, 50, 80, 90])
    assert list(chain.x) == [0, 1, 2, 3]
    assert chain.line.shape == "hv"
    assert (chain.line.color, one_shot.marker.color) == ("#D55E00", "#0072B2")
    assert (list(one_shot.x), list(one_shot.y)) == ([1, 1], pytest.approx([0, 30]))
    assert list(equal_budget.y) == pytest.approx([90])


def test_an_empty_schedule_is_an_empty_chart() -> None:
    assert len(schedule_chart({"one_shot": []}).data) == 0


def test_history_skips_what_is_not_known_and_takes_the_strategy_colour() -> None:
    history = [
        {"epoch": 1, "loss": 2.0, "accuracy": None},
        {"epoch": 2, "loss": 1.0, "accuracy": 0.5},
    ]
    drawn = training_curves(
        {"a": history, "b": history}, "accuracy", {"a": "iterative", "b": "iterative"}
    )
    assert (list(drawn.data[0].x), list(drawn.data[0].y)) == ([2], [50.0])
    assert drawn.data[0].line.color == drawn.data[1].line.color == "#D55E00"
    assert drawn.data[0].line.dash != drawn.data[1].line.dash
    assert list(training_curves({"a": history}).data[0].y) == [2.0, 1.0]


def test_less_than_an_epoch_has_ticks_too() -> None:
    drawn = training_curves({"a": [{"epoch": 0.5, "loss": 1.0}]})
    assert list(drawn.data[0].x) == [0.5]
    assert drawn.layout.xaxis.dtick == 0.125


def test_history_of_many_stages_takes_a_legend() -> None:
    history = [{"epoch": 1, "loss": 1.0}]
    few = training_curves({str(i): history for i in range(3)})
    many = training_curves({str(i): history for i in range(24)})
    assert not few.layout.showlegend
    assert len(few.layout.annotations) == 3
    assert many.layout.showlegend
    assert not many.layout.annotations
    assert len(training_curves({"a": []}).data) == 1


def test_eleven_curves_have_a_label_each_and_no_legend() -> None:
    history = [{"epoch": 1, "loss": 2.0}, {"epoch": 2, "loss": 1.0}]
    drawn = training_curves({f"one-shot {i} %": history for i in range(11)})
    assert not drawn.layout.showlegend
    assert len({a.text for a in drawn.layout.annotations}) == 11
    assert len({a.ay for a in drawn.layout.annotations}) == 11


def test_a_legend_has_room_for_all_its_names() -> None:
    history = [{"epoch": 1, "loss": 1.0}]
    drawn = training_curves({str(i): history for i in range(24)})
    assert drawn.layout.margin.b > 12 * 20
    plot = drawn.layout.height - drawn.layout.margin.t - drawn.layout.margin.b
    assert plot > 150


def test_the_hover_tells_the_stage_of_an_epoch() -> None:
    history = [{"epoch": 1, "loss": 1.0, "stage": "step <1>"}, {"epoch": 2, "loss": 1.0}]
    (curve,) = training_curves({"iterative": history}).data
    assert list(curve.customdata) == ["step &lt;1&gt;", "iterative"]
