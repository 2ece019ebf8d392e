"""Charts of a model's layers, on made-up statistics."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from pruning_core.reports.charts.layers import (
    KEPT_COLOR,
    PRUNED_COLOR,
    layer_sparsity_chart,
    magnitude_histogram,
)

LAYER: dict[str, Any] = {
    **{"name": "w", "size": 100, "zeros": 20},
    **{"counts": [20, 20, 20, 20], "largest": 4.0},
}


def layers_table(layers: int) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "layer": [f"features.{i}.weight" for i in range(layers)],
            "weights": [1000] * layers,
            "sparsity": [0.5] * layers,
            "zero channels": [3] * layers,
        }
    )


def test_the_histogram_colors_the_weights_below_the_threshold_as_pruned() -> None:
    chart = magnitude_histogram(LAYER, 0.6)
    assert list(chart.data[0].marker.color) == [PRUNED_COLOR, PRUNED_COLOR, KEPT_COLOR, KEPT_COLOR]
    assert chart.layout.shapes[0].x0 == pytest.approx(2.0)
    assert [note.text for note in chart.layout.annotations] == ["threshold 2"]
    higher = magnitude_histogram(LAYER, 0.8)
    assert higher.layout.shapes[0].x0 == pytest.approx(3.0)


def test_the_histogram_has_the_magnitudes_on_its_x_axis() -> None:
    chart = magnitude_histogram(LAYER, 0.6)
    assert list(chart.data[0].x) == pytest.approx([0.5, 1.5, 2.5, 3.5])
    assert list(chart.data[0].y) == [20, 20, 20, 20]
    assert chart.layout.xaxis.title.text == "Weight magnitude |w|"
    assert chart.layout.yaxis.title.text == "Number of weights"


def test_the_sparsity_of_each_layer_is_a_bar_in_percent() -> None:
    chart = layer_sparsity_chart(layers_table(2))
    assert list(chart.data[0].x) == ["features.0", "features.1"]
    assert list(chart.data[0].y) == [50, 50]
    assert (chart.layout.yaxis.ticksuffix, tuple(chart.layout.yaxis.range)) == (" %", (0, 100))
    assert list(chart.data[0].customdata[0]) == ["features.0.weight", 1000, 3]


def test_layers_are_named_only_where_their_names_fit() -> None:
    assert layer_sparsity_chart(layers_table(24)).layout.xaxis.showticklabels
    assert not layer_sparsity_chart(layers_table(25)).layout.xaxis.showticklabels


def test_the_chosen_layer_stands_out() -> None:
    chart = layer_sparsity_chart(layers_table(3), chosen="features.1.weight")
    faint, chosen, last = chart.data[0].marker.color
    assert (chosen, faint) == (KEPT_COLOR, last)
    assert faint != chosen
    assert set(layer_sparsity_chart(layers_table(3)).data[0].marker.color) == {KEPT_COLOR}
