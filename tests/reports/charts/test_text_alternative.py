"""The text and the numbers of a figure, for people who do not see it."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from pruning_core.reports.charts.comparison import CHARTS, comparison_chart
from pruning_core.reports.charts.text_alternative import chart_numbers, chart_text
from tests.helpers.frames import comparison, frame


def test_the_text_names_each_series_with_its_ends() -> None:
    figure = comparison_chart(frame(comparison()), "accuracy")
    text = chart_text(figure)
    assert text.startswith("Accuracy; error bars: 95 % CI (test set)")
    assert "iterative: Accuracy " in text
    assert "one-shot: Accuracy " in text
    assert "one_shot" not in text
    assert "<" not in text


def test_the_numbers_are_those_of_all_markers() -> None:
    rows = comparison()
    for name, chart in CHARTS.items():
        table = chart_numbers(comparison_chart(frame(rows), name))
        values = sorted(row[chart.column] * chart.scale for row in frame(rows).to_dict("records"))
        assert np.allclose(sorted(table.iloc[:, 2]), values)
        assert set(table["Series"]) == {
            "baseline",
            "iterative",
            "one-shot",
            "one-shot, equal budget",
        }


def test_bars_heat_maps_and_empty_figures_have_a_text() -> None:
    bars = go.Figure(go.Bar(x=["a", "b"], y=[1.5, None], name="sizes"))
    bars.update_layout(title_text="<b>Sizes &amp; more</b><br><span>in MB</span>")
    assert chart_text(bars) == "Sizes & more; in MB. sizes: Sizes & more 1.5 at x a."
    cells = go.Figure(go.Heatmap(x=[10, 50], y=["stem"], z=[[0.1, np.nan]]))
    assert "1 cell, from 0.1 to 0.1" in chart_text(cells)
    assert chart_numbers(cells).to_dict("records") == [{"x": 10, "y": "stem", "Value": 0.1}]
    assert chart_text(go.Figure()) == "A chart."
    assert chart_numbers(go.Figure()).empty
