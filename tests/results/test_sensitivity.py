"""Allocation from sensitivity: an equal drop in every layer at the requested total."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pruning_core.common.errors import SpecError
from pruning_core.planning.measurement_types import SensitivitySettings
from pruning_core.planning.stage import Stage
from pruning_core.planning.stage_types import stored
from pruning_core.results.sensitivity import (
    allocate,
    images_text,
    measured_sparsities,
    rounded,
    sensitivity_frame,
    sparsity_texts,
)
from pruning_core.settings.messages import for_command_line, for_page

Curves = dict[str, tuple[int, list[tuple[float, float]]]]


def frame(curves: Curves) -> pd.DataFrame:
    """Curves of (sparsity, accuracy drop) by layer, with the number of its units."""
    return pd.DataFrame(
        [
            {"layer": name, "units": units, "sparsity": sparsity, "accuracy_drop": drop}
            for name, (units, curve) in curves.items()
            for sparsity, drop in curve
        ]
    )


TWO: Curves = {
    "robust": (100, [(0.0, 0.0), (0.5, 0.1), (0.9, 0.2)]),
    "fragile": (100, [(0.0, 0.0), (0.5, 0.4), (0.9, 0.8)]),
}


def test_two_layers_by_hand() -> None:
    """At a drop of 0.1 the robust layer reaches 0.5, the fragile one 0.125: 0.3125 of all."""
    allocation = allocate(frame(TWO), 0.3125)
    assert allocation == pytest.approx({"robust": 0.5, "fragile": 0.125}, abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(
    units=st.lists(st.integers(1, 10**6), min_size=1, max_size=8),
    total=st.floats(0.0, 0.9),
    last=st.sampled_from((0.9, 0.903, 0.998)),
)
@example(units=[864, 288, 409600], total=0.8, last=0.9)
def test_a_rounded_allocation_has_short_shares_and_nearly_the_same_total(
    units: list[int], total: float, last: float
) -> None:
    """No share is 0.5 points away, or above what was measured; the total is as near as any layer
    can bring it."""
    curves: Curves = {
        f"l{i}": (size, [(0.0, 0.0), (0.5, 0.1 * (i + 1)), (last, 0.3 * (i + 1))])
        for i, size in enumerate(units)
    }
    exact = allocate(frame(curves), total)
    shares = rounded(frame(curves), exact, total)
    assert all(abs(shares[name] - exact[name]) <= 0.005 + 1e-9 for name in exact)
    assert all(share <= last + 1e-9 for share in shares.values())
    assert all(len(f"{share:.6g}") <= 5 for share in shares.values())
    reached = sum(shares[f"l{i}"] * size for i, size in enumerate(units)) / sum(units)
    assert abs(reached - total) <= 0.005 * max(units) / sum(units) + 1e-9


def test_errors_of_rounding_cancel_out() -> None:
    """Ten layers at 75.24 % would all become 75 %; five of them get 75.5 %."""
    curves: Curves = {f"l{i}": (100, [(0.0, 0.0), (0.9, 0.3)]) for i in range(10)}
    shares = rounded(frame(curves), allocate(frame(curves), 0.7524), 0.7524)
    assert sorted(shares.values()) == [0.75] * 5 + [0.755] * 5


def test_below_the_first_drop_all_layers_keep_the_same_proportion() -> None:
    free: Curves = {"a": (10, [(0.0, 0.0), (0.8, 0.0)]), "b": (30, [(0.0, 0.0), (0.4, 0.0)])}
    assert allocate(frame(free), 0.25) == pytest.approx({"a": 0.4, "b": 0.2})


def test_a_drop_that_falls_again_is_noise() -> None:
    """A layer that seems to recover with fewer weights gets no higher sparsity."""
    noisy: Curves = {"a": (10, [(0.0, 0.0), (0.5, 0.2), (0.9, 0.1)]), "b": TWO["robust"]}
    allocation = allocate(frame(noisy), 0.5)
    flat: Curves = {**noisy, "a": (10, [(0.0, 0.0), (0.5, 0.2), (0.9, 0.2)])}
    assert allocation == allocate(frame(flat), 0.5)


def test_nothing_is_allocated_beyond_the_measured_sparsities() -> None:
    with pytest.raises(SpecError) as raised:
        allocate(frame(TWO), 0.95)
    assert raised.value.field == "one_shot.amounts"
    assert for_command_line(raised.value, "--allocate") == (
        "--allocate: the overall sparsity 0.95 is too high: the measured sparsities of all layers "
        "allow at most 0.9. Lower it, or add higher values to --sensitivity-sparsities. A layer is "
        "measured until its accuracy is at chance."
    )
    assert "sparsity 95 % is too high" in for_page(raised.value)
    stopped: Curves = {**TWO, "fragile": (100, [(0.0, 0.0), (0.5, 0.9)])}
    assert allocate(frame(stopped), 0.7)["fragile"] == pytest.approx(0.5)


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
@example([(1, [0.0] * 3), (28, [0.0] * 3)], 0.9)  # the sum of the layers is a little below 0.9
def test_the_total_is_reached_for_any_curves(
    layers: list[tuple[int, list[float]]], total: float
) -> None:
    steps = (0.3, 0.6, 0.9)
    curves: Curves = {
        f"l{i}": (size, [(0.0, 0.0), *zip(steps, losses, strict=True)])
        for i, (size, losses) in enumerate(layers)
    }
    allocation = allocate(frame(curves), total)
    weights = sum(size for size, _ in layers)
    reached = sum(allocation[name] * size for name, (size, _) in curves.items()) / weights
    assert reached == pytest.approx(total, abs=1e-6)
    assert all(0 <= sparsity <= 0.9 + 1e-12 for sparsity in allocation.values())


def test_an_allocation_has_the_form_of_the_setting() -> None:
    assert sparsity_texts({"a.weight": 0.5, "b.weight": 1 / 3}) == (
        "a.weight=0.5",
        "b.weight=0.333333",
    )


def test_the_frame_compares_each_row_with_the_dense_one() -> None:
    stages = [
        Stage("sensitivity", "", stored(SensitivitySettings(name, [0.5], 200, 0, "cpu")))
        for name in ("a", "b")
    ]
    measured = {"removed": 0, "low": 0.1, "high": 1.0, "images": 200}
    rows = [{**measured, "sparsity": s, "accuracy": 0.9 - s / 5} for s in (0.0, 0.5)]

    class Results:
        """The results of the first stage; the second is not finished."""

        def exists(self, key: str) -> bool:
            return key == stages[0].key

        def read(self, key: str) -> dict[str, object]:
            return {"size": 40, "units": 10, "rows": rows}

    table = sensitivity_frame(stages, Results())
    assert table["layer"].tolist() == ["a", "a"]
    assert set(table["size_unit"]) == {"weights"}
    assert (table["size"][0], table["units"][0]) == (40, 10)
    assert table["accuracy_drop"].tolist() == pytest.approx([0.0, 0.1])
    assert measured_sparsities(table) == [0.0, 0.5]
    assert images_text(table, 200) == "200 validation images"
    assert images_text(table, 5000) == "200 validation images (all available; 5,000 requested)"
