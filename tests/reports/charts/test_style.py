"""The style of charts: label positions, symbols, toolbar, theme."""

from __future__ import annotations

import plotly.graph_objects as go
from hypothesis import given, settings
from hypothesis import strategies as st

from pruning_core.reports.charts.comparison import comparison_chart
from pruning_core.reports.charts.style import (
    SERIES,
    chart_config,
    on_white,
    separate_labels,
    symbol,
)
from tests.helpers.frames import comparison, frame


def test_the_theme_sets_text_and_background_except_in_files() -> None:
    chart = comparison_chart(frame(comparison()), "accuracy")
    assert chart.layout.font.color is None
    assert chart.layout.paper_bgcolor is None
    assert chart.layout.plot_bgcolor == "rgba(0, 0, 0, 0)"
    assert on_white(chart).layout.paper_bgcolor == "white"
    assert on_white(chart).layout.font.color == "#222222"
    assert chart.layout.paper_bgcolor is None


def test_the_toolbar_saves_either_format_and_sends_nothing_to_the_internet() -> None:
    assert chart_config("accuracy")["toImageButtonOptions"]["format"] == "png"
    assert chart_config("accuracy", "svg")["toImageButtonOptions"]["format"] == "svg"
    assert chart_config("accuracy")["toImageButtonOptions"]["filename"] == "accuracy"
    assert chart_config("accuracy")["showSendToCloud"] is False
    assert "toImage" not in chart_config("accuracy")["modeBarButtonsToRemove"]


@settings(deadline=None, max_examples=80)
@given(st.lists(st.tuples(st.floats(0, 230), st.sampled_from([15, 30])), min_size=1, max_size=7))
def test_labels_never_overlap_and_stay_inside(labels: list[tuple[float, int]]) -> None:
    ordered = sorted(labels)
    targets, sizes = [target for target, _ in ordered], [size for _, size in ordered]
    positions = separate_labels(targets, sizes, 230)
    for i in range(len(positions) - 1):
        assert positions[i + 1] - positions[i] >= (sizes[i] + sizes[i + 1]) / 2 - 1e-6
    assert positions[0] >= sizes[0] / 2 - 1e-6
    assert positions[-1] + sizes[-1] / 2 <= 230 + 1e-6


def test_labels_that_do_not_overlap_stay_at_their_targets() -> None:
    assert separate_labels([20, 100, 180], [15, 15, 30], 230) == [20, 100, 180]


def test_five_runs_have_five_symbols_that_plotly_knows() -> None:
    for strategy in SERIES:
        symbols = {symbol(strategy, run) for run in range(5)}
        assert len(symbols) == 5
        for name in symbols:
            go.scatter.Marker(symbol=name)  # raises ValueError for another name
