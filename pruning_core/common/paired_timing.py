"""Two things timed in turn: how many times as fast one is, and whether that can be told.

A round times every thing twice, once in each order (A B C, then C B A), so that what a slow
drift or the neighbour in the order does to one is done to the other. The ratio is the median
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
SAME = 1.05  # an interval within 1/1.05 to 1.05 is told as no difference
RESAMPLES = 1000
WIDEST = 1.5  # an interval whose ends differ by more than this factor tells nothing
FASTER, SLOWER, ALIKE, NOISY = "faster", "slower", "same", "noisy"
JUDGEMENTS = {
    FASTER: "faster",
    SLOWER: "slower",
    ALIKE: "no difference",
    NOISY: "this machine is too noisy to tell",
}
Times = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Ratio:
    """How many times as fast: the median over `rounds` rounds, and its 95 % interval."""

    median: float
    low: float
    high: float
    rounds: int


def median_interval(values: Sequence[float] | Times, level: float = LEVEL) -> tuple[float, float]:
    """An interval that holds the median with at least this probability.

    It ends at two of the values, counted from both ends, so nothing is assumed of how they
    are spread (David and Nagaraja 2003, section 7.1); they are taken to be independent.
    Raises ValueError where there are too few for the level.
    """
    from scipy.special import bdtr  # imported here: pages must start fast

    ordered = np.sort(np.asarray(values, dtype=float))
    below = np.array([bdtr(k, len(ordered), 0.5) for k in range((len(ordered) + 1) // 2)])
    place = int(np.count_nonzero(below <= (1 - level) / 2)) - 1
    if place < 0:
        raise ValueError(f"{len(ordered)} rounds are too few for an interval of {level:.0%}.")
    return float(ordered[place]), float(ordered[-1 - place])


def paired_ratio(reference: Times, candidate: Times) -> Ratio:
    """How many times as fast the candidate is, from times (rounds, samples a round) of both.

    Raises ValueError where the two were not timed in the same rounds, or in too few.
    """
    if reference.shape != candidate.shape:
        shapes = f"{reference.shape} and {candidate.shape}"
        raise ValueError(f"The times were not taken in the same rounds: {shapes}.")
    ratios = reference.sum(axis=1) / candidate.sum(axis=1)
    return Ratio(float(np.median(ratios)), *median_interval(ratios), len(ratios))


def summed_ratio(parts: Sequence[tuple[float, Times, Times]], seed: int = 0) -> Ratio:
    """How many times as fast a sum of things is, each timed in rounds of its own.

    Each part is how often it is there, the reference's times and the candidate's (rounds,
    samples a round). The sums are those of the medians, so that a disturbed round of one part
    does not disturb all; the interval is the percentile bootstrap over rounds, in which the
    two of a round stay together (Efron and Tibshirani 1993, chapter 13).
    """
    generator = np.random.default_rng(seed)
    above, below = np.zeros(RESAMPLES + 1), np.zeros(RESAMPLES + 1)
    for count, reference, candidate in parts:
        drawn = generator.integers(len(reference), size=(RESAMPLES, len(reference)))
        rounds = [reference, *reference[drawn]], [candidate, *candidate[drawn]]
        above += count * np.median(np.stack(rounds[0]), axis=(1, 2))
        below += count * np.median(np.stack(rounds[1]), axis=(1, 2))
    ratios = above / below
    low, high = np.percentile(ratios[1:], (50 * (1 - LEVEL), 50 * (1 + LEVEL)))
    least = min(len(reference) for _, reference, _ in parts)
    return Ratio(float(ratios[0]), float(low), float(high), least)


def control_width(control: Ratio | None) -> float:
    """How far from 1 a thing timed against itself may lie: at least 1.

    Where a program stands in memory makes it a little quicker or slower for as long as it is
    open, which no number of rounds averages out.
    """
    return max(control.high, 1 / control.low) if control else 1.0


def judge(ratio: Ratio, width: float = 1.0) -> str:
    """FASTER, SLOWER, ALIKE or NOISY. `width` is what `control_width` gives.

    A difference is told only where the whole interval lies past 1 and past what the same
    thing timed twice shows; no difference only where the whole interval lies near 1.
    """
    if not (math.isfinite(ratio.high) and ratio.low > 0 and ratio.high <= WIDEST * ratio.low):
        return NOISY
    if ratio.low >= 1 / SAME and ratio.high <= SAME:
        return ALIKE
    if ratio.low > max(1.0, width):
        return FASTER
    return SLOWER if ratio.high < min(1.0, 1 / width) else NOISY


def summary(times_ns: Times, images: int) -> dict[str, Any]:
    """What a thing took: milliseconds of a call at the 10th, 50th and 90th percentile.

    `times_ns` (rounds, samples a round) are nanoseconds of one call with `images` images;
    `images_per_second` is that of the median call.
    """
    p10, p50, p90 = (float(value) / 1e6 for value in np.percentile(times_ns, (10, 50, 90)))
    return {
        "p10_ms": p10,
        "p50_ms": p50,
        "p90_ms": p90,
        "images_per_second": 1000 * images / p50,
        "rounds": len(times_ns),
    }
