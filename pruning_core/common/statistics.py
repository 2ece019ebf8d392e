"""The statistics behind the findings: an interval, a paired test, a correction."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class McNemar:
    """Images right in only one of two evaluations, and the p-value of that split."""

    only_a: int
    only_b: int
    p: float


def wilson(right: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """The score interval of a proportion, as fractions (Wilson 1927).

    It covers the sampling of the `n` test images only, not the luck of training.
    Without images nothing is known: (0, 1). Raises ValueError where the counts or the
    level cannot be.
    """
    if not 0 <= right <= n:
        raise ValueError(f"{right} right answers out of {n} cannot be.")
    if not 0 < level < 1:
        raise ValueError(f"The level {level} is not between 0 and 1.")
    if n == 0:
        return 0.0, 1.0
    from scipy.special import ndtri  # imported here: pages must start fast

    z = float(ndtri((1 + level) / 2))
    share, z2 = right / n, z * z / n
    centre = share + z2 / 2
    half = z * math.sqrt(share * (1 - share) / n + z2 / (4 * n))
    low, high = (centre - half) / (1 + z2), (centre + half) / (1 + z2)
    return (0.0 if right == 0 else low), (1.0 if right == n else high)


def bits(correct: bytes, n: int) -> npt.NDArray[np.bool_]:
    """Which of `n` test images were right, from numpy's packed bits. Shape (n,).

    Raises ValueError where the bytes hold fewer than `n` images.
    """
    if len(correct) * 8 < n:
        raise ValueError(f"The stored results hold {len(correct) * 8} images at most, not {n}.")
    return np.unpackbits(np.frombuffer(correct, dtype=np.uint8), count=n).astype(np.bool_)


def mcnemar(a: bytes, b: bytes, n: int) -> McNemar:
    """Two models on the same `n` images: the exact two-sided test of McNemar (1947).

    Only images on which the two differ count; with no difference between the models each
    side would get half of them (binomial, 1/2). Where there are none, p is 1.
    """
    right_a, right_b = bits(a, n), bits(b, n)
    only_a = int(np.count_nonzero(right_a & ~right_b))
    only_b = int(np.count_nonzero(right_b & ~right_a))
    return McNemar(only_a, only_b, _two_sided(min(only_a, only_b), only_a + only_b))


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values, adjusted for being several, in the same order (Holm 1979)."""
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
