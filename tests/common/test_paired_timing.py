"""Speed-ups from paired times, and their judgements, on invented times."""

from __future__ import annotations

import numpy as np
import pytest

from pruning_core.common.paired_timing import (
    ALIKE,
    FASTER,
    JUDGEMENTS,
    NOISY,
    SLOWER,
    Ratio,
    Times,
    control_width,
    judge,
    median_interval,
    paired_ratio,
    summary,
    summed_ratio,
)


def times(value: float, rounds: int = 40, noise: float = 0.0, seed: int = 0) -> Times:
    return value * np.random.default_rng(seed).lognormal(0.0, noise, (rounds, 2))


@pytest.mark.parametrize(
    ("count", "rank"),
    [(6, 0), (8, 0), (9, 1), (11, 1), (12, 2), (20, 5), (25, 7), (50, 17), (100, 39)],
)
def test_the_interval_of_a_median_has_the_ranks_of_tables(count: int, rank: int) -> None:
    """Ranks of the sign test at 5 %, two-sided (in tables the rank is the critical count)."""
    values = np.random.default_rng(1).permutation(count).astype(float)
    assert median_interval(values) == (rank, count - 1 - rank)


def test_the_interval_of_a_median_has_its_coverage() -> None:
    generator = np.random.default_rng(0)
    contained = 0
    for _ in range(2000):
        low, high = median_interval(generator.lognormal(0.0, 1.0, 31))
        contained += low <= 1.0 <= high
    assert contained / 2000 >= 0.94


def test_too_few_rounds_have_no_interval() -> None:
    with pytest.raises(ValueError, match="5 rounds are too few"):
        median_interval([1.0, 2.0, 3.0, 4.0, 5.0])


def test_equal_values_have_an_interval_of_no_width() -> None:
    assert median_interval([2.0] * 10) == (2.0, 2.0)


def test_slow_rounds_of_both_do_not_change_the_ratio() -> None:
    slow = np.where(np.arange(40) < 15, 7.0, 1.0)[:, None]
    ratio = paired_ratio(times(6.0) * slow, times(3.0) * slow)
    assert (ratio.median, ratio.low, ratio.high, ratio.rounds) == (2.0, 2.0, 2.0, 40)


def test_the_cost_of_the_position_in_a_round_cancels_out() -> None:
    first, second = np.array([[1.2, 1.0]] * 10), np.array([[1.0, 1.2]] * 10)
    assert paired_ratio(first, second).median == pytest.approx(1.0)


def test_a_few_disturbed_rounds_do_not_move_the_median() -> None:
    candidate = times(3.0, noise=0.01)
    candidate[::7] *= 20
    ratio = paired_ratio(times(6.0, noise=0.01, seed=1), candidate)
    assert ratio.median == pytest.approx(2.0, rel=0.02)
    assert judge(ratio) == FASTER


def test_a_sum_is_that_of_the_medians_with_its_counts() -> None:
    ratio = summed_ratio([(3, times(2.0), times(1.0)), (1, times(4.0, 9), times(2.0, 9))])
    assert ratio == Ratio(2.0, 2.0, 2.0, 9)
    mixed = summed_ratio([(1, times(1.0), times(1.0)), (1, times(1.0), times(0.5))])
    assert mixed.median == pytest.approx(2 / 1.5)


def test_a_disturbed_part_does_not_disturb_the_sum() -> None:
    disturbed = times(1.0, noise=0.02, seed=3)
    disturbed[::5] *= 300
    parts = [(1, times(1.0, noise=0.02, seed=i), times(0.5, noise=0.02, seed=9)) for i in range(4)]
    ratio = summed_ratio([*parts, (1, disturbed, times(0.5, noise=0.02))])
    assert ratio.median == pytest.approx(2.0, rel=0.03)
    assert 1.9 < ratio.low < ratio.median < ratio.high < 2.1


def test_the_interval_of_a_sum_has_its_coverage() -> None:
    contained = 0
    for i in range(100):
        pairs = [
            (times(2.0, 20, 0.3, 9 * i + k), times(1.0, 20, 0.3, 9 * i + k + 4)) for k in (0, 1)
        ]
        ratio = summed_ratio([(2, *pairs[0]), (1, *pairs[1])], seed=i)
        contained += ratio.low <= 2.0 <= ratio.high
    assert contained >= 88


def test_times_of_different_rounds_have_no_ratio() -> None:
    with pytest.raises(ValueError, match="same rounds"):
        paired_ratio(times(1.0, 10), times(1.0, 12))


@pytest.mark.parametrize(
    ("low", "high", "width", "expected"),
    [
        (1.8, 2.0, 1.0, FASTER),
        (0.5, 0.6, 1.0, SLOWER),
        (0.97, 1.04, 1.0, ALIKE),
        (1.01, 1.04, 1.0, ALIKE),  # a difference too small to report
        (0.97, 1.2, 1.0, NOISY),  # contains 1
        (1.2, 2.5, 1.0, NOISY),  # too wide
        (1.06, 1.2, 1.1, NOISY),  # within the width of the control
        (1.15, 1.3, 1.1, FASTER),
        (0.85, 0.95, 1.1, NOISY),
        (0.7, 0.85, 1.1, SLOWER),
        (0.0, 0.0, 1.0, NOISY),
        (1.0, float("inf"), 1.0, NOISY),
    ],
)
def test_a_judgement_follows_from_the_interval(
    low: float, high: float, width: float, expected: str
) -> None:
    assert judge(Ratio((low * high) ** 0.5, low, high, 40), width) == expected
    assert expected in JUDGEMENTS


def test_a_program_is_not_faster_than_itself() -> None:
    judgements = [
        judge(paired_ratio(times(1.0, 60, 0.2, 2 * i), times(1.0, 60, 0.2, 2 * i + 1)))
        for i in range(200)
    ]
    assert sum(judgement in (FASTER, SLOWER) for judgement in judgements) <= 10


@pytest.mark.parametrize(
    ("low", "high", "width"), [(0.98, 1.03, 1.03), (0.8, 1.1, 1.25), (1.02, 1.04, 1.04)]
)
def test_the_control_widens_the_range_of_no_difference(
    low: float, high: float, width: float
) -> None:
    assert control_width(Ratio(1.0, low, high, 20)) == pytest.approx(width)
    assert control_width(None) == 1.0


def test_the_summary_of_times() -> None:
    ratio = summary(np.arange(1, 102, dtype=float).reshape(-1, 1) * 1e6, images=4)
    assert ratio == {
        "p10_ms": 11.0,
        "p50_ms": 51.0,
        "p90_ms": 91.0,
        "images_per_second": pytest.approx(4 / 0.051),
        "rounds": 101,
    }
