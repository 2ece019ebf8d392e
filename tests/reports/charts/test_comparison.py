"""Charts must show every point, in its strategy's color, with its interval and figures."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import plotly.graph_objects as go
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pruning_core.reports.charts.comparison import (
    CHARTS,
    X_AXES,
    comparison_chart,
    comparison_panel,
)
from pruning_core.reports.charts.style import (
    SERIES,
    Subplot,
    chart_config,
    on_white,
    separate_labels,
    symbol,
)
from tests.helpers.frames import comparison, frame, point

COLOURS = {"one_shot": "#0072B2", "iterative": "#D55E00", "one_shot_equal_budget": "#009E73"}


def traces(drawn: go.Figure, strategy: str, mode: str) -> list[go.Scatter]:
    return [t for t in drawn.data if t.name == strategy and t.mode == mode]


def texts(drawn: go.Figure) -> list[str]:
    return [annotation.text for annotation in drawn.layout.annotations]


def two_runs() -> Any:
    return frame(comparison(), comparison(run="lr=0.1", run_id="run-2", luck=-9))


@pytest.mark.parametrize("y", CHARTS)
@pytest.mark.parametrize("x", X_AXES)
def test_every_pruned_point_is_drawn_in_its_colour(y: str, x: str) -> None:
    points = frame(comparison())
    drawn = comparison_chart(points, y, x)
    for strategy, color in COLOURS.items():
        (marks,) = traces(drawn, strategy, "markers")
        rows = points[(points["strategy"] == strategy) & (points["sparsity_asked"] > 0)]
        assert list(marks.x) == pytest.approx([v * X_AXES[x].scale for v in rows[x]])
        column, scale = CHARTS[y].column, CHARTS[y].scale
        assert list(marks.y) == pytest.approx([v * scale for v in rows[column]])
        assert marks.marker.color == color
        assert SERIES[strategy].symbol in marks.marker.symbol


@pytest.mark.parametrize("x", X_AXES)
def test_all_four_charts_have_one_x_range_that_holds_all_points(x: str) -> None:
    points = frame(comparison(), comparison(1, 3))
    ranges = {comparison_chart(points, y, x).layout.xaxis.range for y in CHARTS}
    assert len(ranges) == 1
    low, high = ranges.pop()
    rows = points[points["strategy"] != "baseline"]
    assert low < 0
    assert rows[x].max() * X_AXES[x].scale < high


def test_axes_are_in_percent_megabytes_and_words() -> None:
    points = frame(comparison())
    accuracy = comparison_chart(points, "accuracy").layout
    assert accuracy.yaxis.ticksuffix == accuracy.xaxis.ticksuffix == " %"
    assert accuracy.xaxis.title.text == "sparsity of the prunable weights"
    assert comparison_chart(points, "size").layout.yaxis.ticksuffix == " MB"
    assert (
        comparison_chart(points, "size", "seconds").layout.xaxis.title.text
        == "seconds of fine-tuning"
    )


def test_bars_are_the_interval_and_turn_over_on_the_drop_chart() -> None:
    points = frame(comparison())
    row = points[points["strategy"] == "one_shot_equal_budget"].iloc[0]
    above = 100 * (row["accuracy_high"] - row["accuracy"])
    below = 100 * (row["accuracy"] - row["accuracy_low"])
    assert above != pytest.approx(below)
    (accuracy,) = traces(comparison_chart(points, "accuracy"), "one_shot_equal_budget", "markers")
    assert accuracy.error_y.array[0] == pytest.approx(above)
    assert accuracy.error_y.arrayminus[0] == pytest.approx(below)
    (drop,) = traces(comparison_chart(points, "drop"), "one_shot_equal_budget", "markers")
    assert drop.error_y.array[0] == pytest.approx(below)
    assert drop.error_y.arrayminus[0] == pytest.approx(above)
    (size,) = traces(comparison_chart(points, "size"), "one_shot_equal_budget", "markers")
    assert size.error_y.array is None


def test_the_y_range_holds_the_bars() -> None:
    drawn = comparison_chart(frame(comparison()), "accuracy")
    low, high = drawn.layout.yaxis.range
    for trace in drawn.data:
        if trace.error_y.array is not None:
            assert high > max(y + up for y, up in zip(trace.y, trace.error_y.array, strict=True))
            assert low < min(y - d for y, d in zip(trace.y, trace.error_y.arrayminus, strict=True))


def test_coinciding_points_stay_visible() -> None:
    drawn = comparison_chart(frame(comparison()), "size")
    marks = [t for t in drawn.data if t.mode == "markers" and t.name in SERIES]
    sizes = [trace.marker.size for trace in marks]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == 3
    assert all("open" in trace.marker.symbol for trace in marks[:-1])
    widths = [t.line.width for t in drawn.data if t.mode == "lines"]
    assert widths == sorted(widths, reverse=True)
    assert len(set(widths)) == 2


def test_lines_begin_at_the_baseline_and_at_the_dense_control() -> None:
    drawn = comparison_chart(frame(comparison()), "accuracy")
    (chain,) = traces(drawn, "iterative", "lines")
    assert (chain.x[0], chain.y[0]) == (0, pytest.approx(95.0))
    (one_shot,) = traces(drawn, "one_shot", "lines")
    assert (one_shot.x[0], one_shot.y[0]) == (0, pytest.approx(95.5))


def test_over_a_budget_the_baseline_has_spent_nothing_and_one_shot_points_stay_apart() -> None:
    drawn = comparison_chart(frame(comparison()), "accuracy", "epochs")
    (chain,) = traces(drawn, "iterative", "lines")
    assert list(chain.x) == [0, 2, 4, 6, 8, 10]
    assert traces(drawn, "one_shot", "lines") == []
    assert any("one-shot 90 %" in text for text in texts(drawn))


@pytest.mark.parametrize("x", ["epochs", "seconds"])
@pytest.mark.parametrize("y", CHARTS)
def test_over_a_budget_every_pruned_point_names_its_amount(y: str, x: str) -> None:
    points = frame(comparison())
    drawn = comparison_chart(points, y, x)
    inside = [a for a in drawn.layout.annotations if a.xref == "x"]
    assert sorted(a.text for a in inside) == sorted(
        ["50 %", "70 %", "37 %", "60 %", "75 %", "84 %"]
    )
    ends = [a.text for a in drawn.layout.annotations if a.xref == "x domain"]
    for name in ("one-shot 90 %", "iterative 90 %", "one-shot 90 %,<br>same epochs"):
        assert any(text.endswith(name) for text in ends)


def test_labels_of_points_at_one_place_do_not_cover_each_other() -> None:
    drawn = comparison_chart(frame(comparison()), "accuracy", "epochs")
    low, high = drawn.layout.yaxis.range
    scale = Subplot().height / (high - low)
    near = [a for a in drawn.layout.annotations if a.xref == "x" and a.x == 2]
    assert sorted((a.text, a.ax < 0) for a in near) == [
        ("37 %", False),
        ("50 %", True),
        ("70 %", True),
    ]
    heights = sorted((high - a.y) * scale + a.ay for a in near if a.ax < 0)
    assert all(b - a >= 12 - 1e-6 for a, b in pairwise(heights))


def test_over_sparsity_and_with_very_many_points_no_amount_is_written() -> None:
    for drawn in (
        comparison_chart(frame(comparison()), "size"),
        comparison_chart(frame(*[comparison(run=n, run_id=n) for n in "abc"]), "size", "epochs"),
    ):
        assert not [a for a in drawn.layout.annotations if a.xref == "x"]


def test_baseline_and_control_are_grey_lines_with_labels() -> None:
    drawn = comparison_chart(frame(comparison()), "accuracy")
    dashes = {round(shape.y0, 6): shape.line.dash for shape in drawn.layout.shapes if shape.x0 == 0}
    assert dashes == {95.0: "dash", 95.5: "dot"}
    assert {"baseline 95 %", "dense control"} <= set(texts(drawn))
    assert "dense file<br>9.19 MB" in texts(comparison_chart(frame(comparison()), "size"))


def test_each_strategy_is_named_at_its_line_and_there_is_no_legend() -> None:
    drawn = comparison_chart(frame(comparison()), "accuracy")
    assert not drawn.layout.showlegend
    for name in ("one-shot", "iterative", "one-shot,<br>same epochs"):
        assert sum(text.endswith(f"</span> {name}") for text in texts(drawn)) == 1


def test_seeds_are_thin_and_their_mean_is_thick_and_labelled_once() -> None:
    drawn = comparison_chart(frame(comparison(), comparison(1, 8), comparison(2, -2)), "accuracy")
    *seeds, mean = traces(drawn, "iterative", "lines")
    assert len(seeds) == 3
    assert all(t.line.width < mean.line.width and t.opacity < mean.opacity for t in seeds)
    assert mean.y[-1] == pytest.approx(100 * (330 + 338 + 328) / 1200)
    assert "mean of 3 seeds" in traces(drawn, "iterative", "markers")[-1].hovertext[-1]
    assert sum("iterative" in text for text in texts(drawn)) == 1
    assert "thin: seeds" in drawn.layout.title.text


def test_hover_tells_every_figure() -> None:
    drawn = comparison_chart(frame(comparison(notes=["Mean was guessed."])), "ratio")
    text = traces(drawn, "iterative", "markers")[0].hovertext[-1]
    for figure_of_point in (
        "<b>iterative</b>, step 5, seed 0, run",
        "asked 90 %, reached 90.00 % of the prunable weights",
        "88.63 % of the model",
        "accuracy 82.5 % (95 % interval 78.5 % to 85.9 %)",
        "accuracy drop 12.5 points",
        "sparse file 1.13 MB, dense file 9.19 MB",
        "compression ratio 8.1",
        "254,378 of 2,236,682 parameters",
        "10 epochs, 1 min 45 s",
        "Mean was guessed.",
    ):
        assert figure_of_point in text


def test_labels_are_escaped() -> None:
    points = frame(
        comparison(run="<b>bold</b>", notes=["<i>n</i>"]), comparison(run="b", run_id="2")
    )
    drawn = comparison_chart(points, "accuracy")
    assert "&lt;b&gt;bold" in traces(drawn, "iterative", "markers")[0].hovertext[0]
    assert "<i>" not in traces(drawn, "iterative", "markers")[0].hovertext[0]
    assert all("<b>" not in (trace.name or "") for trace in drawn.data)


def test_runs_differ_in_dash_and_symbol_and_stand_in_a_legend() -> None:
    drawn = comparison_chart(two_runs(), "accuracy")
    dashes = [t.line.dash for t in traces(drawn, "iterative", "lines")]
    assert dashes == ["solid", "dash"]
    symbols = [t.marker.symbol for t in traces(drawn, "one_shot_equal_budget", "markers")]
    assert len(set(symbols)) == 2
    names = {t.name for t in drawn.data if t.showlegend}
    assert {"run", "lr=0.1", "one-shot", "iterative", "one-shot, same epochs"} <= names
    assert drawn.layout.legend.orientation == "h"


def test_legends_of_several_runs_are_alike_so_that_plots_align() -> None:
    drawn = [comparison_chart(two_runs(), y) for y in CHARTS]
    assert len({tuple(t.name for t in d.data if t.showlegend) for d in drawn}) == 1


def test_an_unfinished_run_is_drawn_as_far_as_it_is() -> None:
    assert len(comparison_chart(frame(point("baseline")), "accuracy").data) == 1
    rows = [r for r in comparison() if r["strategy"] in ("baseline", "iterative")][:3]
    (chain,) = traces(comparison_chart(frame(rows), "accuracy"), "iterative", "lines")
    assert len(chain.x) == 3


def test_a_zoom_outlives_new_points_but_not_another_axis() -> None:
    short, whole = frame(comparison()[:4]), frame(comparison())
    kept = [comparison_chart(points, "size").layout.uirevision for points in (short, whole)]
    assert kept[0] == kept[1]
    assert comparison_chart(whole, "size", "seconds").layout.uirevision != kept[0]


def test_colours_of_text_and_page_are_left_to_the_theme_but_fixed_in_files() -> None:
    drawn = comparison_chart(frame(comparison()), "accuracy")
    assert drawn.layout.font.color is None
    assert drawn.layout.paper_bgcolor is None
    assert drawn.layout.plot_bgcolor == "rgba(0, 0, 0, 0)"
    assert on_white(drawn).layout.paper_bgcolor == "white"
    assert on_white(drawn).layout.font.color == "#222222"
    assert drawn.layout.paper_bgcolor is None


def test_the_panel_holds_all_four_charts_and_one_legend() -> None:
    drawn = comparison_panel(two_runs())
    assert {trace.yaxis for trace in drawn.data if not trace.showlegend} == {"y", "y2", "y3", "y4"}
    for chart in CHARTS.values():
        assert any(chart.title in text for text in texts(drawn))
    names = [t.name for t in drawn.data if t.showlegend]
    assert len(names) == len(set(names))
    assert drawn.layout.xaxis.range == drawn.layout.xaxis4.range


def test_the_button_saves_either_format_and_nothing_goes_to_the_internet() -> None:
    assert chart_config("accuracy")["toImageButtonOptions"]["format"] == "png"
    assert chart_config("accuracy", "svg")["toImageButtonOptions"]["format"] == "svg"
    assert chart_config("accuracy")["toImageButtonOptions"]["filename"] == "accuracy"
    assert chart_config("accuracy")["showSendToCloud"] is False
    assert "toImage" not in chart_config("accuracy")["modeBarButtonsToRemove"]


@settings(deadline=None, max_examples=80)
@given(st.lists(st.tuples(st.floats(0, 230), st.sampled_from([15, 30])), min_size=1, max_size=7))
def test_labels_never_overlap_and_stay_inside(labels: list[tuple[float, int]]) -> None:
    ordered = sorted(labels)
    wanted, sizes = [w for w, _ in ordered], [s for _, s in ordered]
    places = separate_labels(wanted, sizes, 230)
    for i in range(len(places) - 1):
        assert places[i + 1] - places[i] >= (sizes[i] + sizes[i + 1]) / 2 - 1e-6
    assert places[0] >= sizes[0] / 2 - 1e-6
    assert places[-1] + sizes[-1] / 2 <= 230 + 1e-6


def test_labels_with_room_stay_where_they_belong() -> None:
    assert separate_labels([20, 100, 180], [15, 15, 30], 230) == [20, 100, 180]


def test_five_runs_have_five_symbols_that_plotly_has() -> None:
    for strategy in SERIES:
        found = {symbol(strategy, run) for run in range(5)}
        assert len(found) == 5
        for name in found:
            go.scatter.Marker(symbol=name)  # raises ValueError for another name


def test_a_step_without_a_cut_has_no_amount_of_its_own() -> None:
    """The tail's point ends the line; the one before it, at the same sparsity, is not labelled."""
    rows = comparison()
    tail = point("iterative", 0.9, 372, iteration=6, epochs=15, seconds=150.0)
    drawn = comparison_chart(frame([*rows, tail]), "accuracy", "epochs")
    inside = [a.text for a in drawn.layout.annotations if a.xref == "x"]
    assert sorted(inside) == sorted(["50 %", "70 %", "37 %", "60 %", "75 %", "84 %"])
    (line,) = traces(drawn, "iterative", "lines")
    assert list(line.x) == [0, 2, 4, 6, 8, 10, 15]
