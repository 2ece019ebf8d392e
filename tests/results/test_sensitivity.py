"""What a scan proposes: equal loss everywhere under the total asked."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pruning_core.common.errors import SpecError
from pruning_core.results.sensitivity import allocate, sparsity_texts

Curves = dict[str, tuple[int, list[tuple[float, float]]]]


def found(curves: Curves) -> pd.DataFrame:
    """Curves of (sparsity, loss) by layer, with the layer's size."""
    return pd.DataFrame(
        [
            {"layer": name, "pieces": size, "sparsity": sparsity, "drop": loss}
            for name, (size, points) in curves.items()
            for sparsity, loss in points
        ]
    )


TWO: Curves = {
    "robust": (100, [(0.0, 0.0), (0.5, 0.1), (0.9, 0.2)]),
    "fragile": (100, [(0.0, 0.0), (0.5, 0.4), (0.9, 0.8)]),
}


def test_two_layers_by_hand() -> None:
    """At a loss of 0.1 the robust one bears 0.5 and the fragile one 0.125: 0.3125 of all."""
    amounts = allocate(found(TWO), 0.3125)
    assert amounts == pytest.approx({"robust": 0.5, "fragile": 0.125}, abs=1e-6)


def test_what_costs_nothing_goes_in_equal_parts() -> None:
    free: Curves = {"a": (10, [(0.0, 0.0), (0.8, 0.0)]), "b": (30, [(0.0, 0.0), (0.4, 0.0)])}
    assert allocate(found(free), 0.25) == pytest.approx({"a": 0.4, "b": 0.2})


def test_a_loss_that_falls_again_is_noise() -> None:
    """A layer that seems to recover with fewer weights bears no more for it."""
    noisy: Curves = {"a": (10, [(0.0, 0.0), (0.5, 0.2), (0.9, 0.1)]), "b": TWO["robust"]}
    amounts = allocate(found(noisy), 0.5)
    flat: Curves = {**noisy, "a": (10, [(0.0, 0.0), (0.5, 0.2), (0.9, 0.2)])}
    assert amounts == allocate(found(flat), 0.5)


def test_nothing_is_proposed_beyond_what_was_measured() -> None:
    with pytest.raises(SpecError, match=r"adds up to 90\.00%"):
        allocate(found(TWO), 0.95)
    stopped: Curves = {**TWO, "fragile": (100, [(0.0, 0.0), (0.5, 0.9)])}
    assert allocate(found(stopped), 0.7)["fragile"] == pytest.approx(0.5)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.integers(1, 10**6),
            st.lists(st.floats(-0.05, 1.0), min_size=3, max_size=3),
        ),
        min_size=1,
        max_size=6,
    ),
    st.floats(0.0, 0.9),
)
def test_the_total_is_met_with_losses_as_equal_as_can_be(
    layers: list[tuple[int, list[float]]], total: float
) -> None:
    steps = (0.3, 0.6, 0.9)
    curves: Curves = {
        f"l{i}": (size, [(0.0, 0.0), *zip(steps, losses, strict=True)])
        for i, (size, losses) in enumerate(layers)
    }
    amounts = allocate(found(curves), total)
    weights = sum(size for size, _ in layers)
    reached = sum(amounts[name] * size for name, (size, _) in curves.items()) / weights
    assert reached == pytest.approx(total, abs=1e-6)
    assert all(0 <= amount <= 0.9 + 1e-12 for amount in amounts.values())


def test_a_proposal_can_be_typed() -> None:
    assert sparsity_texts({"a.weight": 0.5, "b.weight": 1 / 3}) == (
        "a.weight=0.5",
        "b.weight=0.333333",
    )
