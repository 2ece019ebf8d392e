"""Learning-rate schedules, as pure functions of the share of the training steps that is done.

Each takes a share from 0 (first step) to 1 (end) and returns a factor for the peak rate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import cos, pi
from typing import Any

from pruning_core.methods.registry import Method, Registry

WARM_UP = 0.3
START = 1 / 25


def constant(done: float) -> float:
    """The learning rate does not change."""
    return 1.0


def step(done: float) -> float:
    """A tenth of the peak after half of the steps, a hundredth after three quarters."""
    return 1.0 if done < 0.5 else 0.1 if done < 0.75 else 0.01


def cosine(done: float) -> float:
    """Half a cosine from the peak to 0."""
    return (1 + cos(pi * done)) / 2


def one_cycle(done: float) -> float:
    """Rises from 1/25 of the peak to the peak in 30 % of the steps, then falls to 0."""
    if done < WARM_UP:
        return START + (1 - START) * (1 - cosine(done / WARM_UP))
    return cosine((done - WARM_UP) / (1 - WARM_UP))


@dataclass(frozen=True)
class LRSchedule(Method):
    """A learning-rate schedule. `factor` maps the share done to a factor of the peak rate."""

    factor: Callable[[float], float] = constant


LR_SCHEDULES = Registry(
    "learning-rate schedule",
    (
        LRSchedule(
            "constant",
            "Constant",
            "The learning rate does not change.",
            factor=constant,
        ),
        LRSchedule(
            "step",
            "Step",
            "A tenth of the peak after half of the steps, a hundredth after three quarters.",
            "He et al. 2016",
            "https://arxiv.org/abs/1512.03385",
            factor=step,
        ),
        LRSchedule(
            "cosine",
            "Cosine",
            "Half a cosine from the peak to 0, without restarts.",
            "Loshchilov and Hutter 2017",
            "https://arxiv.org/abs/1608.03983",
            factor=cosine,
        ),
        LRSchedule(
            "one_cycle",
            "One cycle",
            "Rises from 1/25 of the peak to the peak in 30 % of the steps, then falls to 0.",
            "Smith and Topin 2018",
            "https://arxiv.org/abs/1708.07120",
            factor=one_cycle,
        ),
    ),
)

LR_SCHEDULE_SPANS = Registry(
    "learning-rate schedule span",
    (
        Method("step", "Per step", "Each pruning step runs through the whole schedule."),
        Method(
            "pruning",
            "All pruning steps",
            "One schedule spans all pruning steps; final fine-tuning has its own.",
        ),
        Method(
            "run",
            "Whole run",
            "One schedule spans all pruning steps and final fine-tuning, as in one-shot pruning "
            "with an equal training budget.",
        ),
    ),
)


def rate(settings: Mapping[str, Any], done: float) -> float:
    """The learning rate of a `TrainSpec` (as a dict) at a share of its schedule, from 0 to 1.

    For the share `warmup` it rises linearly from 0 to the schedule. Goyal et al. 2017,
    https://arxiv.org/abs/1706.02677
    """
    warmup = settings["warmup"]
    risen = min(1.0, done / warmup) if warmup else 1.0
    peak: float = settings["lr"]
    return peak * risen * LR_SCHEDULES[settings["lr_schedule"]].factor(done)
