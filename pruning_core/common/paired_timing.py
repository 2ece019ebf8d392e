"""Interleaved timing of several programs: the speed-up of one over another, and its interval.

A round times every program twice, in an order and back (A B C, then C B A), so that a slow drift of
the machine and the position in the order affect all programs equally. The speed-up is the median
over rounds of the ratio within a round.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

LEVEL = 0.95
LEAST_ROUNDS = 6  # fewer have no 95 % interval of this kind
SAME = 1.05  # an interval within 1/1.05 to 1.05 counts as no difference
RESAMPLES = 1000
WIDEST = 1.5  # an interval whose ends differ by more than this factor is inconclusive
FASTER, SLOWER, ALIKE, NOISY = "faster", "slower", "same", "noisy"
JUDGEMENTS = {
    FASTER: "faster",
    SLOWER: "slower",
    ALIKE: "no difference",
    NOISY: "inconclusive (noisy machine)",
}
Times = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Ratio:
    """A speed-up: the median over `rounds` rounds, and its 95 % interval from `low` to `high`."""

    median: float
    low: float
    high: float
    rounds: int


def median_interval(values: Sequence[float] | Times, level: float = LEVEL) -> tuple[float, float]:
    """An interval that contains the median with at least the probability `level`.

    Its ends are two of the values (order statistics; David and Nagaraja 2003, section 7.1), so it
    assumes no distribution of the values, only that they are independent. Raises ValueError
    where there are too few values for the level.
    """
    from scipy.special import bdtr  # imported here: pages must start fast

    ordered = np.sort(np.asarray(values, dtype=float))
    # The probability that at most k of the values lie below the median, from k = 0.
    tails = np.array([bdtr(k, len(ordered), 0.5) for k in range((len(ordered) + 1) // 2)])
    rank = int(np.count_nonzero(tails <= (1 - level) / 2)) - 1
    if rank < 0:
        raise ValueError(f"{len(ordered)} rounds are too few for an interval of {level:.0%}.")
    return float(ordered[rank]), float(ordered[-1 - rank])


def paired_ratio(reference: Times, candidate: Times) -> Ratio:
    """The speed-up of the candidate over the reference, from their times in one unit.

    Both have the shape (rounds, samples per round). Raises ValueError where the shapes differ,
    or where there are too few rounds.
    """
    if reference.shape != candidate.shape:
        shapes = f"{reference.shape} and {candidate.shape}"
        raise ValueError(f"The times were not taken in the same rounds: {shapes}.")
    ratios = reference.sum(axis=1) / candidate.sum(axis=1)
    return Ratio(float(np.median(ratios)), *median_interval(ratios), len(ratios))


def summed_ratio(parts: Sequence[tuple[float, Times, Times]], seed: int = 0) -> Ratio:
    """The speed-up of a sum of parts, such as layers, each timed in rounds of its own.

    Each part is its count, the times of the reference and those of the candidate, of shape
    (rounds, samples per round). The medians of the parts are summed, so that a disturbed round
    of one part does not disturb all. The interval is the percentile bootstrap over rounds, in
    which reference and candidate of a round stay together (Efron and Tibshirani 1993,
    chapter 13).
    """
    generator = np.random.default_rng(seed)
    # Element 0 holds the measured sums, the others those of the resamples.
    references, candidates = np.zeros(RESAMPLES + 1), np.zeros(RESAMPLES + 1)
    for count, reference, candidate in parts:
        drawn = generator.integers(len(reference), size=(RESAMPLES, len(reference)))
        rounds = [reference, *reference[drawn]], [candidate, *candidate[drawn]]
        references += count * np.median(np.stack(rounds[0]), axis=(1, 2))
        candidates += count * np.median(np.stack(rounds[1]), axis=(1, 2))
    ratios = references / candidates
    low, high = np.percentile(ratios[1:], (50 * (1 - LEVEL), 50 * (1 + LEVEL)))
    least = min(len(reference) for _, reference, _ in parts)
    return Ratio(float(ratios[0]), float(low), float(high), least)


def control_width(control: Ratio | None) -> float:
    """How far from 1 the speed-up of a program over itself lies: a factor of at least 1.

    The position of a program in memory makes it a little faster or slower for as long as it is
    loaded, and no number of rounds averages that out.
    """
    return max(control.high, 1 / control.low) if control else 1.0


def judge(ratio: Ratio, width: float = 1.0) -> str:
    """FASTER, SLOWER, ALIKE or NOISY; `width` is the result of `control_width`.

    FASTER and SLOWER need an interval that lies on one side of 1 and beyond the width of the
    control; ALIKE needs an interval close to 1. Everything else is inconclusive.
    """
    if not (math.isfinite(ratio.high) and ratio.low > 0 and ratio.high <= WIDEST * ratio.low):
        return NOISY
    if ratio.low >= 1 / SAME and ratio.high <= SAME:
        return ALIKE
    if ratio.low > max(1.0, width):
        return FASTER
    return SLOWER if ratio.high < min(1.0, 1 / width) else NOISY


def summary(times_ns: Times, images: int) -> dict[str, Any]:
    """The latency of a program: milliseconds per call at the 10th, 50th and 90th percentile.

    `times_ns` (rounds, samples per round) are nanoseconds of one call with `images` images;
    `images_per_second` is the throughput of the median call.
    """
    p10, p50, p90 = (float(value) / 1e6 for value in np.percentile(times_ns, (10, 50, 90)))
    return {
        "p10_ms": p10,
        "p50_ms": p50,
        "p90_ms": p90,
        "images_per_second": 1000 * images / p50,
        "rounds": len(times_ns),
    }
