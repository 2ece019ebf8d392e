"""Sparsity schedules rise step by step and end exactly at the target."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pruning_core.methods.sparsity_schedules import CUSTOM, SPARSITY_SCHEDULES

FORMULAS = [name for name in SPARSITY_SCHEDULES if name != CUSTOM]
RISING = [name for name in FORMULAS if not SPARSITY_SCHEDULES[name].restores]
REGROWING = [name for name in FORMULAS if SPARSITY_SCHEDULES[name].regrowth]


def targets(name: str, target: float, steps: int) -> list[float]:
    schedule = SPARSITY_SCHEDULES[name].targets
    assert schedule is not None
    return schedule(target, steps)


def regrowth(name: str) -> Callable[[int], list[float]]:
    shares = SPARSITY_SCHEDULES[name].regrowth
    assert shares is not None
    return shares


@pytest.mark.parametrize("name", RISING)
@given(target=st.floats(0.001, 0.999), steps=st.integers(1, 100))
def test_a_schedule_rises_to_its_target(name: str, target: float, steps: int) -> None:
    sparsities = targets(name, target, steps)
    assert len(sparsities) == steps
    assert sparsities[-1] == target
    assert all(a <= b for a, b in itertools.pairwise(sparsities))
    assert sparsities[0] > 0
    assert sparsities[-1] < 1


def test_the_example_of_the_assignment() -> None:
    sparsities = targets("geometric", 0.9, 5)
    assert sparsities == pytest.approx([0.3690, 0.6019, 0.7488, 0.8415, 0.9], abs=1e-4)


# S = 0.8 in four steps, computed by hand from the formulas in the papers. The exponential
# schedule is 0.8 times 1 - 1/16, 1 - 1/256 and 1 - 1/4096, each divided by 1 - 4^-8.
BY_HAND = {
    "one_shot": [0.8, 0.8, 0.8, 0.8],
    "geometric": [0.331260, 0.552786, 0.700930, 0.8],  # 1 - 0.2^(1/4), 1 - 0.2^(1/2), ...
    "linear": [0.2, 0.4, 0.6, 0.8],
    "cubic": [0.4625, 0.7, 0.7875, 0.8],  # 0.8 (1 - 27/64), 0.8 (1 - 1/8), 0.8 (1 - 1/64)
    "exponential": [0.750011, 0.796887, 0.799817, 0.8],
    "cosine": [0.117157, 0.4, 0.682843, 0.8],  # 0.4 (1 - cos 45 degrees), 0.4, ...
    "one_cycle": [0.145958, 0.704725, 0.796842, 0.8],  # 0.8 (1 + e^-9) / (1 + e^(5 - 3.5 i))
    "rigl": [0.8, 0.8, 0.8, 0.8],
    "dense_sparse_dense": [0.8, 0.8, 0.8, 0.0],
    "ac_dc": [0.0, 0.8, 0.0, 0.8],
}


@pytest.mark.parametrize("name", FORMULAS)
def test_a_schedule_by_hand(name: str) -> None:
    assert targets(name, 0.8, 4) == pytest.approx(BY_HAND[name], abs=1e-6)


@pytest.mark.parametrize("name", RISING)
def test_one_step_is_the_target(name: str) -> None:
    assert targets(name, 0.9, 1) == [0.9]


def test_exponential_has_three_quarters_after_an_eighth() -> None:
    """The points of the curve that He et al. (2019) fix."""
    assert targets("exponential", 0.9, 8)[0] == pytest.approx(0.675, rel=1e-4)


def test_the_regrowth_of_rigl_by_hand() -> None:
    """0.15 (1 + cos(pi t / 0.75)) at t = 1/4 and 1/2, where the cosine is 1/2 and -1/2."""
    assert regrowth("rigl")(4) == pytest.approx([0, 0.225, 0.075, 0])


@pytest.mark.parametrize("name", REGROWING)
@given(steps=st.integers(1, 100))
def test_regrowth_falls_and_stops_before_the_end(name: str, steps: int) -> None:
    shares = regrowth(name)(steps)
    assert len(shares) == steps
    assert shares[0] == 0
    assert all(0 <= b <= a < 1 for a, b in itertools.pairwise(shares[1:]))
    assert shares[-1] == 0 or steps < 4


def test_weights_return_where_a_schedule_regrows_or_restores() -> None:
    returning = {name for name, schedule in SPARSITY_SCHEDULES.items() if schedule.regrows}
    assert returning == {*REGROWING, *(set(FORMULAS) - set(RISING))}
    assert returning == {"rigl", "dense_sparse_dense", "ac_dc"}
