"""What the page Layers draws: portraits of layers, thresholds, overlaps, by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from pruning_core.engine.analysis.layer_statistics import layer_statistics, mask_overlap
from pruning_core.reports.charts.layers import GONE, KEPT, heat_map, histogram
from pruning_core.results.layers import jaccard, table, threshold

PORTRAIT = {"name": "w", "size": 100, "zeros": 20, "counts": [20, 20, 20, 20], "largest": 4.0}


def test_a_portrait_counts_weights_zeros_and_dead_channels() -> None:
    model = nn.Sequential(nn.Conv2d(2, 3, 1, bias=False), nn.Linear(2, 2, bias=False))
    model[0].weight.data = torch.tensor([[0.0, 0.0], [1.0, 0.0], [-4.0, 2.0]]).reshape(3, 2, 1, 1)
    model[1].weight.data = torch.ones(2, 2)
    found = layer_statistics(model)
    first = table(found).iloc[0]
    assert (first["weights"], first["channels"], first["dead channels"]) == (6, 3, 1)
    assert first["sparsity"] == 0.5
    assert found[0]["largest"] == 4.0
    assert sum(found[0]["counts"]) == 3


def test_what_went_with_its_channels_counts_as_zero_beside_the_dense_model() -> None:
    dense = layer_statistics(nn.Sequential(nn.Conv2d(2, 4, 1, bias=False)))
    smaller = nn.Sequential(nn.Conv2d(2, 3, 1, bias=False))
    smaller[0].weight.data[0] = 0.0
    row = table(layer_statistics(smaller), dense).iloc[0]
    assert (row["weights"], row["channels"], row["dead channels"]) == (8, 4, 2)
    assert row["sparsity"] == 0.5


@pytest.mark.parametrize(("sparsity", "limit"), [(0.2, 0.0), (0.4, 1.0), (0.7, 2.5), (1.0, 4.0)])
def test_the_threshold_leaves_the_share_below_it(sparsity: float, limit: float) -> None:
    """20 zeros, and 20 weights in each of four bars from 0 to 4."""
    assert threshold(PORTRAIT, sparsity) == pytest.approx(limit)


def test_the_bars_left_of_the_threshold_are_those_that_go() -> None:
    drawn = histogram(PORTRAIT, 0.6)
    assert list(drawn.data[0].marker.color) == [GONE, GONE, KEPT, KEPT]
    assert drawn.layout.shapes[0].x0 == pytest.approx(2.0)
    moved = histogram(PORTRAIT, 0.8)
    assert moved.layout.shapes[0].x0 == pytest.approx(3.0)


def test_the_heat_map_has_a_cell_for_each_measurement() -> None:
    """In the order of the layers; what was not measured is a gap; the dense row is no column."""
    measured = {("b", 0.0): 0.9, ("b", 0.5): 0.8, ("b", 0.9): 0.2, ("a", 0.0): 0.9, ("a", 0.5): 0.9}
    rows = [
        {
            **{"layer": layer, "size": 1000, "of": "weights", "sparsity": sparsity, "images": 200},
            **{"accuracy": accuracy, "low": accuracy - 0.05, "high": accuracy + 0.04},
            "drop": 0.9 - accuracy,
        }
        for (layer, sparsity), accuracy in measured.items()
    ]
    cells = heat_map(pd.DataFrame(rows)).data[0]
    assert (list(cells.y), list(cells.x)) == (["b", "a"], ["50 %", "90 %"])
    assert cells.z[0] == pytest.approx([10.0, 70.0])
    assert (cells.z[1][0], bool(np.isnan(cells.z[1][1]))) == (0.0, True)
    assert (cells.zmin, cells.zmax) == (0, pytest.approx(70.0))
    assert "95 %: 15 % to 24 %" in cells.text[0][1]
    assert "on 200 validation images" in cells.text[0][1]
    assert cells.text[1][1] == ""


def test_the_overlap_by_hand() -> None:
    """Of the first layer both keep 1 of 3; nothing of the second; the third has another shape."""
    first = {"a": torch.tensor([1.0, 2.0, 0.0, 0.0]), "b": torch.zeros(2), "c": torch.ones(2)}
    second = {"a": torch.tensor([0.0, 5.0, 3.0, 0.0]), "b": torch.zeros(2), "c": torch.ones(3)}
    found = jaccard(mask_overlap(first, second))
    assert found["layer"].tolist() == ["a", "b"]
    assert found["overlap"].tolist() == pytest.approx([1 / 3, 1.0])
