"""Comparison charts: every model is drawn in the color of its strategy, with its interval."""

from __future__ import annotations

from itertools import pairwise
from statistics import stdev
from typing import Any

import plotly.graph_objects as go
import pytest

from pruning_core.reports.charts.comparison import (
    CHARTS,
    X_AXES,
    comparison_chart,
    comparison_panel,
    legend_html,
)
from pruning_core.reports.charts.style import (
    BY_RUN,
    SERIES,
    Subplot,
)
from pruning_core.results.rows import rows_of
from tests.helpers.frames import comparison, frame, point

COLORS = {"one_shot": "#0072B2", "iterative": "#D55E00", "one_shot_equal_budget": "#009E73"}


def traces(chart: go.Figure, strategy: str, mode: str) -> list[go.Scatter]:
    return [t for t in chart.data if t.name == strategy and t.mode == mode]


def texts(chart: go.Figure) -> list[str]:
    return [annotation.text for annotation in chart.layout.annotations]


def two_runs() -> Any:
    return frame(comparison(), comparison(run="lr=0.1", run_id="run-2", luck=-9))


@pytest.mark.parametrize("y", CHARTS)
@pytest.mark.parametrize("x", X_AXES)
def test_every_pruned_model_has_the_color_of_its_strategy(y: str, x: str) -> None:
    models = frame(comparison())
    chart = comparison_chart(models, y, x)
    for strategy, color in COLORS.items():
        (markers,) = traces(chart, strategy, "markers")
        rows = models[(models["strategy"] == strategy) & (models["sparsity_asked"] > 0)]
        assert list(markers.x) == pytest.approx([v * X_AXES[x].scale for v in rows[x]])
        column, scale = CHARTS[y].column, CHARTS[y].scale
        assert list(markers.y) == pytest.approx([v * scale for v in rows[column]])
        assert markers.marker.color == color
        assert SERIES[strategy].symbol in markers.marker.symbol


@pytest.mark.parametrize("x", X_AXES)
def test_all_four_charts_have_one_x_range_with_all_models(x: str) -> None:
    models = frame(comparison(), comparison(1, 3))
    ranges = {comparison_chart(models, y, x).layout.xaxis.range for y in CHARTS}
    assert len(ranges) == 1
    low, high = ranges.pop()
    rows = models[models["strategy"] != "baseline"]
    assert low < 0
    assert rows[x].max() * X_AXES[x].scale < high


def test_axes_have_titles_and_units() -> None:
    models = frame(comparison())
    accuracy = comparison_chart(models, "accuracy").layout
    assert accuracy.yaxis.ticksuffix == accuracy.xaxis.ticksuffix == " %"
    assert accuracy.xaxis.title.text == "Sparsity (prunable weights)"
    assert comparison_chart(models, "size").layout.yaxis.ticksuffix == " MB"
    assert comparison_chart(models, "size", "seconds").layout.xaxis.title.text == "Fine-tuning time"


def test_error_bars_are_the_interval_and_upside_down_for_the_drop() -> None:
    models = frame(comparison())
    row = models[models["strategy"] == "one_shot_equal_budget"].iloc[0]
    above = 100 * (row["accuracy_high"] - row["accuracy"])
    below = 100 * (row["accuracy"] - row["accuracy_low"])
    assert above != pytest.approx(below)
    (accuracy,) = traces(comparison_chart(models, "accuracy"), "one_shot_equal_budget", "markers")
    assert accuracy.error_y.array[0] == pytest.approx(above)
    assert accuracy.error_y.arrayminus[0] == pytest.approx(below)
    (drop,) = traces(comparison_chart(models, "drop"), "one_shot_equal_budget", "markers")
    assert drop.error_y.array[0] == pytest.approx(below)
    assert drop.error_y.arrayminus[0] == pytest.approx(above)
    (size,) = traces(comparison_chart(models, "size"), "one_shot_equal_budget", "markers")
    assert size.error_y.array is None


def test_the_y_range_contains_the_error_bars() -> None:
    chart = comparison_chart(frame(comparison()), "accuracy")
    low, high = chart.layout.yaxis.range
    for trace in chart.data:
        if trace.error_y.array is not None:
            assert high > max(y + up for y, up in zip(trace.y, trace.error_y.array, strict=True))
            assert low < min(y - d for y, d in zip(trace.y, trace.error_y.arrayminus, strict=True))


def test_models_with_equal_values_stay_visible() -> None:
    chart = comparison_chart(frame(comparison()), "size")
    markers = [t for t in chart.data if t.mode == "markers" and t.name in SERIES]
    sizes = [trace.marker.size for trace in markers]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == 3
    assert all("open" in trace.marker.symbol for trace in markers[:-1])
    widths = [t.line.width for t in chart.data if t.mode == "lines"]
    assert widths == sorted(widths, reverse=True)
    assert len(set(widths)) == 2


def test_lines_begin_at_the_baseline_and_at_the_dense_control() -> None:
    chart = comparison_chart(frame(comparison()), "accuracy")
    (iterative,) = traces(chart, "iterative", "lines")
    assert (iterative.x[0], iterative.y[0]) == (0, pytest.approx(95.0))
    (one_shot,) = traces(chart, "one_shot", "lines")
    assert (one_shot.x[0], one_shot.y[0]) == (0, pytest.approx(95.5))


def test_over_a_budget_the_baseline_has_0_and_no_line_joins_one_shot_models() -> None:
    chart = comparison_chart(frame(comparison()), "accuracy", "epochs")
    (iterative,) = traces(chart, "iterative", "lines")
    assert list(iterative.x) == [0, 2, 4, 6, 8, 10]
    assert traces(chart, "one_shot", "lines") == []
    assert any("one-shot 90 %" in text for text in texts(chart))


@pytest.mark.parametrize("x", ["epochs", "seconds"])
@pytest.mark.parametrize("y", CHARTS)
def test_over_a_budget_every_pruned_model_has_its_sparsity_as_label(y: str, x: str) -> None:
    models = frame(comparison())
    chart = comparison_chart(models, y, x)
    inside = [a for a in chart.layout.annotations if a.xref == "x"]
    assert sorted(a.text for a in inside) == sorted(
        ["50 %", "70 %", "37 %", "60 %", "75 %", "84 %"]
    )
    ends = [a.text for a in chart.layout.annotations if a.xref == "x domain"]
    for name in ("one-shot 90 %", "iterative 90 %", "one-shot 90 %,<br>equal budget"):
        assert any(text.endswith(name) for text in ends)


def test_labels_of_close_markers_do_not_overlap() -> None:
    chart = comparison_chart(frame(comparison()), "accuracy", "epochs")
    low, high = chart.layout.yaxis.range
    scale = Subplot().height / (high - low)
    near = [a for a in chart.layout.annotations if a.xref == "x" and a.x == 2]
    assert sorted((a.text, a.ax < 0) for a in near) == [
        ("37 %", False),
        ("50 %", True),
        ("70 %", True),
    ]
    heights = sorted((high - a.y) * scale + a.ay for a in near if a.ax < 0)
    assert all(b - a >= 12 - 1e-6 for a, b in pairwise(heights))


def test_over_sparsity_and_with_many_models_there_are_no_marker_labels() -> None:
    for chart in (
        comparison_chart(frame(comparison()), "size"),
        comparison_chart(frame(*[comparison(run=n, run_id=n) for n in "abc"]), "size", "epochs"),
    ):
        assert not [a for a in chart.layout.annotations if a.xref == "x"]


def test_baseline_and_control_are_grey_lines_with_labels() -> None:
    chart = comparison_chart(frame(comparison()), "accuracy")
    dashes = {round(shape.y0, 6): shape.line.dash for shape in chart.layout.shapes if shape.x0 == 0}
    assert dashes == {95.0: "dash", 95.5: "dot"}
    assert {"baseline 95 %", "fine-tuned<br>dense control"} <= set(texts(chart))
    assert "dense file<br>9.19 MB" in texts(comparison_chart(frame(comparison()), "size"))


def test_each_strategy_has_a_label_at_its_line_and_there_is_no_legend() -> None:
    chart = comparison_chart(frame(comparison()), "accuracy")
    assert not chart.layout.showlegend
    for name in ("one-shot", "iterative", "one-shot,<br>equal budget"):
        assert sum(text.endswith(f"</span> {name}") for text in texts(chart)) == 1


def test_seeds_are_thin_and_their_mean_is_thick_with_one_label() -> None:
    chart = comparison_chart(frame(comparison(), comparison(1, 8), comparison(2, -2)), "accuracy")
    *seeds, mean = traces(chart, "iterative", "lines")
    assert len(seeds) == 3
    assert all(t.line.width < mean.line.width and t.opacity < mean.opacity for t in seeds)
    assert mean.y[-1] == pytest.approx(100 * (330 + 338 + 328) / 1200)
    assert "mean of 3 seeds" in traces(chart, "iterative", "markers")[-1].hovertext[-1]
    assert sum("iterative" in text for text in texts(chart)) == 1
    subtitle = "error bars: standard deviation over seeds; thin lines: seeds"
    assert subtitle in chart.layout.title.text


def test_the_error_bars_of_a_mean_are_the_deviation_of_the_seeds() -> None:
    models = frame(comparison(), comparison(1, 8), comparison(2, -2))
    chart = comparison_chart(models, "accuracy")
    *seeds, mean = traces(chart, "iterative", "markers")
    assert mean.error_y.array[-1] == pytest.approx(100 * stdev([330, 338, 328]) / 400)
    assert all(trace.error_y.array is None for trace in seeds)
    drop = traces(comparison_chart(models, "drop"), "iterative", "markers")[-1]
    assert max(drop.error_y.array) < 1e-9  # the baselines have the same luck
    mixed = frame(models.to_dict("records"), comparison(run="b", run_id="run-2"))
    title = comparison_chart(mixed, "accuracy").layout.title.text
    assert "standard deviation over seeds (one seed: 95 % CI (test set)); thin lines" in title


def test_texts_are_escaped() -> None:
    models = frame(
        comparison(run="<b>bold</b>", notes=["<i>n</i>"]), comparison(run="b", run_id="2")
    )
    chart = comparison_chart(models, "accuracy")
    assert "&lt;b&gt;bold" in traces(chart, "iterative", "markers")[0].hovertext[0]
    assert "<i>" not in traces(chart, "iterative", "markers")[0].hovertext[0]
    assert all("<b>" not in (trace.name or "") for trace in chart.data)


def test_runs_differ_in_dash_and_symbol_and_share_one_legend() -> None:
    chart = comparison_chart(two_runs(), "accuracy")
    dashes = [t.line.dash for t in traces(chart, "iterative", "lines")]
    assert dashes == ["solid", "dash"]
    symbols = [t.marker.symbol for t in traces(chart, "one_shot_equal_budget", "markers")]
    assert len(set(symbols)) == 2
    assert not chart.layout.showlegend
    legend = legend_html(rows_of(two_runs()))
    strategies = ("one-shot", "iterative", "one-shot, equal budget")
    for name in (
        *strategies,
        "dense baseline",
        "fine-tuned dense control",
        "run run",
        "run lr=0.1",
    ):
        assert f"> {name}</li>" in legend
    assert "#808080 0px 8px,transparent 8px 12px" in legend
    assert "run run" not in legend_html(rows_of(frame(comparison())))


def test_the_color_of_several_runs_can_be_that_of_the_run() -> None:
    chart = comparison_chart(two_runs(), "accuracy", color_by=BY_RUN)
    pruned = [t for t in chart.data if t.name in COLORS and t.mode == "markers"]
    assert {(t.name, t.marker.color) for t in pruned} == {
        (name, color) for name in COLORS for color in ("#0072B2", "#D55E00")
    }
    assert len({t.marker.symbol for t in pruned}) == len(COLORS)
    legend = legend_html(rows_of(two_runs()), BY_RUN)
    assert "#0072B2 0px 30px" in legend
    assert "#009E73" not in legend
    one = comparison_chart(frame(comparison()), "accuracy", color_by=BY_RUN)
    assert traces(one, "iterative", "markers")[0].marker.color == COLORS["iterative"]


def test_the_shared_baseline_of_two_runs_is_drawn_once() -> None:
    first = comparison()
    second = [{**row, "run": "b", "run_id": "run-2"} for row in first]
    for row in second[2:]:
        row["key"] += " of another run"
    chart = comparison_chart(frame(first, second), "accuracy")
    dense = [t for t in chart.data if t.name == "baseline"]
    assert [len(t.x) for t in dense] == [2]  # baseline and control
    assert len(traces(chart, "iterative", "markers")) == 2
    other = comparison_chart(two_runs(), "accuracy")
    assert len([t for t in other.data if t.name == "baseline"]) == 2


def test_an_unfinished_run_is_drawn_as_far_as_it_has_finished() -> None:
    assert len(comparison_chart(frame(point("baseline")), "accuracy").data) == 1
    rows = [r for r in comparison() if r["strategy"] in ("baseline", "iterative")][:3]
    (iterative,) = traces(comparison_chart(frame(rows), "accuracy"), "iterative", "lines")
    assert len(iterative.x) == 3


def test_a_zoom_is_kept_for_new_models_and_reset_for_another_axis() -> None:
    short, whole = frame(comparison()[:4]), frame(comparison())
    kept = [comparison_chart(models, "size").layout.uirevision for models in (short, whole)]
    assert kept[0] == kept[1]
    assert comparison_chart(whole, "size", "seconds").layout.uirevision != kept[0]


def test_the_panel_has_all_four_charts_and_one_legend() -> None:
    panel = comparison_panel(two_runs())
    assert {trace.yaxis for trace in panel.data if not trace.showlegend} == {"y", "y2", "y3", "y4"}
    for chart in CHARTS.values():
        assert any(chart.title in text for text in texts(panel))
    names = [t.name for t in panel.data if t.showlegend]
    assert len(names) == len(set(names))
    assert panel.layout.xaxis.range == panel.layout.xaxis4.range


def test_a_step_that_prunes_nothing_has_no_label() -> None:
    """Final fine-tuning ends the line; the model before it has the same sparsity and no label."""
    rows = comparison()
    final = point("iterative", 0.9, 372, iteration=6, epochs=15, seconds=150.0)
    chart = comparison_chart(frame([*rows, final]), "accuracy", "epochs")
    inside = [a.text for a in chart.layout.annotations if a.xref == "x"]
    assert sorted(inside) == sorted(["50 %", "70 %", "37 %", "60 %", "75 %", "84 %"])
    (line,) = traces(chart, "iterative", "lines")
    assert list(line.x) == [0, 2, 4, 6, 8, 10, 15]
