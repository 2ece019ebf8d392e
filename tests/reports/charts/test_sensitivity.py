"""The sensitivity heat map, on made-up measurements."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from pruning_core.reports.charts.sensitivity import sensitivity_heatmap
from pruning_core.reports.charts.text_alternative import chart_numbers


@pytest.fixture
def frame() -> pd.DataFrame:
    measured = {("b", 0.0): 0.9, ("b", 0.5): 0.8, ("b", 0.9): 0.2, ("a", 0.0): 0.9, ("a", 0.5): 0.9}
    return pd.DataFrame(
        [
            {
                **{"layer": layer, "size": 1000, "size_unit": "weights", "sparsity": sparsity},
                **{
                    "accuracy": accuracy,
                    "accuracy_low": accuracy - 0.05,
                    "accuracy_high": accuracy + 0.04,
                },
                **{"accuracy_drop": 0.9 - accuracy, "validation_images": 200},
            }
            for (layer, sparsity), accuracy in measured.items()
        ]
    )


def test_the_numbers_have_the_layer_and_the_drop_as_columns(frame: pd.DataFrame) -> None:
    numbers = chart_numbers(sensitivity_heatmap(frame))
    assert list(numbers) == ["Sparsity of this layer only", "Layer", "Accuracy drop (points)"]


def test_the_heat_map_has_a_cell_for_each_measurement(frame: pd.DataFrame) -> None:
    """Layers are in their order; what was not measured is a gap; 0 % is no column."""
    cells = sensitivity_heatmap(frame).data[0]
    assert (list(cells.y), list(cells.x)) == (["b", "a"], ["50 %", "90 %"])
    assert cells.z[0] == pytest.approx([10.0, 70.0])
    assert (cells.z[1][0], bool(np.isnan(cells.z[1][1]))) == (0.0, True)
    assert (cells.zmin, cells.zmax) == (0, pytest.approx(70.0))


def test_the_hover_text_has_sparsity_accuracy_and_drop(frame: pd.DataFrame) -> None:
    cells = sensitivity_heatmap(frame).data[1]
    assert cells.text[1].split("<br>") == [
        "b",
        "sparsity 90 % of 1,000 weights",
        "accuracy 20 % (95 % CI 15 % to 24 %), 200 validation images",
        "accuracy drop 70 points",
    ]
    assert len(cells.text) == 3  # what was not measured has none


def test_rows_are_there_from_the_beginning_and_the_chosen_one_has_a_frame(
    frame: pd.DataFrame,
) -> None:
    """So the page does not move while layers finish; a click on a cell gives its layer."""
    chart = sensitivity_heatmap(frame, ["b", "a", "waiting"], chosen="a")
    assert list(chart.data[0].y) == ["b", "a", "waiting"]
    assert np.isnan(chart.data[0].z[2]).all()
    assert {point[0] for point in chart.data[1].customdata} == {"a", "b"}
    assert (chart.layout.shapes[0].y0, chart.layout.shapes[0].y1) == (0.5, 1.5)
    assert tuple(chart.layout.yaxis.range) == (2.5, -0.5)
    assert not sensitivity_heatmap(frame, chosen="elsewhere").layout.shapes


def test_the_axis_says_that_one_layer_is_pruned_alone(frame: pd.DataFrame) -> None:
    chart = sensitivity_heatmap(frame)
    assert chart.layout.xaxis.title.text == "Sparsity of this layer only"
    assert chart.data[0].colorbar.title.text.replace("<br>", " ") == "Accuracy drop (points)"
