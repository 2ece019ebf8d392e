"""Sparsity allocation: exact counts with every allocation and granularity, and LAMP scores."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pruning_core.common.errors import SpecError
from pruning_core.engine.masks.masks import empty_layers
from pruning_core.engine.masks.selection import lamp_scores
from pruning_core.engine.masks.units import mask_of_units, remaining_units
from pruning_core.methods.allocation import MIN_DENSITY_ALLOCATIONS
from pruning_core.methods.granularity import units
from pruning_core.methods.layers import units_to_keep
from tests.helpers.pruning import MASK_ALLOCATIONS, masks_of

Tensors = dict[str, Tensor]


def title(pruning: dict[str, Any]) -> str:
    return f"{pruning['granularity']}{pruning.get('filter_dim', '')}"


UNITS: list[dict[str, Any]] = [
    {"granularity": "unstructured"},
    {"granularity": "block:2"},
    {"granularity": "block:4"},
    {"granularity": "kernel"},
    {"granularity": "filter", "filter_dim": 0},
    {"granularity": "filter", "filter_dim": 1, "filter_norm": "inf"},
]
SHAPES = [(6, 5), (4, 2, 3, 3), (8, 1, 2, 2), (3, 7, 1, 1), (12, 4, 3)]


def table_of(allocation: str) -> dict[str, Any]:
    """The table of the custom allocation: the first layer is pruned half as much as others."""
    return {"layer_sparsities": ("*=0.8", "0.*=0.4")} if allocation == "custom" else {}


@st.composite
def tied(draw: st.DrawFn) -> Tensors:
    """Layers with few distinct values, so that most are tied; some are zero or negative."""
    weights = {}
    for i in range(draw(st.integers(2, 4))):
        shape = draw(st.sampled_from(SHAPES))
        values = draw(st.lists(st.integers(-2, 2), min_size=1, max_size=math.prod(shape)))
        weights[f"{i}.weight"] = torch.tensor(np.resize(values, shape), dtype=torch.float32)
    return weights


def pruned_units(masks: Tensors, pruning: dict[str, Any]) -> list[int]:
    """The number of pruned units of each layer; a unit is pruned or kept as a whole."""
    counts = []
    for mask in masks.values():
        remaining = remaining_units(mask, pruning)
        assert torch.equal(mask, mask_of_units(remaining, mask, pruning))
        counts.append(int((~remaining).sum()))
    return counts


def expected_count(
    weights: Tensors, amount: float, allocation: str, pruning: dict[str, Any]
) -> int:
    sizes = [units(tuple(w.shape), pruning) for w in weights.values()]
    if allocation == "uniform":
        return sum(round(amount * size) for size in sizes)
    return round(amount * sum(sizes))


@pytest.mark.parametrize("pruning", UNITS, ids=title)
@pytest.mark.parametrize("allocation", MASK_ALLOCATIONS)
@given(weights=tied(), a=st.floats(0, 0.5), b=st.floats(0, 0.5))
@settings(deadline=None, max_examples=15)
def test_totals_are_exact_and_pruned_units_stay_pruned(
    allocation: str, pruning: dict[str, Any], weights: Tensors, a: float, b: float
) -> None:
    more, (low, high) = {**pruning, **table_of(allocation)}, sorted((a, b))
    first = masks_of(weights, low, allocation, **more)
    assert sum(pruned_units(first, pruning)) == expected_count(weights, low, allocation, pruning)
    # Pruned weights that have grown since must not return.
    grown = {name: w + 9.0 * ~first[name] for name, w in weights.items()}
    second = masks_of(grown, high, allocation, previous=first, **more)
    assert all(not bool((second[name] & ~first[name]).any()) for name in weights)
    assert sum(pruned_units(second, pruning)) == expected_count(weights, high, allocation, pruning)


@pytest.mark.parametrize("allocation", MIN_DENSITY_ALLOCATIONS)
@given(weights=tied(), amount=st.floats(0, 0.9), min_density=st.sampled_from([0.05, 0.3, 0.5]))
@settings(deadline=None, max_examples=25)
def test_every_layer_keeps_its_minimum_density(
    allocation: str, weights: Tensors, amount: float, min_density: float
) -> None:
    least = {name: units_to_keep(w.numel(), min_density) for name, w in weights.items()}
    total = sum(w.numel() for w in weights.values())
    if round(amount * total) > total - sum(least.values()):
        with pytest.raises(SpecError, match=r"pruning\.min_density"):
            masks_of(weights, amount, allocation, min_density)
        return
    actual = masks_of(weights, amount, allocation, min_density)
    assert all(int(actual[name].sum()) >= least[name] for name in actual)
    assert empty_layers(actual) == []


@pytest.mark.parametrize("pruning", UNITS[1:], ids=title)
@pytest.mark.parametrize("allocation", MASK_ALLOCATIONS)
def test_the_memory_format_changes_no_mask(allocation: str, pruning: dict[str, Any]) -> None:
    torch.manual_seed(0)
    plain = {f"{i}.weight": torch.randn(8, 4, 3, 3) for i in range(3)}
    last = {n: w.clone(memory_format=torch.channels_last) for n, w in plain.items()}
    more = {**pruning, **table_of(allocation)}
    expected, actual = (masks_of(w, 0.5, allocation, **more) for w in (plain, last))
    assert all(torch.equal(expected[name], actual[name]) for name in plain)
    assert all(m.is_contiguous(memory_format=torch.channels_last) for m in actual.values())


def test_lamp_by_hand() -> None:
    """1, 2, 2, 4 squared are 1, 4, 4, 16: of the equal ones the first ranks lower."""
    actual = lamp_scores(np.array([2.0, -0.0, 4.0, 2.0, 1.0]))
    assert actual == pytest.approx([4 / 24, 0, 1, 4 / 20, 1 / 25])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(values=st.lists(st.sampled_from([0.0, 0.125, 0.5, 0.515625, 1.0, 3.0, 7e8]), max_size=20))
def test_lamp_follows_its_definition(dtype: type, values: list[float]) -> None:
    """And it keeps the order within a layer."""
    scores: np.ndarray = np.array(values, dtype)
    order = sorted(range(len(values)), key=lambda i: (values[i], i))
    slow = np.zeros(len(values))
    for rank, i in enumerate(order):
        above = math.fsum(values[j] ** 2 for j in order[rank:])
        slow[i] = values[i] ** 2 / above if above else 0.0
    actual = lamp_scores(scores)
    assert actual == pytest.approx(slow)
    assert list(actual[order]) == sorted(actual)


def test_lamp_weighs_within_each_layer() -> None:
    """A layer of small weights is not emptied, as one threshold for magnitudes would."""
    weights = {"small": torch.tensor([0.1, 0.2, 0.3]), "large": torch.tensor([10.0, 11.0, 12.0])}
    assert masks_of(weights, 0.5, "global")["small"].tolist() == [False] * 3
    actual = masks_of(weights, 0.5, "lamp")
    # 0.01/0.14, 0.04/0.13, 1 and 100/365, 121/265, 1: the lowest three are 0.07, 0.27 and 0.31.
    assert actual["small"].tolist() == [False, False, True]
    assert actual["large"].tolist() == [False, True, True]


def test_lamp_ranks_scores_that_are_not_finite_above_all() -> None:
    weights = {"w": torch.tensor([math.nan, 1.0, math.inf, 2.0])}
    assert masks_of(weights, 0.5, "lamp")["w"].tolist() == [True, False, True, False]
