"""Where zeros begin to pay, from made-up ratios."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from pruning_core.common.errors import SpecError
from pruning_core.planning.timing import SPARSITIES, sparse_speedup_stage
from pruning_core.results.sparse_speedup import ALL_LAYERS, BreakEven, break_even, crossing, told


@pytest.mark.parametrize(
    ("sparsities", "ratios", "expected"),
    [
        ([0.5, 0.9], [0.5, 2.0], 0.7),  # halfway in the logarithm
        ([0.5, 0.9], [0.5, 1.0], 0.9),
        ([0.5, 0.7, 0.9], [0.25, 0.5, 4.0], 0.7 + 0.2 / 3),
        ([0.5, 0.9], [1.5, 2.0], 0.5),
        ([0.5, 0.9, 0.99], [0.2, 0.4, 0.99], None),
        ([0.5, 0.7, 0.9], [1.2, 0.5, 2.0], 0.8),  # what is lost again does not count
        ([0.5, 0.9], [2.0, 0.5], None),
    ],
)
def test_where_the_ratio_passes_one(
    sparsities: list[float], ratios: list[float], expected: float | None
) -> None:
    found = crossing(np.array(sparsities), np.array(ratios))
    assert found == (expected if expected is None else pytest.approx(expected))


def frame(ratios: list[float], width: float = 2.0, layer: str = ALL_LAYERS) -> pd.DataFrame:
    values = np.array(ratios)
    return pd.DataFrame(
        {
            "layer": layer,
            "kernel": "torch_csr",
            "sparsity": [0.5, 0.7, 0.9],
            "times_as_fast": values,
            "times_as_fast_low": values / width,
            "times_as_fast_high": values * width,
        }
    )


def test_the_interval_gives_the_place_a_span() -> None:
    found = break_even(frame([0.25, 1.0, 4.0]), "torch_csr")
    assert found == BreakEven(pytest.approx(0.7), pytest.approx(0.6), pytest.approx(0.8), 0.5, 0.9)
    assert told(found, "torch_csr") == (
        "Zeros begin to pay at about 70 %: from there on the sparse product (torch, CSR) is the "
        "quicker one (the spread allows 60 % to 80 %)."
    )


@pytest.mark.parametrize(
    ("ratios", "width", "said"),
    [
        ([0.1, 0.2, 0.4], 2.0, "Up to 90 % zeros the sparse product (torch, CSR) is never the"),
        ([0.1, 0.2, 0.4], 2.0, "never the quicker one."),
        ([0.1, 0.2, 0.8], 2.0, "quicker one (the spread allows 83.2 %, or none up to 90 %)."),
        ([3.0, 4.0, 9.0], 2.0, "At 50 % zeros already the sparse product (torch, CSR) is the qui"),
        ([1.5, 4.0, 9.0], 2.0, "quicker one (the spread allows 50 % or less to 55.9 %)."),
        ([0.7, 0.8, 1.5], 2.0, "one (the spread allows 50 % or less, or none up to 90 %)."),
    ],
)
def test_what_the_spread_leaves_open_is_said(ratios: list[float], width: float, said: str) -> None:
    assert said in told(break_even(frame(ratios, width), "torch_csr"), "torch_csr")


def test_what_was_not_measured_has_no_answer() -> None:
    with pytest.raises(KeyError, match="features 1 was not measured"):
        break_even(frame([1, 2, 3]), "torch_csr", "features 1")


def test_the_stage_hangs_off_the_point() -> None:
    stage = sparse_speedup_stage("a" * 64, 224)
    assert stage.parent == "a" * 64
    assert stage.settings["sparsities"] == list(SPARSITIES)
    assert stage.key == sparse_speedup_stage("a" * 64, 224, reversed(SPARSITIES)).key
    assert stage.key != sparse_speedup_stage("a" * 64, 224, machine="other").key


@pytest.mark.parametrize(
    "wrong",
    [{"sparsities": []}, {"sparsities": [1.0]}, {"kernels": ["bsr"]}, {"rounds": 2}],
)
def test_what_cannot_be_is_refused(wrong: dict) -> None:
    with pytest.raises(SpecError):
        sparse_speedup_stage("a" * 64, **wrong)
