"""The learning rate over a run, as pure functions of the share of its steps that is done.

Each takes a share from 0 (first step) to 1 (end) and returns a factor for the peak rate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import cos, pi
from typing import Any

WARM_UP = 0.3
START = 1 / 25


def constant(done: float) -> float:
    """The same rate from the first step to the last."""
    return 1.0


def step(done: float) -> float:
    """A tenth after half of the steps, a hundredth after three quarters. He et al. 2016."""
    return 1.0 if done < 0.5 else 0.1 if done < 0.75 else 0.01


def cosine(done: float) -> float:
    """Half a cosine from 1 to 0. Loshchilov and Hutter 2017, without restarts."""
    return (1 + cos(pi * done)) / 2


def one_cycle(done: float) -> float:
    """Up from 1/25 for three tenths of the steps, then down to 0. Smith and Topin 2018."""
    if done < WARM_UP:
        return START + (1 - START) * (1 - cosine(done / WARM_UP))
    return cosine((done - WARM_UP) / (1 - WARM_UP))


LR_SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": constant,
    "step": step,
    "cosine": cosine,
    "one_cycle": one_cycle,
}


def rate(settings: Mapping[str, Any], done: float) -> float:
    """The learning rate of a `TrainSpec` (as a dict) at a share of its curve, from 0 to 1.

    For the share `warm_up` it rises linearly from 0 to the curve. Goyal et al. 2017.
    """
    warm_up = settings["warm_up"]
    risen = min(1.0, done / warm_up) if warm_up else 1.0
    peak: float = settings["lr"]
    return peak * risen * LR_SCHEDULES[settings["lr_schedule"]](done)
