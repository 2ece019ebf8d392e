"""Learning-rate schedules as factors of the peak rate."""

from __future__ import annotations

import pytest

from pruning_core.methods.lr_schedules import LR_SCHEDULES, rate


def test_the_schedules_by_hand() -> None:
    factors = {
        name: [schedule.factor(done) for done in (0.0, 0.3, 0.65, 1.0)]
        for name, schedule in LR_SCHEDULES.items()
    }
    assert factors["constant"] == [1, 1, 1, 1]
    assert factors["step"] == [1, 1, 0.1, 0.01]
    # (1 + cos 54 degrees) / 2 and (1 + cos 117 degrees) / 2
    assert factors["cosine"] == pytest.approx([1, 0.793893, 0.273005, 0], abs=1e-6)
    # 1/25, the peak after 30 %, half of it in the middle of the rest
    assert factors["one_cycle"] == pytest.approx([0.04, 1, 0.5, 0], abs=1e-6)


@pytest.mark.parametrize("name", ["cosine", "one_cycle"])
def test_a_falling_schedule_ends_near_zero(name: str) -> None:
    factor = LR_SCHEDULES[name].factor
    assert factor(1.0) == pytest.approx(0.0, abs=1e-9)
    assert max(factor(i / 1000) for i in range(1000)) == pytest.approx(1.0, abs=1e-4)


def test_step_falls_twice_by_ten() -> None:
    factors = [LR_SCHEDULES["step"].factor(done) for done in (0.0, 0.49, 0.5, 0.74, 0.75, 0.99)]
    assert factors == [1.0, 1.0, 0.1, 0.1, 0.01, 0.01]


def test_warm_up_rises_linearly_to_the_schedule() -> None:
    settings = {"lr": 0.2, "lr_schedule": "constant", "warmup": 0.5}
    assert [rate(settings, done) for done in (0.0, 0.25, 0.5, 1.0)] == [0.0, 0.1, 0.2, 0.2]
    assert rate({**settings, "warmup": 0.0}, 0.0) == 0.2
