"""Times several calls in interleaved rounds: in a random order, then backwards, after a warm-up.

Speed changes on a machine (frequency, temperature, other programs) then affect all calls of a
round alike, and cancel out in their ratios. The order is another one in each round: the first and
the last call of a round follow themselves, and find the caches as they left them. With a fixed
order that would always favor the same calls.
"""

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
ORDER_SEED = 0
# Long enough for the resolution of a clock not to matter.
SAMPLE_NS = 200_000
# A call this short finds the caches as another call left them, so its sample begins with a call
# that is not timed.
SHORT_NS = 10_000_000


@dataclass(frozen=True)
class Budget:
    """At most `rounds` rounds; none starts after `seconds`, once there are `LEAST_ROUNDS`."""

    rounds: int
    seconds: float


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Collect garbage once, and not again inside the block: it would interrupt a timed call.

    A block inside another one does nothing, so that many short measurements collect only once.
    """
    if not gc.isenabled():
        yield
        return
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def interleaved_times(
    calls: Mapping[Name, Call],
    budget: Budget,
    say: Callable[[float], None] = lambda fraction: None,
    clock: Clock = time.perf_counter_ns,
) -> dict[Name, Times]:
    """Nanoseconds of each call, (rounds, 2).

    The first of the two samples of a round is taken in the order of the round, the second on the
    way back. A sample of a short call is the mean of several calls. `say` gets the progress from 0
    to 1.
    """
    samplers = {name: _sampler(call, clock) for name, call in calls.items()}
    times: dict[Name, list[list[float]]] = {name: [] for name in calls}
    started, done, names = clock(), 0, list(calls)
    random = np.random.default_rng(ORDER_SEED)
    with no_garbage_collection():
        while done < max(budget.rounds, LEAST_ROUNDS):
            seconds = (clock() - started) / 1e9
            if done >= LEAST_ROUNDS and seconds >= budget.seconds:
                break
            say(max(done / budget.rounds, min(1.0, seconds / budget.seconds)))
            order = [names[i] for i in random.permutation(len(names))]
            for name in order:
                times[name].append([samplers[name].sample(clock)])
            for name in reversed(order):
                times[name][-1].append(samplers[name].sample(clock))
            done += 1
    return {name: np.array(rows, dtype=np.float64) for name, rows in times.items()}


@dataclass(frozen=True)
class _Sampler:
    """A call, the repeats in a sample, and whether an untimed call comes before them."""

    call: Call
    repeats: int
    untimed_first: bool

    def sample(self, clock: Clock) -> float:
        """Nanoseconds of a call, the mean over the repeats."""
        if self.untimed_first:
            self.call()
        started = clock()
        for _ in range(self.repeats):
            self.call()
        return (clock() - started) / self.repeats


def _sampler(call: Call, clock: Clock) -> _Sampler:
    """The sampler of a call, from its shortest time in the warm-up."""
    shortest = min(_nanoseconds(call, clock) for _ in range(WARM_UP))
    repeats = max(1, math.ceil(SAMPLE_NS / max(shortest, 1)))
    return _Sampler(call, repeats, untimed_first=shortest < SHORT_NS)


def _nanoseconds(call: Call, clock: Clock) -> int:
    started = clock()
    call()
    return clock() - started
