"""The break-even sparsity, from made-up speed-ups."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from pruning_core.common.errors import SpecError
from pruning_core.planning.timing import SPARSITIES, sparse_speedup_stage
from pruning_core.results.sparse_speedup import (
    ALL_LAYERS,
    COLUMNS,
    break_even,
    break_even_sparsity,
    break_even_text,
    sparse_speedup_frame,
)
from tests.helpers.latency import FixedResults


@pytest.mark.parametrize(
    ("sparsities", "speedups", "expected"),
    [
        ([0.5, 0.9], [0.5, 2.0], 0.7),  # halfway in the logarithm
        ([0.5, 0.9], [0.5, 1.0], 0.9),
        ([0.5, 0.7, 0.9], [0.25, 0.5, 4.0], 0.7 + 0.2 / 3),
        ([0.5, 0.9], [1.5, 2.0], 0.5),
        ([0.5, 0.9, 0.99], [0.2, 0.4, 0.99], None),
        ([0.5, 0.7, 0.9], [1.2, 0.5, 2.0], 0.8),  # the last crossing counts
        ([0.5, 0.9], [2.0, 0.5], None),
    ],
)
def test_the_speed_up_crosses_one(
    sparsities: list[float], speedups: list[float], expected: float | None
) -> None:
    result = break_even_sparsity(np.array(sparsities), np.array(speedups))
    assert result == (expected if expected is None else pytest.approx(expected))


def frame(speedups: list[float], width: float = 2.0, layer: str = ALL_LAYERS) -> pd.DataFrame:
    values = np.array(speedups)
    return pd.DataFrame(
        {
            "layer": layer,
            "kernel": "torch_csr",
            "sparsity": [0.5, 0.7, 0.9],
            "speedup": values,
            "speedup_low": values / width,
            "speedup_high": values * width,
        }
    )


def test_the_intervals_give_the_break_even_a_range() -> None:
    result = break_even(frame([0.25, 1.0, 4.0]), "torch_csr")
    assert [result.earliest, result.sparsity, result.latest] == pytest.approx([0.6, 0.7, 0.8])
    assert (result.lowest, result.highest) == (0.5, 0.9)
    assert break_even_text(result, "torch_csr") == (
        "PyTorch CSR: break-even sparsity about 70 % (by the 95 % CIs: 60 % to 80 %)."
    )


@pytest.mark.parametrize(
    ("speedups", "width", "expected"),
    [
        ([0.1, 0.2, 0.4], 2.0, "no break-even up to 90 % sparsity."),
        (
            [0.1, 0.2, 0.8],
            2.0,
            "no break-even up to 90 % sparsity (by the 95 % CIs: 83.2 %, or none up to 90 %).",
        ),
        ([3.0, 4.0, 9.0], 2.0, "break-even sparsity 50 % or less."),
        (
            [1.5, 4.0, 9.0],
            2.0,
            "break-even sparsity 50 % or less (by the 95 % CIs: 50 % or less to 55.9 %).",
        ),
        (
            [0.7, 0.8, 1.5],
            2.0,
            "break-even sparsity about 77.1 % (by the 95 % CIs: 50 % or less, or none up to 90 %).",
        ),
    ],
)
def test_the_text_gives_the_range(speedups: list[float], width: float, expected: str) -> None:
    text = break_even_text(break_even(frame(speedups, width), "torch_csr"), "torch_csr")
    assert text == f"PyTorch CSR: {expected}"


def test_the_frame_names_columns_and_kernels() -> None:
    row = dict.fromkeys(COLUMNS, 0.5) | {"layer": "a", "kernel": "scipy_csr", "rows": 8}
    table = sparse_speedup_frame(sparse_speedup_stage("a" * 64), FixedResults([row]))
    assert table.iloc[0][["kernel_title", "output_channels", "speedup"]].tolist() == [
        *("SciPy CSR", 8, 0.5)
    ]


def test_a_layer_that_was_not_measured_has_no_break_even() -> None:
    with pytest.raises(KeyError, match="features 1 was not measured"):
        break_even(frame([1, 2, 3]), "torch_csr", "features 1")


def test_the_parent_of_the_stage_is_the_model() -> None:
    stage = sparse_speedup_stage("a" * 64, 224)
    assert stage.parent == "a" * 64
    assert stage.settings["sparsities"] == list(SPARSITIES)
    assert stage.key == sparse_speedup_stage("a" * 64, 224, reversed(SPARSITIES)).key
    assert stage.key != sparse_speedup_stage("a" * 64, 224, machine="other").key


@pytest.mark.parametrize(
    "wrong",
    [{"sparsities": []}, {"sparsities": [1.0]}, {"kernels": ["bsr"]}, {"rounds": 2}],
)
def test_wrong_settings_are_refused(wrong: dict) -> None:
    with pytest.raises(SpecError):
        sparse_speedup_stage("a" * 64, **wrong)
