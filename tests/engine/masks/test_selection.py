"""How amounts spread over layers: exact counts in every scope and granularity, LAMP's scores."""

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
from pruning_core.engine.masks import masks
from pruning_core.engine.masks.selection import SCOPES, lamp_scores
from pruning_core.engine.masks.units import remaining_units
from pruning_core.methods.allocation import ALLOCATIONS as SCOPE_NAMES
from pruning_core.methods.granularity import AXES, GRANULARITIES, PATTERNS, units
from pruning_core.methods.layers import units_to_keep
from tests.helpers.pruning import cut

Tensors = dict[str, Tensor]
PIECES = [
    {"granularity": "weight"},
    {"granularity": "kernel"},
    {"granularity": "filter", "filter_dim": 0},
    {"granularity": "filter", "filter_dim": 1, "filter_norm": "inf"},
]
SHAPES = [(6, 5), (4, 2, 3, 3), (8, 1, 2, 2), (3, 7, 1, 1), (12, 4, 3)]


def with_table(scope: str) -> dict[str, Any]:
    """Settings of a scope; by hand the first layer is cut half as much as the others."""
    return {"layer_sparsities": ("*=0.8", "0.*=0.4")} if scope == "custom" else {}


@st.composite
def tied(draw: st.DrawFn) -> Tensors:
    """Layers whose values are so few that most are tied; some zero, some negative."""
    found = {}
    for i in range(draw(st.integers(2, 4))):
        shape = draw(st.sampled_from(SHAPES))
        values = draw(st.lists(st.integers(-2, 2), min_size=1, max_size=math.prod(shape)))
        found[f"{i}.weight"] = torch.tensor(np.resize(values, shape), dtype=torch.float32)
    return found


def gone(found: Tensors, pruning: dict[str, Any]) -> list[int]:
    """Pieces that went of each layer; each went whole or stays whole."""
    counts = []
    for mask in found.values():
        left = remaining_units(mask, pruning)
        assert mask.numel() % left.size == 0
        assert int(mask.sum()) == int(left.sum()) * (mask.numel() // left.size)
        counts.append(int((~left).sum()))
    return counts


def wanted(weights: Tensors, amount: float, scope: str, pruning: dict[str, Any]) -> int:
    sizes = [units(tuple(w.shape), pruning) for w in weights.values()]
    if scope == "uniform":
        return sum(round(amount * size) for size in sizes)
    return round(amount * sum(sizes))


@pytest.mark.parametrize("pruning", PIECES, ids=lambda p: f"{p['granularity']}{p.get('dim', '')}")
@pytest.mark.parametrize("scope", SCOPES)
@given(weights=tied(), a=st.floats(0, 0.5), b=st.floats(0, 0.5))
@settings(deadline=None, max_examples=15)
def test_totals_are_exact_and_removed_pieces_stay_removed(
    scope: str, pruning: dict[str, Any], weights: Tensors, a: float, b: float
) -> None:
    more, (low, high) = {**pruning, **with_table(scope)}, sorted((a, b))
    first = cut(weights, low, scope, **more)
    assert sum(gone(first, pruning)) == wanted(weights, low, scope, pruning)
    # Removed weights that have grown again must not come back.
    grown = {name: w + 9.0 * ~first[name] for name, w in weights.items()}
    second = cut(grown, high, scope, previous=first, **more)
    assert all(not bool((second[name] & ~first[name]).any()) for name in weights)
    assert sum(gone(second, pruning)) == wanted(weights, high, scope, pruning)


@pytest.mark.parametrize("scope", ["global", "lamp", "erk"])
@given(weights=tied(), amount=st.floats(0, 0.9), floor=st.sampled_from([0.05, 0.3, 0.5]))
@settings(deadline=None, max_examples=25)
def test_every_layer_keeps_its_floor(
    scope: str, weights: Tensors, amount: float, floor: float
) -> None:
    least = {name: units_to_keep(w.numel(), floor) for name, w in weights.items()}
    every = sum(w.numel() for w in weights.values())
    if round(amount * every) > every - sum(least.values()):
        with pytest.raises(SpecError, match=r"pruning\.min_density"):
            cut(weights, amount, scope, floor)
        return
    found = cut(weights, amount, scope, floor)
    assert all(int(found[name].sum()) >= least[name] for name in found)
    assert masks.empty_layers(found) == []


@pytest.mark.parametrize(
    "pruning", PIECES[1:], ids=lambda p: f"{p['granularity']}{p.get('dim', '')}"
)
@pytest.mark.parametrize("scope", SCOPES)
def test_the_memory_format_changes_no_mask(scope: str, pruning: dict[str, Any]) -> None:
    torch.manual_seed(0)
    plain = {f"{i}.weight": torch.randn(8, 4, 3, 3) for i in range(3)}
    last = {n: w.clone(memory_format=torch.channels_last) for n, w in plain.items()}
    more = {**pruning, **with_table(scope)}
    expected, found = (cut(w, 0.5, scope, **more) for w in (plain, last))
    assert all(torch.equal(expected[name], found[name]) for name in plain)
    assert all(m.is_contiguous(memory_format=torch.channels_last) for m in found.values())


def test_lamp_by_hand() -> None:
    """1, 2, 2, 4 squared are 1, 4, 4, 16: of the equal ones the first ranks lower."""
    found = lamp_scores(np.array([2.0, -0.0, 4.0, 2.0, 1.0]))
    assert found == pytest.approx([4 / 24, 0, 1, 4 / 20, 1 / 25])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(values=st.lists(st.sampled_from([0.0, 0.125, 0.5, 0.515625, 1.0, 3.0, 7e8]), max_size=20))
def test_lamp_is_what_its_definition_says(dtype: type, values: list[float]) -> None:
    """And it leaves the order within a layer as it is."""
    scores = np.array(values, dtype)
    order = sorted(range(len(values)), key=lambda i: (values[i], i))
    slow = np.zeros(len(values))
    for rank, i in enumerate(order):
        above = math.fsum(values[j] ** 2 for j in order[rank:])
        slow[i] = values[i] ** 2 / above if above else 0.0
    found = lamp_scores(scores)
    assert found == pytest.approx(slow)
    assert list(found[order]) == sorted(found)


def test_lamp_weighs_within_each_layer() -> None:
    """A layer of small weights is not emptied, as one threshold for magnitudes would."""
    weights = {"small": torch.tensor([0.1, 0.2, 0.3]), "large": torch.tensor([10.0, 11.0, 12.0])}
    assert cut(weights, 0.5, "global")["small"].tolist() == [False] * 3
    found = cut(weights, 0.5, "lamp")
    # 0.01/0.14, 0.04/0.13, 1 and 100/365, 121/265, 1: the lowest three are 0.07, 0.27 and 0.31.
    assert found["small"].tolist() == [False, False, True]
    assert found["large"].tolist() == [False, True, True]


def test_what_is_not_finite_ranks_above_all_in_lamp() -> None:
    weights = {"w": torch.tensor([math.nan, 1.0, math.inf, 2.0])}
    assert cut(weights, 0.5, "lamp")["w"].tolist() == [True, False, True, False]


def test_the_registries_hold_what_a_spec_may_name() -> None:
    assert set(SCOPES) == set(SCOPE_NAMES)
    assert set(AXES) | set(PATTERNS) == set(GRANULARITIES)
