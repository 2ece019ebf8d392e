"""Statistics of layers, thresholds and mask overlap, by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pruning_core.engine.analysis.layer_statistics import layer_statistics, mask_overlap
from pruning_core.results.layers import (
    jaccard,
    layers_frame,
    sparsities_text,
    threshold,
    threshold_text,
)

PORTRAIT = {"name": "w", "size": 100, "zeros": 20, "counts": [20, 20, 20, 20], "largest": 4.0}


def test_statistics_count_weights_zeros_and_zero_channels() -> None:
    model = nn.Sequential(nn.Conv2d(2, 3, 1, bias=False), nn.Linear(2, 2, bias=False))
    model[0].weight.data = torch.tensor([[0.0, 0.0], [1.0, 0.0], [-4.0, 2.0]]).reshape(3, 2, 1, 1)
    model[1].weight.data = torch.ones(2, 2)
    found = layer_statistics(model)
    first = layers_frame(found).iloc[0]
    assert (first["weights"], first["channels"], first["zero channels"]) == (6, 3, 1)
    assert first["sparsity"] == 0.5
    assert found[0]["largest"] == 4.0
    assert sum(found[0]["counts"]) == 3


def test_removed_channels_count_as_zero_against_the_dense_model() -> None:
    dense = layer_statistics(nn.Sequential(nn.Conv2d(2, 4, 1, bias=False)))
    conv = nn.Conv2d(2, 3, 1, bias=False)
    conv.weight.data[0] = 0.0
    row = layers_frame(layer_statistics(nn.Sequential(conv)), dense).iloc[0]
    assert (row["weights"], row["channels"], row["zero channels"]) == (8, 4, 2)
    assert row["sparsity"] == 0.5


@pytest.mark.parametrize(("sparsity", "limit"), [(0.2, 0.0), (0.4, 1.0), (0.7, 2.5), (1.0, 4.0)])
def test_the_share_of_weights_below_the_threshold_is_the_sparsity(
    sparsity: float, limit: float
) -> None:
    """20 zeros, and 20 weights in each of four bars from 0 to 4."""
    assert threshold(PORTRAIT, sparsity) == pytest.approx(limit)


def test_the_overlap_by_hand() -> None:
    """Of the first layer both keep 1 of 3; nothing of the second; the third has another shape."""
    first = {"a": torch.tensor([1.0, 2.0, 0.0, 0.0]), "b": torch.zeros(2), "c": torch.ones(2)}
    second = {"a": torch.tensor([0.0, 5.0, 3.0, 0.0]), "b": torch.zeros(2), "c": torch.ones(3)}
    found = jaccard(mask_overlap(first, second))
    assert found["layer"].tolist() == ["a", "b"]
    assert found["overlap"].tolist() == pytest.approx([1 / 3, 1.0])


@pytest.mark.parametrize(
    ("sparsity", "text"),
    [
        (0.2, "20 % sparsity removes no other weight."),
        (0.1, "10 % sparsity removes no other weight."),
        (0.6, "60 % sparsity removes 40 weights below 2."),
    ],
)
def test_a_histogram_says_what_its_threshold_removes(sparsity: float, text: str) -> None:
    drawn = "w has 100 weights, of which 20 (20 %) are zero and not drawn. "
    assert threshold_text(PORTRAIT, sparsity) == drawn + text


def test_the_sparsities_in_words() -> None:
    rows = [{**PORTRAIT, "name": name, "zeros": zeros} for name, zeros in (("a", 10), ("b", 90))]
    frame = layers_frame(
        [{**row, "kind": "conv", "channels": 4, "zero_channels": 0} for row in rows]
    )
    assert sparsities_text(frame) == (
        "Sparsity of each of the 2 layers, from 10 % (a) to 90 % (b)."
    )
