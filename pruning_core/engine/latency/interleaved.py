"""Times jobs in turn: forwards and backwards in each round, after a warm-up."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from pruning_core.common.paired_timing import LEAST_ROUNDS, Times

Call = Callable[[], object]
Name = TypeVar("Name", bound=Hashable)
Clock = Callable[[], int]
WARM_UP = 3
# A sample of this length is a thousand steps of any clock that Python has on a usual system.
SAMPLE_NS = 200_000
# A job this quick leaves so little in the caches that its turn begins with a call not counted.
QUICK_NS = 10_000_000


@dataclass(frozen=True)
class Budget:
    """At most so many rounds; none begins after so many seconds, once there are enough."""

    rounds: int
    seconds: float


@contextmanager
def _no_collection() -> Iterator[None]:
    """Python's collector of unused objects does not run between two clock readings."""
    was = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def interleaved_times(
    jobs: Mapping[Name, Call],
    budget: Budget,
    say: Callable[[float], None] = lambda part: None,
    clock: Clock = time.perf_counter_ns,
) -> dict[Name, Times]:
    """Nanoseconds of one call of each job, (rounds, 2).

    The first of a round's two samples is taken on the way forwards, the second on the way back.
    A sample repeats a quick job until the clock's steps do not matter, and holds its mean.
    """
    turns = {name: _turn(job, clock) for name, job in jobs.items()}
    found: dict[Name, list[list[float]]] = {name: [] for name in jobs}
    begun, done, order = clock(), 0, list(jobs)
    with _no_collection():
        while done < max(budget.rounds, LEAST_ROUNDS):
            spent = (clock() - begun) / 1e9
            if done >= LEAST_ROUNDS and spent >= budget.seconds:
                break
            say(max(done / budget.rounds, min(1.0, spent / budget.seconds)))
            for name in order:
                found[name].append([turns[name].sample(clock)])
            for name in reversed(order):
                found[name][-1].append(turns[name].sample(clock))
            done += 1
    return {name: np.array(rows, dtype=np.float64) for name, rows in found.items()}


@dataclass(frozen=True)
class _Turn:
    """A job, its calls a sample, and whether a call that is not counted comes before them."""

    job: Call
    calls: int
    settles: bool

    def sample(self, clock: Clock) -> float:
        """Nanoseconds of a call, the mean of a sample."""
        if self.settles:
            self.job()
        begun = clock()
        for _ in range(self.calls):
            self.job()
        return (clock() - begun) / self.calls


def _turn(job: Call, clock: Clock) -> _Turn:
    """How to sample a job, from the quickest call of the warm-up."""
    quickest = min(_once(job, clock) for _ in range(WARM_UP))
    return _Turn(job, max(1, math.ceil(SAMPLE_NS / max(quickest, 1))), quickest < QUICK_NS)


def _once(job: Call, clock: Clock) -> int:
    begun = clock()
    job()
    return clock() - begun
