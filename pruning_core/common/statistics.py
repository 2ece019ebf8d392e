"""The statistics of the findings: an interval, a paired test, a correction for multiple tests."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


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
    correct_a, correct_b = bits(a, n), bits(b, n)
    only_a = int(np.count_nonzero(correct_a & ~correct_b))
    only_b = int(np.count_nonzero(correct_b & ~correct_a))
    return McNemar(only_a, only_b, _two_sided(min(only_a, only_b), only_a + only_b))


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
