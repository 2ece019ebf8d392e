"""Training curves over epochs."""

from __future__ import annotations

from typing import Any

from pruning_core.methods.strategies import CONTROL_TITLE
from pruning_core.reports.charts.style import GREY
from pruning_core.reports.charts.training import training_curves


def test_unknown_values_are_left_out_and_curves_have_the_color_of_their_strategy() -> None:
    history: list[dict[str, Any]] = [
        {"epoch": 1, "loss": 2.0, "accuracy": None},
        {"epoch": 2, "loss": 1.0, "accuracy": 0.5},
    ]
    chart = training_curves(
        {"a": history, "b": history}, "accuracy", {"a": "iterative", "b": "iterative"}
    )
    assert (list(chart.data[0].x), list(chart.data[0].y)) == ([2], [50.0])
    assert chart.data[0].line.color == chart.data[1].line.color == "#D55E00"
    assert chart.data[0].line.dash != chart.data[1].line.dash
    assert list(training_curves({"a": history}).data[0].y) == [2.0, 1.0]


def test_less_than_an_epoch_has_ticks() -> None:
    chart = training_curves({"a": [{"epoch": 0.5, "loss": 1.0}]})
    assert list(chart.data[0].x) == [0.5]
    assert chart.layout.xaxis.dtick == 0.125


def test_many_curves_have_a_legend() -> None:
    history = [{"epoch": 1, "loss": 1.0}]
    few = training_curves({str(i): history for i in range(3)})
    many = training_curves({str(i): history for i in range(24)})
    assert not few.layout.showlegend
    assert len(few.layout.annotations) == 3
    assert many.layout.showlegend
    assert not many.layout.annotations
    assert len(training_curves({"a": []}).data) == 1


def test_eleven_curves_have_labels_and_no_legend() -> None:
    history = [{"epoch": 1, "loss": 2.0}, {"epoch": 2, "loss": 1.0}]
    chart = training_curves({f"one-shot {i} %": history for i in range(11)})
    assert not chart.layout.showlegend
    assert len({a.text for a in chart.layout.annotations}) == 11
    assert len({a.ay for a in chart.layout.annotations}) == 11


def test_a_legend_has_space_for_all_names() -> None:
    history = [{"epoch": 1, "loss": 1.0}]
    chart = training_curves({str(i): history for i in range(24)})
    assert chart.layout.margin.b > 12 * 20
    plot = chart.layout.height - chart.layout.margin.t - chart.layout.margin.b
    assert plot > 150


def test_the_hover_text_names_the_stage_of_an_epoch() -> None:
    history: list[dict[str, Any]] = [
        {"epoch": 1, "loss": 1.0, "stage": "step <1>"},
        {"epoch": 2, "loss": 1.0},
    ]
    (curve,) = training_curves({"iterative": history}).data
    assert list(curve.customdata) == ["step &lt;1&gt;", "iterative"]


def test_a_long_name_has_two_lines_and_is_shortened_at_a_word() -> None:
    history = [{"epoch": 1, "loss": 1.0}]
    names = (
        "one-shot 90 %, equal budget",
        "fine-tuned dense control",
        "a & b <c>" * 9,
        "same budget 90 %",
    )
    labels = [
        note.text for note in training_curves(dict.fromkeys(names, history)).layout.annotations
    ]
    ends = [text.partition("</span> ")[2] for text in labels]
    assert "one-shot 90 %,<br>equal budget" in ends
    assert "fine-tuned<br>dense control" in ends
    assert "same budget<br>90 %" in ends
    assert any(text.startswith("a &amp; b") and text.endswith("…") for text in ends)


def test_titles_name_the_images_that_a_curve_is_of() -> None:
    history = [{"epoch": 1, "loss": 1.0, "accuracy": 0.5}]
    titles = [training_curves({"a": history}, y).layout.title.text for y in ("loss", "accuracy")]
    assert titles == ["<b>Training loss</b>", "<b>Validation accuracy</b>"]


def test_the_baseline_and_the_control_are_grey_and_not_solid() -> None:
    history = [{"epoch": 1, "loss": 1.0}]
    names = {"baseline": "baseline", CONTROL_TITLE: "one_shot", "one-shot 30 %": "one_shot"}
    curves = training_curves(dict.fromkeys(names, history), "loss", names).data
    assert [curve.line.color for curve in curves] == [GREY, GREY, "#0072B2"]
    assert [curve.line.dash for curve in curves[:2]] == ["dash", "dot"]
