"""Calls timed in interleaved rounds, on a simulated clock."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable

import pytest

from pruning_core.common.paired_timing import LEAST_ROUNDS
from pruning_core.engine.latency.interleaved import (
    SAMPLE_NS,
    SHORT_NS,
    Budget,
    interleaved_times,
    no_garbage_collection,
)


class Clock:
    """A clock that only the calls move."""

    def __init__(self) -> None:
        self.now = 0
        self.calls: list[str] = []

    def __call__(self) -> int:
        return self.now

    def call(self, name: str, nanoseconds: int) -> Callable[[], None]:
        def work() -> None:
            self.calls.append(name)
            self.now += nanoseconds

        return work


def test_each_round_has_an_order_of_its_own_and_goes_back() -> None:
    clock = Clock()
    calls = {name: clock.call(name, SHORT_NS) for name in "ABC"}
    times = interleaved_times(calls, Budget(60, 1e9), clock=clock)
    timed = "".join(clock.calls[-360:])
    rounds = [timed[i : i + 6] for i in range(0, 360, 6)]
    assert all(sorted(one[:3]) == list("ABC") and one[3:] == one[2::-1] for one in rounds)
    # A call that follows itself finds its data in the caches: each does so about equally often.
    for place in (0, 2):
        counts = Counter(one[place] for one in rounds)
        assert min(counts[name] for name in "ABC") >= 10
    assert {name: value.shape for name, value in times.items()} == dict.fromkeys("ABC", (60, 2))
    assert (times["A"] == SHORT_NS).all()


def test_a_sample_repeats_a_short_call() -> None:
    clock = Clock()
    times = interleaved_times({"short": clock.call("q", 7)}, Budget(6, 1e9), clock=clock)
    assert (times["short"] == 7).all()
    assert len(clock.calls) * 7 > 12 * SAMPLE_NS


def test_only_the_sample_of_a_short_call_begins_with_an_untimed_call() -> None:
    clock = Clock()
    calls = {"s": clock.call("s", SHORT_NS), "q": clock.call("q", SAMPLE_NS)}
    interleaved_times(calls, Budget(6, 1e9), clock=clock)
    timed = "".join(clock.calls[6:])
    rounds = [timed[i : i + 6] for i in range(0, len(timed), 6)]
    assert set(rounds) <= {"sqqqqs", "qqssqq"}


def test_the_time_limit_holds_after_enough_rounds_for_an_interval() -> None:
    clock = Clock()
    times = interleaved_times({"long": clock.call("s", 10**9)}, Budget(100, 1.0), clock=clock)
    assert len(times["long"]) == LEAST_ROUNDS
    clock = Clock()
    times = interleaved_times({"long": clock.call("s", 10**9)}, Budget(100, 40.0), clock=clock)
    assert len(times["long"]) == 20


def test_progress_is_reported_and_garbage_collection_restored() -> None:
    clock, fractions = Clock(), list[float]()
    interleaved_times({"a": clock.call("a", 10**8)}, Budget(10, 1e9), fractions.append, clock)
    assert fractions == pytest.approx([i / 10 for i in range(10)])
    assert gc.isenabled()


def test_several_measurements_collect_garbage_once(monkeypatch: pytest.MonkeyPatch) -> None:
    collections: list[str] = []
    monkeypatch.setattr(gc, "collect", lambda: collections.append("all"))
    clock = Clock()
    with no_garbage_collection():
        for _ in range(3):
            interleaved_times({"a": clock.call("a", 10**8)}, Budget(6, 1e9), clock=clock)
            assert not gc.isenabled()
    assert len(collections) == 1
    assert gc.isenabled()
