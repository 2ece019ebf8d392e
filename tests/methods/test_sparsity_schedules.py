"""Schedules rise step by step and end exactly on the target."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pruning_core.methods.lr_schedules import LR_SCHEDULES
from pruning_core.methods.lr_schedules import LR_SCHEDULES as LR_NAMES
from pruning_core.methods.sparsity_schedules import CUSTOM, EXCHANGES, LIFTED, SPARSITY_SCHEDULES
from pruning_core.settings.spec import SCHEDULES as NAMES

RISING = [name for name in SPARSITY_SCHEDULES if name not in LIFTED]


@pytest.mark.parametrize("name", RISING)
@given(target=st.floats(0.001, 0.999), steps=st.integers(1, 100))
def test_a_schedule_rises_to_its_target(name: str, target: float, steps: int) -> None:
    found = SPARSITY_SCHEDULES[name](target, steps)
    assert len(found) == steps
    assert found[-1] == target
    assert all(a <= b for a, b in itertools.pairwise(found))
    assert found[0] > 0
    assert found[-1] < 1


def test_the_assignment_example() -> None:
    found = SPARSITY_SCHEDULES["geometric"](0.9, 5)
    assert found == pytest.approx([0.3690, 0.6019, 0.7488, 0.8415, 0.9], abs=1e-4)


# S = 0.8 in four steps, worked out by hand from the formulas in the papers. The exponential
# one is 0.8 times 1 - 1/16, 1 - 1/256 and 1 - 1/4096, each over 1 - 4^-8.
BY_HAND = {
    "one_shot": [0.8, 0.8, 0.8, 0.8],
    "geometric": [0.331260, 0.552786, 0.700930, 0.8],  # 1 - 0.2^(1/4), 1 - 0.2^(1/2), ...
    "linear": [0.2, 0.4, 0.6, 0.8],
    "cubic": [0.4625, 0.7, 0.7875, 0.8],  # 0.8 (1 - 27/64), 0.8 (1 - 1/8), 0.8 (1 - 1/64)
    "exponential": [
        0.750011,
        0.796887,
        0.799817,
        0.8,
    ],
    "cosine": [0.117157, 0.4, 0.682843, 0.8],  # 0.4 (1 - cos 45 degrees), 0.4, ...
    "one_cycle": [0.145958, 0.704725, 0.796842, 0.8],  # 0.8 (1 + e^-9) / (1 + e^(5 - 3.5 i))
    "rigl": [0.8, 0.8, 0.8, 0.8],
    "dense_sparse_dense": [0.8, 0.8, 0.8, 0.0],
}


@pytest.mark.parametrize("name", SPARSITY_SCHEDULES)
def test_a_schedule_by_hand(name: str) -> None:
    assert SPARSITY_SCHEDULES[name](0.8, 4) == pytest.approx(BY_HAND[name], abs=1e-6)


@pytest.mark.parametrize("name", RISING)
def test_one_step_is_the_target(name: str) -> None:
    assert SPARSITY_SCHEDULES[name](0.9, 1) == [0.9]


def test_exponential_has_three_quarters_after_an_eighth() -> None:
    """The points through which He et al. (2019) lay the curve."""
    assert SPARSITY_SCHEDULES["exponential"](0.9, 8)[0] == pytest.approx(0.675, rel=1e-4)


def test_rigl_exchanges_by_hand() -> None:
    """0.15 (1 + cos(pi t / 0.75)) at t = 1/4 and 1/2, where the cosine is 1/2 and -1/2."""
    assert EXCHANGES["rigl"](4) == pytest.approx([0, 0.225, 0.075, 0])


@pytest.mark.parametrize("name", EXCHANGES)
@given(steps=st.integers(1, 100))
def test_exchanges_fall_and_stop_before_the_end(name: str, steps: int) -> None:
    found = EXCHANGES[name](steps)
    assert len(found) == steps
    assert found[0] == 0
    assert all(0 <= b <= a < 1 for a, b in itertools.pairwise(found[1:]))
    assert found[-1] == 0 or steps < 4


def test_registries_and_spec_agree() -> None:
    assert (*SPARSITY_SCHEDULES, CUSTOM) == NAMES
    assert tuple(LR_SCHEDULES) == LR_NAMES


@pytest.mark.parametrize("name", ["cosine", "one_cycle"])
def test_a_falling_rate_ends_near_zero(name: str) -> None:
    assert LR_SCHEDULES[name](1.0) == pytest.approx(0.0, abs=1e-9)
    assert max(LR_SCHEDULES[name](i / 1000) for i in range(1000)) == pytest.approx(1.0, abs=1e-4)


def test_step_falls_twice_by_ten() -> None:
    found = [LR_SCHEDULES["step"](done) for done in (0.0, 0.49, 0.5, 0.74, 0.75, 0.99)]
    assert found == [1.0, 1.0, 0.1, 0.1, 0.01, 0.01]
