"""Times of jobs in interleaved rounds (A B A B), and paired ratios with their range."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence

from pruning_core.results.benchmark import MedianRange

Job = Callable[[], object]


def summarize(values: Sequence[float]) -> MedianRange:
    """The median, the lowest and the highest value."""
    return MedianRange(statistics.median(values), min(values), max(values))


def interleaved(jobs: Mapping[str, Job], rounds: int, warmup: int = 0) -> dict[str, list[float]]:
    """Seconds of each job in each round. Interleaving spreads noise over all jobs alike."""
    for _ in range(warmup):
        for job in jobs.values():
            job()
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(rounds):
        for name, job in jobs.items():
            times[name].append(seconds(job))
    return times


def seconds(job: Job) -> float:
    """Seconds of one call."""
    started = time.perf_counter()
    job()
    return time.perf_counter() - started


def paired_ratio(numerators: Sequence[float], denominators: Sequence[float]) -> MedianRange:
    """The ratio of two series, taken round by round."""
    return summarize([a / b for a, b in zip(numerators, denominators, strict=True)])
