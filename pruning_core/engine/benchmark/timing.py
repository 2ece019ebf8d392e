"""Times of things done in turn, A B A B, and the ratio of two of them with its spread."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence

from pruning_core.results.benchmark import Figure

Job = Callable[[], object]


def summarize(values: Sequence[float]) -> Figure:
    """The median and the range of some values."""
    return Figure(statistics.median(values), min(values), max(values))


def interleaved(jobs: Mapping[str, Job], rounds: int, warmup: int = 0) -> dict[str, list[float]]:
    """Seconds of each job in each round; the jobs take turns, so a noisy minute meets all."""
    for _ in range(warmup):
        for job in jobs.values():
            job()
    found: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(rounds):
        for name, job in jobs.items():
            found[name].append(seconds(job))
    return found


def seconds(job: Job) -> float:
    """How long one call takes."""
    started = time.perf_counter()
    job()
    return time.perf_counter() - started


def ratio(over: Sequence[float], under: Sequence[float]) -> Figure:
    """The quotient of two series of the same rounds, round by round."""
    return summarize([a / b for a, b in zip(over, under, strict=True)])
