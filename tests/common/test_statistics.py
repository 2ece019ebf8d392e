"""The statistics against published values and values computed by other means."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pruning_core.common.statistics import (
    bits,
    difference_interval,
    discordant,
    drop_bound,
    fewest_images,
    holm,
    mcnemar,
    paired_t,
    wilson,
)


def flags(*correct: int, n: int = 20) -> bytes:
    marks = np.zeros(n, dtype=np.uint8)
    marks[list(correct)] = 1
    return np.packbits(marks).tobytes()


@pytest.mark.parametrize(
    ("correct", "n", "low", "high"),
    [
        # Newcombe 1998 (Statistics in Medicine 17), table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_gives_the_published_intervals(
    correct: int, n: int, low: float, high: float
) -> None:
    assert wilson(correct, n) == pytest.approx((low, high), abs=5e-5)


def test_wilson_solves_its_own_equation() -> None:
    low, high = wilson(930, 1000, level=0.99)
    for bound in (low, high):
        z = abs(0.93 - bound) / math.sqrt(bound * (1 - bound) / 1000)
        assert z == pytest.approx(2.5758293, abs=1e-6)


def test_wilson_ends_at_0_and_1_and_mirrors() -> None:
    assert wilson(0, 50)[0] == 0.0
    assert wilson(50, 50)[1] == 1.0
    assert wilson(0, 0) == (0.0, 1.0)
    low, high = wilson(13, 50)
    assert wilson(37, 50) == pytest.approx((1 - high, 1 - low))


@pytest.mark.parametrize(("correct", "n", "level"), [(5, 4, 0.95), (-1, 4, 0.95), (1, 4, 1.0)])
def test_wilson_refuses_impossible_counts(correct: int, n: int, level: float) -> None:
    with pytest.raises(ValueError, match=r"are impossible|not between"):
        wilson(correct, n, level)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 5000), st.data())
def test_wilson_contains_the_proportion(n: int, data: st.DataObject) -> None:
    correct = data.draw(st.integers(0, n))
    low, high = wilson(correct, n)
    assert 0 <= low <= correct / n <= high <= 1


def test_bits_reads_packed_results_without_the_padding() -> None:
    assert bits(flags(0, 9, n=10), 10).tolist() == [True] + [False] * 8 + [True]


def test_bits_refuses_too_few() -> None:
    with pytest.raises(ValueError, match="8 images at most, not 9"):
        bits(b"\xff", 9)


def test_mcnemar_counts_both_sides_and_is_two_sided() -> None:
    # 1 against 7: twice (1 + 8) / 2^8.
    result = mcnemar(flags(0, 1, 2), flags(0, 1, 3, 4, 5, 6, 7, 8, 9), 20)
    assert (result.only_a, result.only_b) == (1, 7)
    assert result.p == pytest.approx(18 / 256)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 30), st.integers(0, 30))
def test_mcnemar_agrees_with_whole_number_arithmetic(only_a: int, only_b: int) -> None:
    a = flags(*range(only_a), n=80)
    b = flags(*range(40, 40 + only_b), n=80)
    total, fewer = only_a + only_b, min(only_a, only_b)
    probability = Fraction(sum(math.comb(total, k) for k in range(fewer + 1)), 2**total)
    assert mcnemar(a, b, 80).p == pytest.approx(float(min(Fraction(1), 2 * probability)))


def test_mcnemar_without_a_difference_is_one() -> None:
    assert mcnemar(flags(1, 2), flags(1, 2), 20).p == 1.0


def test_holm_by_hand() -> None:
    # Sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1; the last may not fall under 0.06.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


@settings(deadline=None, max_examples=60)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_is_between_the_raw_values_and_bonferroni(p_values: list[float]) -> None:
    for raw, adjusted in zip(p_values, holm(p_values), strict=True):
        assert raw <= adjusted <= min(1.0, raw * len(p_values))
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    values = [holm(p_values)[i] for i in order]
    assert values == sorted(values)


def misses(n: int, lost: float, gained: float, error: float) -> float:
    """The exact probability that the bound is below the true drop, by counting every outcome."""
    drop, missed = lost - gained, 0.0
    shares = np.log([lost, gained, 1 - lost - gained])
    for x in range(n + 1):
        for y in range(n + 1 - x):
            counts = np.array([x, y, n - x - y])
            log = math.lgamma(n + 1) - sum(math.lgamma(k + 1) for k in counts) + counts @ shares
            if log > -30 and drop_bound(x, y, n, error) < drop:
                missed += math.exp(log)
    return missed


@pytest.mark.parametrize("error", [0.05, 0.05 / 12])
@pytest.mark.parametrize(
    ("n", "lost", "gained"),
    [
        *((30, lost, gained) for lost in (0.03, 0.12, 0.5) for gained in (1e-9, 0.02)),
        *((15, lost, 0.4) for lost in (0.05, 0.3, 0.55)),
        *((144, 0.0209, gained) for gained in (1e-9, 0.0005)),
        *((144, 0.03, gained) for gained in (0.01, 0.02)),
        *((144, lost, 0.001) for lost in (0.0111, 0.031, 0.051)),
    ],
)
def test_the_bound_misses_the_drop_at_most_as_often_as_it_says(
    n: int, lost: float, gained: float, error: float
) -> None:
    """Few images, rare disagreements, and models that disagree on nearly all images."""
    assert misses(n, lost, gained, error) <= error


def test_the_bound_lies_above_the_observed_drop_and_near_the_normal_approximation() -> None:
    assert drop_bound(0, 0, 144, 0.05) > 1 - 0.05 ** (1 / 144)  # the exact bound of one share
    for lost, gained in ((250, 250), (400, 100)):
        normal = 1.645 * math.sqrt(lost + gained - (lost - gained) ** 2 / 5000) / 5000
        excess = drop_bound(lost, gained, 5000, 0.05) - (lost - gained) / 5000
        assert normal < excess < 1.2 * normal


@given(st.integers(1, 400), st.data())
@settings(max_examples=30, deadline=None)
def test_the_bound_grows_with_the_images_that_are_lost_and_the_confidence(
    n: int, data: st.DataObject
) -> None:
    lost = data.draw(st.integers(0, n - 1))
    gained = data.draw(st.integers(0, n - 1 - lost))
    bound = drop_bound(lost, gained, n, 0.05)
    assert (lost - gained) / n <= bound <= 1
    if lost + gained < n / 3:
        assert drop_bound(lost + 1, gained, n, 0.05) >= bound
    assert drop_bound(lost, gained, n, 0.01) >= bound


def test_the_fewest_images_and_the_discordant_ones() -> None:
    needed = fewest_images(0.01, 0.05)
    assert drop_bound(0, 0, needed, 0.05) <= 0.01 < drop_bound(0, 0, needed - 1, 0.05)
    assert discordant(flags(1, 2, 5), flags(2, 3), 20) == (2, 1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((-1, 0, 9, 0.05), "impossible"),
        ((5, 5, 9, 0.05), "impossible"),
        ((1, 1, 9, 1.0), "between"),
    ],
)
def test_impossible_counts_have_no_bound(arguments: tuple, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        drop_bound(*arguments)


@pytest.mark.parametrize(
    ("only_a", "only_b", "n"),
    [
        *((0.02, 0.02, 300), (0.01, 0.0, 300), (0.15, 0.05, 80), (0.3, 0, 40), (0.02, 0.022, 300)),
        *((0.025, 0.02, 300), (0.03, 0.01, 300), (0.02, 0.001, 300)),
    ],
)
def test_the_interval_of_a_paired_difference_covers_it(
    only_a: float, only_b: float, n: int
) -> None:
    """Exact coverage: the probabilities of all counts whose interval contains the difference."""
    weights = multinomial(n, only_a, only_b)
    covered = sum(
        weight
        for (a, b), weight in weights.items()
        if (ends := difference_interval(a, b, n))[0] <= only_a - only_b <= ends[1]
    )
    assert sum(weights.values()) == pytest.approx(1, abs=1e-3)
    assert covered >= 0.95


def test_the_interval_contains_0_if_and_only_if_the_test_shows_no_difference() -> None:
    for a, b in itertools.product(range(25), range(25)):
        low, high = difference_interval(a, b, 200)
        assert low <= (a - b) / 200 <= high
        p = mcnemar(flags(*range(a), n=200), flags(*range(a, a + b), n=200), 200).p
        assert (low <= 0 <= high) == (p >= 0.05), (a, b)


def multinomial(n: int, p: float, q: float) -> dict[tuple[int, int], float]:
    """The probabilities of the likely pairs of counts among `n` images."""
    result = {}
    for a in range(n + 1):
        for b in range(n - a + 1):
            if (a and not p) or (b and not q):
                continue
            log = math.lgamma(n + 1) - math.lgamma(a + 1) - math.lgamma(b + 1)
            log -= math.lgamma(n - a - b + 1)
            log += a * math.log(p or 1) + b * math.log(q or 1) + (n - a - b) * math.log(1 - p - q)
            if log > math.log(1e-7):
                result[a, b] = math.exp(log)
    return result


def test_the_interval_of_a_difference_mirrors_and_is_near_the_normal_one() -> None:
    low, high = difference_interval(300, 200, 10_000)
    assert difference_interval(200, 300, 10_000) == (-high, -low)
    half = 1.96 * math.sqrt(500 / 10_000 - 0.01**2) / 100
    assert (low, high) == pytest.approx(
        (0.01 - half, 0.01 + half), abs=6e-4
    )  # an exact interval is wider


def test_the_paired_t_test_is_that_of_students_table() -> None:
    test = paired_t([0.01, 0.02, 0.03])
    assert test is not None
    # t is 4.303 for 2 degrees of freedom, and the standard error 0.01 / sqrt(3).
    assert (test.low, test.high) == pytest.approx((0.02 - 0.02484, 0.02 + 0.02484), abs=1e-5)
    t = 0.02 / (0.01 / math.sqrt(3))
    assert test.p == pytest.approx(1 - t / math.sqrt(t * t + 2))  # closed form for 2 degrees
    assert paired_t([0.01]) is None
    assert paired_t([0.0, 0.0]).p == 1  # type: ignore[union-attr]


def test_equal_differences_of_two_seeds_prove_nothing() -> None:
    """Accuracies are multiples of 1 / images, so two equal differences are no rare event."""
    test = paired_t([1 / 360, 1 / 360], resolution=1 / 360)
    assert test is not None
    assert test.low < 0 < test.high
    assert test.p > 0.05


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_the_interval_over_seeds_covers_counted_differences(seeds: int) -> None:
    random = np.random.default_rng(seeds)
    counts = np.round(random.normal(3, 1.5, (4000, seeds))) / 360
    tests = [paired_t(row, 1 / 360) for row in counts.tolist()]
    covered = np.mean([t is not None and t.low <= 3 / 360 <= t.high for t in tests])
    assert covered > 0.94
