"""The trial of the training speed, with a clock of its own."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from pruning_core.engine.analysis import inspect_model
from pruning_core.engine.analysis.inspect_model import TRIAL_SECONDS, speed_trial

FIXED, EACH = 0.01, 0.001  # the seconds of a step, and for each of its images


class Machine:
    """Gives each trial another share of a core: a step takes longer by the clock on the wall."""

    def __init__(self, shares: list[float]) -> None:
        self.shares, self.wall, self.cpu = shares, 0.0, 0.0

    def perf_counter(self) -> float:
        return self.wall

    def process_time(self) -> float:
        return self.cpu

    @property
    def share(self) -> float:
        """That of the present trial; one lasts half a second on the wall."""
        return self.shares[min(int(self.wall / TRIAL_SECONDS), len(self.shares) - 1)]

    def step(self, model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
        work = FIXED + EACH * len(labels)
        self.cpu, self.wall = self.cpu + work, self.wall + work / self.share
        return len(labels) * self.share / work


@pytest.mark.parametrize(
    ("shares", "used"),
    [([0.98], 0.98), ([0.5, 0.97], 0.97), ([0.5, 0.7, 0.6], 0.7)],
    ids=["quiet", "second time", "always busy"],
)
def test_the_trial_is_repeated_while_the_machine_is_busy_and_the_quietest_counts(
    shares: list[float], used: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(shares)
    clock = SimpleNamespace(
        perf_counter=machine.perf_counter, process_time=machine.process_time, time=lambda: 7.0
    )
    monkeypatch.setattr(inspect_model, "time", clock)
    monkeypatch.setattr(inspect_model, "timed_step", machine.step)
    trial = speed_trial(nn.Linear(1, 1), 10, 4, "cpu")
    assert trial["core_share"] == pytest.approx(used, abs=0.03)
    assert trial["images_per_second"] == pytest.approx(16 / (FIXED + 16 * EACH))
    assert trial["step_seconds"] == pytest.approx(FIXED)
    assert trial["typical_share"] == pytest.approx(1.0)
    assert trial["measured"] == 7.0
