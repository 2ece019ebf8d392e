"""Schedules rise step by step and end exactly on the target."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pruning_core.learning_rates import LR_SCHEDULES
from pruning_core.schedules import SCHEDULES
from pruning_core.spec import LR_SCHEDULES as LR_NAMES
from pruning_core.spec import SCHEDULES as NAMES


@pytest.mark.parametrize("name", SCHEDULES)
@given(target=st.floats(0.001, 0.999), steps=st.integers(1, 100))
def test_a_schedule_rises_to_its_target(name: str, target: float, steps: int) -> None:
    found = SCHEDULES[name](target, steps)
    assert len(found) == steps
    assert found[-1] == target
    assert all(a <= b + 1e-12 for a, b in itertools.pairwise(found))
    assert found[0] > 0


def test_the_assignment_example() -> None:
    found = SCHEDULES["geometric"](0.9, 5)
    assert found == pytest.approx([0.3690, 0.6019, 0.7488, 0.8415, 0.9], abs=1e-4)


def test_cubic_by_hand() -> None:
    assert SCHEDULES["cubic"](0.8, 2) == pytest.approx([0.7, 0.8])


def test_registries_and_spec_agree() -> None:
    assert tuple(SCHEDULES) == NAMES
    assert tuple(LR_SCHEDULES) == LR_NAMES


@pytest.mark.parametrize("name", ["cosine", "one_cycle"])
def test_a_falling_rate_ends_near_zero(name: str) -> None:
    assert LR_SCHEDULES[name](1.0) == pytest.approx(0.0, abs=1e-9)
    assert max(LR_SCHEDULES[name](i / 1000) for i in range(1000)) == pytest.approx(1.0, abs=1e-4)


def test_step_falls_twice_by_ten() -> None:
    found = [LR_SCHEDULES["step"](done) for done in (0.0, 0.49, 0.5, 0.74, 0.75, 0.99)]
    assert found == [1.0, 1.0, 0.1, 0.1, 0.01, 0.01]
