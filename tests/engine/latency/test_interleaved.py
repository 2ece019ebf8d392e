"""Jobs timed in turn, on a clock of the test's own."""

from __future__ import annotations

import gc
from collections.abc import Callable

import pytest

from pruning_core.common.paired_timing import LEAST_ROUNDS
from pruning_core.engine.latency.interleaved import QUICK_NS, SAMPLE_NS, Budget, interleaved_times


class Clock:
    """Moves only when a job takes its time."""

    def __init__(self) -> None:
        self.now = 0
        self.calls: list[str] = []

    def __call__(self) -> int:
        return self.now

    def job(self, name: str, nanoseconds: int) -> Callable[[], None]:
        def work() -> None:
            self.calls.append(name)
            self.now += nanoseconds

        return work


def test_the_order_turns_round_in_each_round() -> None:
    clock = Clock()
    jobs = {name: clock.job(name, QUICK_NS) for name in "ABC"}
    found = interleaved_times(jobs, Budget(8, 1e9), clock=clock)
    assert "".join(clock.calls[-18:]) == "ABCCBA" * 3
    assert {name: value.shape for name, value in found.items()} == dict.fromkeys("ABC", (8, 2))
    assert (found["A"] == QUICK_NS).all()


def test_a_quick_job_is_called_until_the_clock_does_not_matter() -> None:
    clock = Clock()
    found = interleaved_times({"quick": clock.job("q", 7)}, Budget(6, 1e9), clock=clock)
    assert (found["quick"] == 7).all()
    assert len(clock.calls) * 7 > 12 * SAMPLE_NS


def test_a_quick_job_settles_and_a_slow_one_does_not() -> None:
    clock = Clock()
    jobs = {"s": clock.job("s", QUICK_NS), "q": clock.job("q", SAMPLE_NS)}
    interleaved_times(jobs, Budget(6, 1e9), clock=clock)
    assert "".join(clock.calls[6:12]) == "sqqqqs"


def test_the_seconds_end_it_but_not_before_there_is_an_interval() -> None:
    clock = Clock()
    found = interleaved_times({"slow": clock.job("s", 10**9)}, Budget(100, 1.0), clock=clock)
    assert len(found["slow"]) == LEAST_ROUNDS
    clock = Clock()
    found = interleaved_times({"slow": clock.job("s", 10**9)}, Budget(100, 40.0), clock=clock)
    assert len(found["slow"]) == 20


def test_it_says_how_far_it_is_and_leaves_the_collector_as_it_was() -> None:
    clock, told = Clock(), list[float]()
    interleaved_times({"a": clock.job("a", 10**8)}, Budget(10, 1e9), told.append, clock)
    assert told == pytest.approx([i / 10 for i in range(10)])
    assert gc.isenabled()
