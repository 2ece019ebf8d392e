"""How many pieces go of each layer: by the sizes alone, exact in the sum."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pruning_core.common.errors import SpecError
from pruning_core.methods.allocation import (
    LayerUnits,
    apportion,
    custom,
    erk,
    table_entry,
    table_sparsities,
)
from pruning_core.settings.pruning import PruningSpec
from pruning_core.settings.serialization import to_dict

SMALL, LARGE = LayerUnits("small", (4, 2, 1, 1), 8), LayerUnits("large", (8, 8), 64)


def of(**settings: Any) -> dict[str, Any]:
    return to_dict(PruningSpec(**{"min_density": 0.0, **settings}))


@pytest.mark.parametrize(
    ("amount", "gone"),
    [
        # The dimensions add up to 8 of 8 weights and to 16 of 64, so the densities are as 4 to 1.
        (0.0, [0, 0]),
        (0.75, [2, 52]),  # 18 stay: 0.75 times (8, 16)
        (0.5, [0, 36]),  # 36 stay: 1.5 times (8, 16) would be 12 of 8, so 8 and 28
    ],
)
def test_erk_by_hand(amount: float, gone: list[int]) -> None:
    assert erk([SMALL, LARGE], amount, of(allocation="erk")) == gone


def test_erk_counts_filters_where_they_go_whole() -> None:
    # Densities as 4 to 1 of 4 and of 8 filters: of 12 filters 6 stay, 4 and 2.
    parts = [LayerUnits("small", (4, 2, 1, 1), 4), LayerUnits("large", (8, 8), 8)]
    assert erk(parts, 0.5, of(allocation="erk", granularity="filter")) == [0, 6]


def test_the_keep_floor_holds_in_erk() -> None:
    # Of 72 weights 7 stay: 7 / 24 times (8, 16) is 2.3 and 4.7; the floor of 0.08 is 1 and 6.
    assert erk([SMALL, LARGE], 0.9, of(allocation="erk", min_density=0.08)) == [7, 58]
    with pytest.raises(SpecError, match=r"min_density.*at most 90.27% of all"):
        erk([SMALL, LARGE], 0.92, of(allocation="erk", min_density=0.08))


def test_erk_takes_no_piece_twice() -> None:
    worn = LayerUnits("large", (8, 8), 64, removed=60)
    assert erk([SMALL, worn], 63 / 72, of(allocation="erk")) == [3, 60]
    with pytest.raises(SpecError, match="60 of the 72 weights of all layers are removed already"):
        erk([SMALL, worn], 0.5, of(allocation="erk"))


bounded = st.tuples(st.floats(0.001, 100), st.integers(0, 50), st.integers(0, 500))


@given(st.lists(bounded, min_size=1, max_size=8), st.floats(0, 1))
@settings(deadline=None)
def test_apportioned_numbers_add_up_and_are_near_the_wish(
    rows: list[tuple[float, int, int]], share: float
) -> None:
    wishes, least = [row[0] for row in rows], [row[1] for row in rows]
    most = [low + row[2] for low, row in zip(least, rows, strict=True)]
    total = round(sum(least) + share * (sum(most) - sum(least)))
    found = apportion(wishes, total, least, most)
    assert sum(found) == total
    assert all(a <= n <= b for a, n, b in zip(least, found, most, strict=True))
    free = [
        n / wish
        for n, wish, a, b in zip(found, wishes, least, most, strict=True)
        if a + 1 < n < b - 1
    ]
    widths = [1 / wish for wish in wishes]
    assert not free or max(free) - min(free) <= 2 * max(widths) + 1e-9


TABLE = of(allocation="custom", layer_sparsities=("*=0.5", "small=0"))


@pytest.mark.parametrize(("amount", "gone"), [(32 / 72, [0, 32]), (16 / 72, [0, 16]), (0, [0, 0])])
def test_an_amount_scales_the_table(amount: float, gone: list[int]) -> None:
    assert custom([SMALL, LARGE], amount, TABLE) == gone


def test_a_table_grows_until_a_share_is_all() -> None:
    assert custom([SMALL, LARGE], 63 / 72, TABLE) == [0, 63]
    with pytest.raises(
        SpecError, match=r"layer_sparsities: 90.00% is asked for.*at most 88.88%"
    ) as caught:
        custom([SMALL, LARGE], 0.9, TABLE)
    assert "'large'" in caught.value.message


def test_later_entries_win_and_what_none_names_keeps_all() -> None:
    names = ["a.weight", "b.weight", "c.weight"]
    assert table_sparsities(["[ab].*=0.9", "b.weight = 30 %"], names) == [0.9, 0.3, 0.0]
    with pytest.raises(SpecError, match=r"'a.wieght' matches no layer.*Did you mean a.weight"):
        table_sparsities(["a.wieght=0.5"], names)
    with pytest.raises(SpecError, match="the table removes nothing"):
        custom([SMALL, LARGE], 0.5, of(allocation="custom", layer_sparsities=("*=0",)))


@pytest.mark.parametrize("entry", ["x", "x=", "=0.5", "x=1", "x=-0.1", "x=90", "x=nan", "x=100%"])
def test_an_entry_that_is_none_is_refused(entry: str) -> None:
    with pytest.raises(SpecError, match=r"layer_sparsities.*is not an entry such as"):
        table_entry(entry)
