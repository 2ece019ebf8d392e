"""The number of pruned units of each layer, from the sizes of the layers: exact in the sum."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pruning_core.common.errors import Share, SpecError
from pruning_core.methods.allocation import (
    LayerUnits,
    apportion,
    custom,
    erk,
    table_entry,
    table_sparsities,
    uniform,
)
from pruning_core.methods.layers import units_to_keep
from pruning_core.settings.pruning import PruningSpec
from pruning_core.settings.serialization import to_dict

SMALL, LARGE = LayerUnits("small", (4, 2, 1, 1), 8), LayerUnits("large", (8, 8), 64)


def pruning_of(**settings: Any) -> dict[str, Any]:
    return to_dict(PruningSpec(**{"min_density": 0.0, **settings}))


@pytest.mark.parametrize(
    ("target", "pruned"),
    [
        # The sums of dimensions over the sizes are 8/8 and 16/64, so the densities are 4 : 1.
        (0.0, [0, 0]),
        (0.75, [2, 52]),  # 18 remain: 0.75 times (8, 16)
        (0.5, [0, 36]),  # 36 remain: 1.5 times (8, 16) would be 12 of 8, so 8 and 28
    ],
)
def test_erk_by_hand(target: float, pruned: list[int]) -> None:
    assert erk([SMALL, LARGE], target, pruning_of(allocation="erk")) == pruned


def test_erk_counts_filters() -> None:
    # The densities are 4 : 1 of 4 and of 8 filters: of 12 filters 6 remain, 4 and 2.
    layers = [LayerUnits("small", (4, 2, 1, 1), 4), LayerUnits("large", (8, 8), 8)]
    assert erk(layers, 0.5, pruning_of(allocation="erk", granularity="filter")) == [0, 6]


def test_erk_respects_the_minimum_density() -> None:
    # Of 72 weights 7 remain: 7 / 24 times (8, 16) is 2.3 and 4.7; density 0.08 keeps 1 and 6.
    assert erk([SMALL, LARGE], 0.9, pruning_of(allocation="erk", min_density=0.08)) == [7, 58]
    with pytest.raises(SpecError, match=r"at most 0\.9027 can be pruned") as caught:
        erk([SMALL, LARGE], 0.92, pruning_of(allocation="erk", min_density=0.08))
    assert caught.value.field == "pruning.min_density"
    assert caught.value.values["possible"] == Share(0.9027)
    assert caught.value.values["density"] == Share(0.08)


def test_erk_prunes_no_unit_twice() -> None:
    pruned_before = LayerUnits("large", (8, 8), 64, removed=60)
    assert erk([SMALL, pruned_before], 63 / 72, pruning_of(allocation="erk")) == [3, 60]
    with pytest.raises(SpecError, match="60 of the 72 weights of all layers are already pruned"):
        erk([SMALL, pruned_before], 0.5, pruning_of(allocation="erk"))


def test_uniform_rounds_in_each_layer_and_never_regrows() -> None:
    assert uniform([SMALL, LARGE], 0.3, pruning_of()) == [2, 19]
    with pytest.raises(SpecError, match="5 of the 8 weights of small are already pruned"):
        uniform([LayerUnits("small", (8,), 8, removed=5)], 0.5, pruning_of())


@pytest.mark.parametrize(
    ("units", "density", "kept"),
    [(100, 0.07, 7), (100, 0.0, 0), (10, 0.001, 1), (10, 0.05, 1), (1000, 0.05, 50)],
)
def test_the_minimum_density_keeps_whole_units(units: int, density: float, kept: int) -> None:
    assert units_to_keep(units, density) == kept


bounded = st.tuples(st.floats(0.001, 100), st.integers(0, 50), st.integers(0, 500))


@given(st.lists(bounded, min_size=1, max_size=8), st.floats(0, 1))
@settings(deadline=None)
def test_apportioned_numbers_add_up_and_are_near_their_weights(
    rows: list[tuple[float, int, int]], share: float
) -> None:
    weights, least = [row[0] for row in rows], [row[1] for row in rows]
    most = [low + row[2] for low, row in zip(least, rows, strict=True)]
    total = round(sum(least) + share * (sum(most) - sum(least)))
    counts = apportion(weights, total, least, most)
    assert sum(counts) == total
    assert all(a <= n <= b for a, n, b in zip(least, counts, most, strict=True))
    within_bounds = [
        n / weight
        for n, weight, a, b in zip(counts, weights, least, most, strict=True)
        if a + 1 < n < b - 1
    ]
    widths = [1 / weight for weight in weights]
    spread = max(within_bounds) - min(within_bounds) if within_bounds else 0.0
    assert spread <= 2 * max(widths) + 1e-9


TABLE = pruning_of(allocation="custom", layer_sparsities=("*=0.5", "small=0"))


def test_zeros_of_the_initial_weights_are_kept_below_their_share() -> None:
    layers, keep = [LayerUnits("small", (8,), 8, removed=5), LARGE], {"keep_zeros": True}
    assert uniform(layers, 0.5, pruning_of() | keep) == [5, 32]
    for target in (0.0, 0.02):
        assert uniform(layers, target, pruning_of() | keep) == [5, round(64 * target)]
        assert erk(layers, target, pruning_of(allocation="erk") | keep) == [5, 0]
        assert custom(layers, target, TABLE | keep) == [5, 0]


@pytest.mark.parametrize(
    ("target", "pruned"), [(32 / 72, [0, 32]), (16 / 72, [0, 16]), (0, [0, 0])]
)
def test_a_target_scales_the_custom_sparsities(target: float, pruned: list[int]) -> None:
    assert custom([SMALL, LARGE], target, TABLE) == pruned


def test_custom_sparsities_are_scaled_until_a_layer_is_empty() -> None:
    assert custom([SMALL, LARGE], 63 / 72, TABLE) == [0, 63]
    with pytest.raises(SpecError, match=r"0.9 is 2\.025 times the overall sparsity") as caught:
        custom([SMALL, LARGE], 0.9, TABLE)
    assert caught.value.field == "pruning.layer_sparsities"
    assert "'large' would need a sparsity above 1." in caught.value.message
    assert caught.value.values["possible"] == Share(0.8888)
    assert caught.value.values["target"] == Share(0.9)


def test_the_last_matching_entry_counts_and_other_layers_stay_dense() -> None:
    names = ["a.weight", "b.weight", "c.weight"]
    assert table_sparsities(["[ab].*=0.9", "b.weight = 30 %"], names) == [0.9, 0.3, 0.0]
    with pytest.raises(
        SpecError, match=r"'a.wieght' matches no prunable layer\. Did you mean a.weight"
    ):
        table_sparsities(["a.wieght=0.5"], names)
    with pytest.raises(SpecError, match=r"Examples: a.weight and b.weight\."):
        table_sparsities(["features=0.5"], names)
    with pytest.raises(SpecError, match="the entries prune nothing"):
        custom([SMALL, LARGE], 0.5, pruning_of(allocation="custom", layer_sparsities=("*=0",)))


@pytest.mark.parametrize("entry", ["x", "x=", "=0.5", "x=1", "x=-0.1", "x=90", "x=nan", "x=100%"])
def test_an_invalid_entry_is_refused(entry: str) -> None:
    with pytest.raises(SpecError, match=r"layer_sparsities.*is not an entry such as"):
        table_entry(entry)
