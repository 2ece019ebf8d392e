"""The statistics of the findings: intervals, paired tests, a bound, multiple tests."""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

# The part of an error probability that bounds the share of images on which two models disagree.
NUISANCE_SHARE = 0.2
HALVINGS = 26  # of an interval of at most 1: the bound is exact to 2e-8


@dataclass(frozen=True)
class McNemar:
    """Numbers of images that only one of two models classifies correctly, and the p-value."""

    only_a: int
    only_b: int
    p: float


def wilson(correct: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """The score interval of a proportion, as fractions (Wilson 1927).

    It covers the sampling of the `n` test images, not the randomness of training. Without images
    it is (0, 1). Raises ValueError for impossible counts, and for a `level` (the confidence
    level) outside 0 to 1.
    """
    if not 0 <= correct <= n:
        raise ValueError(f"{correct} correct images out of {n} are impossible.")
    if not 0 < level < 1:
        raise ValueError(f"The confidence level {level} is not between 0 and 1.")
    if n == 0:
        return 0.0, 1.0
    from scipy.special import ndtri  # imported here: pages must start fast

    z = float(ndtri((1 + level) / 2))
    share, z2 = correct / n, z * z / n
    center = share + z2 / 2
    half = z * math.sqrt(share * (1 - share) / n + z2 / (4 * n))
    low, high = (center - half) / (1 + z2), (center + half) / (1 + z2)
    # Exact ends, which rounding would miss by the last bit.
    return (0.0 if correct == 0 else low), (1.0 if correct == n else high)


def bits(correct: bytes, n: int) -> npt.NDArray[np.bool_]:
    """Which of `n` test images were classified correctly, from numpy's packed bits. Shape (n,).

    Raises ValueError where the bytes hold fewer than `n` images.
    """
    if len(correct) * 8 < n:
        raise ValueError(f"The stored results hold {len(correct) * 8} images at most, not {n}.")
    return np.unpackbits(np.frombuffer(correct, dtype=np.uint8), count=n).astype(np.bool_)


def mcnemar(a: bytes, b: bytes, n: int) -> McNemar:
    """The exact two-sided test of McNemar (1947) for two models on the same `n` images.

    `a` and `b` are packed bits, as in `bits`. Only images count that one model alone classifies
    correctly. If the models were equally accurate, each would have half of them (binomial with
    1/2). Without such images p is 1.
    """
    only_a, only_b = discordant(a, b, n)
    return McNemar(only_a, only_b, _two_sided(min(only_a, only_b), only_a + only_b))


def discordant(a: bytes, b: bytes, n: int) -> tuple[int, int]:
    """On how many of `n` images only `a`, and only `b`, is right; packed bits, as in `bits`."""
    right_a, right_b = bits(a, n), bits(b, n)
    return int(np.count_nonzero(right_a & ~right_b)), int(np.count_nonzero(right_b & ~right_a))


@functools.lru_cache(maxsize=10_000)
def drop_bound(lost: int, gained: int, n: int, error: float) -> float:
    """The upper confidence bound of the drop of accuracy from one model to another.

    Of `n` images that both classify, `lost` are right only with the first model and `gained` only
    with the second; the true drop is the difference of the two probabilities. The bound lies below
    it with a probability of at most `error`, for any probabilities and any `n`.

    It inverts the exact test of `lost - gained`, a sum of `n` values of -1, 0 and 1. The share of
    images on which the models disagree is a nuisance parameter. A part of `error` is spent on an
    upper bound of it (Clopper and Pearson 1934), and the test has the rest, for the worst share up
    to that bound (Berger and Boos 1994, https://doi.org/10.1080/01621459.1994.10476836). The score
    interval of Tango (1998, Statistics in Medicine 17) is narrower, but where the models disagree
    on few images it lies below the drop more often than it says.

    Without images it is 1. Raises ValueError for impossible counts and for an `error` outside 0
    to 1.
    """
    if lost < 0 or gained < 0 or lost + gained > n:
        raise ValueError(f"{lost} lost and {gained} gained images out of {n} are impossible.")
    if not 0 < error < 1:
        raise ValueError(f"The error probability {error} is not between 0 and 1.")
    if lost + gained == n:
        return 1.0
    from scipy.special import betaincinv  # imported here: pages must start fast

    disagreeing, spent = lost + gained, NUISANCE_SHARE * error
    share = float(betaincinv(disagreeing + 1, n - disagreeing, 1 - spent))
    # Up to 2/3 the values of an image, and so their sums, are log-concave: the probability of a
    # small difference rises with the share, and the largest share is the worst.
    shares = [share] if share <= 2 / 3 else np.linspace(2 / 3, share, 20).tolist()
    return max(_drop_bound_at(share, lost - gained, n, error - spent) for share in shares)


def difference_interval(
    only_a: int, only_b: int, n: int, level: float = 0.95
) -> tuple[float, float]:
    """The interval of the difference of two accuracies, `a` minus `b`, on the same `n` images.

    `only_a` images are right only with `a`, `only_b` only with `b`. Each end is a `drop_bound`
    with half of the error probability; where the models disagree on few images, intervals by a
    normal approximation cover the difference less often than they say. The bound is a little wider
    than McNemar's exact test, which looks only at the images on which the models disagree. Where
    that test shows a difference and the bound does not, the end near 0 comes from the test: the
    bound of the share that is right only with one model (Clopper and Pearson 1934), times that of
    the share of images on which they disagree. So the interval contains 0 if and only if the test
    shows no difference. It covers the sampling of the images, not the randomness of training.
    Raises ValueError as `drop_bound` does.
    """
    error = (1 - level) / 2
    low, high = -drop_bound(only_b, only_a, n, error), drop_bound(only_a, only_b, n, error)
    if _two_sided(min(only_a, only_b), only_a + only_b) >= 1 - level:
        return min(low, 0.0), max(high, 0.0)
    if only_a > only_b:
        return (low if low > 0 else _conditional_end(only_a, only_a + only_b, n, error)), high
    return low, (high if high < 0 else -_conditional_end(only_b, only_a + only_b, n, error))


def _conditional_end(more: int, disagreeing: int, n: int, error: float) -> float:
    """The end near 0 of a difference that McNemar's test shows; see `difference_interval`."""
    from scipy.special import betaincinv  # imported here: pages must start fast

    share = float(betaincinv(more, disagreeing - more + 1, error))
    disagreement = betaincinv(disagreeing, n - disagreeing + 1, NUISANCE_SHARE * error)
    return max(0.0, 2 * share - 1) * float(disagreement)


@dataclass(frozen=True)
class PairedT:
    """The mean of paired differences, its interval, and the two-sided p-value."""

    mean: float
    low: float
    high: float
    p: float


def paired_t(
    differences: Sequence[float], resolution: float = 0.0, level: float = 0.95
) -> PairedT | None:
    """Student's paired t interval and test of differences, such as one a seed. None below two.

    It covers the randomness of training, if the differences are about normal. `resolution` is the
    least step in which a difference can change, such as 1 / images: with few seeds, equal
    differences would otherwise give an interval without width. The standard deviation is taken as
    at least this step.
    """
    n = len(differences)
    if n < 2:
        return None
    from scipy.special import stdtr, stdtrit  # imported here: pages must start fast

    error = max(statistics.stdev(differences), resolution) / math.sqrt(n)
    mean = statistics.fmean(differences)
    half = float(stdtrit(n - 1, (1 + level) / 2)) * error
    if error == 0:
        return PairedT(mean, mean, mean, 1.0 if mean == 0 else 0.0)
    return PairedT(mean, mean - half, mean + half, 2 * float(stdtr(n - 1, -abs(mean) / error)))


def _drop_bound_at(share: float, difference: int, n: int, error: float) -> float:
    """`drop_bound` where models are known to disagree on this share of all images."""
    from scipy.special import bdtr  # imported here: pages must start fast

    numbers, weights = _binomial(n, share)
    most_lost = np.floor((numbers + difference) / 2)  # lost - gained is at most `difference`
    certain, impossible = most_lost >= numbers, most_lost < 0

    def probability(drop: float) -> float:
        """That the difference is at most the observed one, if this is the true drop."""
        lost_share = min(1.0, (1 + drop / share) / 2)
        below = bdtr(np.clip(most_lost, 0, numbers), numbers, lost_share)
        return float(weights @ np.where(impossible, 0.0, np.where(certain, 1.0, below)))

    low, high = difference / n, share
    if probability(high) > error:
        return high
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if probability(middle) > error:
            low = middle
        else:
            high = middle
    return high


def _binomial(n: int, share: float) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """The numbers that a binomial variable can take, without negligible ones, and their weights."""
    from scipy.special import gammaln  # imported here: pages must start fast

    spread = 7 * math.sqrt(n * share * (1 - share)) + 30
    first, last = max(0, int(n * share - spread)), min(n, int(n * share + spread))
    k = np.arange(first, last + 1)
    log = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
    return k, np.exp(log + k * math.log(share) + (n - k) * math.log1p(-share))


def fewest_images(tolerance: float, error: float) -> int:
    """The fewest images with which `drop_bound` can be at most `tolerance` (above 0).

    With fewer, the bound is above it even for two models that agree on every image.
    """
    high = 1
    while drop_bound(0, 0, high, error) > tolerance:
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        if drop_bound(0, 0, middle, error) > tolerance:
            low = middle
        else:
            high = middle
    return high


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values, adjusted for multiple tests, in the same order (Holm 1979)."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted


def _two_sided(fewer: int, total: int) -> float:
    if total == 0:
        return 1.0
    from scipy.special import bdtr  # imported here: pages must start fast

    return min(1.0, 2 * float(bdtr(fewer, total, 0.5)))
