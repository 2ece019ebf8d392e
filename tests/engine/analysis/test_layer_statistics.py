"""Statistics of layers: exact counts, also of more values than float32 can count."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pruning_core.engine.analysis.layer_statistics import BINS, layer_statistics


def test_zeros_channels_and_the_histogram_of_magnitudes() -> None:
    weight = torch.zeros(4, 6)
    weight[0] = torch.tensor([0.105, -0.105, 0.6, -0.6, 0.595, 0.0])
    weight[2, 0] = -0.305
    layers = [nn.Linear(6, 4), nn.Linear(4, 2)]
    with torch.no_grad():
        layers[0].weight.copy_(weight)
        layers[1].weight.zero_()
    first, second = layer_statistics(nn.Sequential(*layers))
    assert (first["size"], first["zeros"]) == (24, 18)
    assert (first["channels"], first["zero_channels"]) == (4, 2)
    assert first["largest"] == pytest.approx(0.6)
    # Bins of 0.01; the largest magnitude belongs to the last bin.
    assert {i: n for i, n in enumerate(first["counts"]) if n} == {10: 2, 30: 1, 59: 3}
    assert (second["zeros"], second["largest"], second["counts"]) == (8, 0.0, [0] * BINS)


def test_weights_that_are_almost_zero_are_counted() -> None:
    model = nn.Linear(4, 2, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[0.0, 1e-38, 2e-38, 4e-38]] * 2))
    (statistics,) = layer_statistics(nn.Sequential(model))
    assert (statistics["zeros"], sum(statistics["counts"])) == (2, 6)


def test_a_bin_counts_more_values_than_float32_can() -> None:
    model = nn.Linear(2**13, 2**12, bias=False)
    with torch.no_grad():
        model.weight.fill_(0.5)
        model.weight[0, 0] = 0.0
    (statistics,) = layer_statistics(nn.Sequential(model))
    assert statistics["zeros"] == 1
    assert statistics["counts"][-1] == 2**25 - 1
