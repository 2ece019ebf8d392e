"""Numbers as text."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pruning_core.common.formatting import (
    format_bytes,
    format_count,
    format_epochs,
    format_p,
    format_percent,
    format_points,
    format_seconds,
    format_times,
    join_first,
    join_words,
)

NAN = float("nan")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.787, "78.7 %"),
        (0.9, "90 %"),
        (1.0, "100 %"),
        (0.9999, "99.99 %"),
        (0.0, "0 %"),
        (None, "unknown"),
        (NAN, "unknown"),
    ],
)
def test_percent(value: float | None, text: str) -> None:
    assert format_percent(value) == text


def test_percent_with_fixed_digits() -> None:
    assert format_percent(0.9, 2) == "90.00 %"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1_050_000, "1.05 MB"),
        (9_190_000, "9.19 MB"),
        (12_340_000, "12.3 MB"),
        (999_999, "1.00 MB"),
        (63_000, "63.0 kB"),
        (512, "512 bytes"),
        (2.5e9, "2.50 GB"),
        (NAN, "unknown"),
    ],
)
def test_bytes(value: float, text: str) -> None:
    assert format_bytes(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (4.23, "4.2 s"),
        (0.0, "0 s"),
        (9.96, "10 s"),
        (59.6, "1 min"),
        (130, "2 min 10 s"),
        (3599.7, "1 h"),
        (3900, "1 h 5 min"),
        (None, "unknown"),
    ],
)
def test_seconds(value: float | None, text: str) -> None:
    assert format_seconds(value) == text


def test_points_times_p_and_counts() -> None:
    assert [format_points(v) for v in (0.01, 0.005, -0.0)] == ["1 point", "0.5 points", "0 points"]
    assert [format_times(v) for v in (8.754, 12.34, 140.4)] == ["8.75", "12.3", "140"]
    assert [format_p(v) for v in (0.0301, 0.0004, 1.0)] == ["p = 0.03", "p < 0.001", "p = 1"]
    epochs = [format_epochs(v) for v in (0, 0.5, 1.0, 2.5000001, 12.25, 120.0, None)]
    assert epochs == [f"{n} epochs" for n in ("0", "0.5")] + ["1 epoch"] + [
        f"{n} epochs" for n in ("2.5", "12.25", "120", "unknown")
    ]
    assert [format_count(v, "epoch") for v in (1, 1000)] == ["1 epoch", "1,000 epochs"]
    assert [join_words(v) for v in ([], ["a"], ["a", "b", "c"])] == ["", "a", "a, b and c"]
    assert join_first(["a", "b", "c"], "layer") == "a, b, c"
    assert join_first(["a", "b", "c", "d"], "layer") == "a, b, c and 1 more layer"
    assert join_first(["a", "b", "c"], "layer", 1) == "a and 2 more layers"


@settings(deadline=None, max_examples=80)
@given(st.floats(0, 1))
def test_percent_never_rounds_up_to_100(value: float) -> None:
    if format_percent(value) == "100 %":
        assert value > 0.999_999


@settings(deadline=None, max_examples=80)
@given(st.floats(0, 1e6))
def test_seconds_never_count_to_sixty(value: float) -> None:
    assert "60" not in format_seconds(value).replace("h", "").split()[-2:-1]
