"""Sparsity schedules: the target sparsity of each pruning step.

Each is a pure function of (target, steps) and returns `steps` absolute sparsities (fractions of
the prunable weights) that never fall; the last one is exactly the target. S is the target, N the
number of steps, i counts them from 1. Pruned weights stay pruned, except where a schedule
regrows weights or ends dense.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import cos, exp, pi

from pruning_core.methods.registry import Method, Registry

Schedule = Callable[[float, int], list[float]]

# The schedule whose targets the user gives; no function of (target, steps).
CUSTOM = "custom"
# Three quarters of the target after an eighth of the steps: (1 - u) / (1 - u^8) = 3/4, which
# u = 1/4 meets to four digits.
DECAY_PER_EIGHTH = 1 / 4
ONE_CYCLE_ALPHA, ONE_CYCLE_BETA = 14.0, 5.0
RIGL_ALPHA, RIGL_END = 0.3, 0.75


def _along(curve: Callable[[float], float], target: float, steps: int) -> list[float]:
    """The target times a curve with the value 1 at 1; rounding never exceeds the target."""
    return [min(target * curve(i / steps), target) for i in range(1, steps)] + [target]


def one_shot(target: float, steps: int) -> list[float]:
    """The whole target in the first step, then only training: S in each step. Han et al. 2015."""
    return [target] * steps


def geometric(target: float, steps: int) -> list[float]:
    """Each step prunes the same share of the remaining weights: `1 - (1 - S)^(i/N)`.

    Han et al. 2015; Frankle and Carbin 2019.
    """
    return [min(1 - (1 - target) ** (i / steps), target) for i in range(1, steps)] + [target]


def linear(target: float, steps: int) -> list[float]:
    """Each step prunes the same number of weights: `S i/N`. Han et al. 2015."""
    return [min(target * i / steps, target) for i in range(1, steps)] + [target]


def cubic(target: float, steps: int) -> list[float]:
    """Fast at first, slow at the end: `S (1 - (1 - i/N)^3)`. Zhu and Gupta 2017."""
    return _along(lambda done: 1 - (1 - done) ** 3, target, steps)


def exponential(target: float, steps: int) -> list[float]:
    """Most in the first steps: `S (1 - u^(8i/N)) / (1 - u^8)` with u = 1/4.

    He et al. 2019 (Asymptotic Soft Filter Pruning): the curve `a exp(-k i) + b` through 0, three
    quarters of the target after an eighth of the steps, and the target.
    """
    u = DECAY_PER_EIGHTH
    return _along(lambda done: (1 - u ** (8 * done)) / (1 - u**8), target, steps)


def cosine(target: float, steps: int) -> list[float]:
    """Slow, fast, slow: half a cosine, `S (1 - cos(pi i/N)) / 2`.

    The curve of Loshchilov and Hutter 2017 for the learning rate.
    """
    return _along(lambda done: (1 - cos(pi * done)) / 2, target, steps)


def one_cycle(target: float, steps: int) -> list[float]:
    """A logistic curve: `S (1 + e^(b-a)) / (1 + e^(b - a i/N))` with a = 14 and b = 5.

    Hubens et al. 2021 (One-Cycle Pruning): slow at first, fastest before the middle. The
    numerator makes the last sparsity exactly the target.
    """
    alpha, beta = ONE_CYCLE_ALPHA, ONE_CYCLE_BETA
    return _along(
        lambda done: (1 + exp(beta - alpha)) / (1 + exp(beta - alpha * done)), target, steps
    )


def rigl(target: float, steps: int) -> list[float]:
    """S in each step; after the first one weights are dropped and regrown. Evci et al. 2020."""
    return [target] * steps


def rigl_regrowth(steps: int) -> list[float]:
    """The share of each layer's remaining weights that is dropped and regrown in each step.

    `a/2 (1 + cos(pi t / T))` at the fraction t of the steps, with a = 0.3, and 0 from T = 0.75 on
    (Evci et al. 2020, RigL). The first step only prunes, so its share is 0.
    """
    times = [i / steps for i in range(steps)]
    shares = [RIGL_ALPHA / 2 * (1 + cos(pi * t / RIGL_END)) if t < RIGL_END else 0.0 for t in times]
    return [0.0, *shares[1:]]


def dense_sparse_dense(target: float, steps: int) -> list[float]:
    """S in each step but the last, which restores all weights. Han et al. 2017.

    Pruned weights return as zeros and are trained together with the others.
    """
    return [target] * (steps - 1) + [0.0]


def ac_dc(target: float, steps: int) -> list[float]:
    """S and 0 in turn, so that the last step has S. Peste et al. 2021.

    In a step with 0 all weights return, as zeros, and are trained together.
    """
    return [target if (steps - step) % 2 == 0 else 0.0 for step in range(1, steps + 1)]


@dataclass(frozen=True)
class SparsitySchedule(Method):
    """A sparsity schedule.

    `targets` maps (target, steps) to the sparsity of each step; None where the user gives them.
    `regrowth` maps the number of steps to the share of each layer's remaining weights that is
    dropped and regrown before each step. A schedule that `restores` has steps in which all
    weights return.
    """

    targets: Schedule | None = None
    regrowth: Callable[[int], list[float]] | None = None
    restores: bool = False

    @property
    def regrows(self) -> bool:
        """Whether pruned weights return in some step."""
        return self.regrowth is not None or self.restores


SPARSITY_SCHEDULES = Registry(
    "sparsity schedule",
    (
        SparsitySchedule(
            "one_shot",
            "One-shot",
            "Prunes to the target in the first step. Later steps only train.",
            "Han et al. 2015",
            "https://arxiv.org/abs/1506.02626",
            targets=one_shot,
        ),
        SparsitySchedule(
            "geometric",
            "Geometric",
            "Every step prunes the same share of the remaining weights: 1 - (1 - S)^(i/N).",
            "Frankle and Carbin 2019",
            "https://arxiv.org/abs/1803.03635",
            targets=geometric,
        ),
        SparsitySchedule(
            "linear",
            "Linear",
            "Every step prunes the same number of weights: S i/N.",
            "Han et al. 2015",
            "https://arxiv.org/abs/1506.02626",
            targets=linear,
        ),
        SparsitySchedule(
            "cubic",
            "Cubic",
            "Fast at first, slow at the end: S (1 - (1 - i/N)^3).",
            "Zhu and Gupta 2017",
            "https://arxiv.org/abs/1710.01878",
            targets=cubic,
        ),
        SparsitySchedule(
            "exponential",
            "Exponential",
            "Reaches three quarters of the target after an eighth of the steps.",
            "He et al. 2019",
            "https://arxiv.org/abs/1808.07471",
            targets=exponential,
        ),
        SparsitySchedule(
            "cosine",
            "Cosine",
            "Slow, fast, slow: half a cosine, S (1 - cos(pi i/N)) / 2.",
            "Loshchilov and Hutter 2017",
            "https://arxiv.org/abs/1608.03983",
            targets=cosine,
        ),
        SparsitySchedule(
            "one_cycle",
            "One cycle",
            "A logistic curve: slow at first, fastest before the middle.",
            "Hubens et al. 2021",
            "https://arxiv.org/abs/2107.02086",
            targets=one_cycle,
        ),
        SparsitySchedule(
            "rigl",
            "RigL (drop and grow)",
            "Prunes to the target in the first step. Later steps drop the weights with the lowest "
            "scores and regrow the pruned weights with the largest gradients.",
            "Evci et al. 2020",
            "https://arxiv.org/abs/1911.11134",
            targets=rigl,
            regrowth=rigl_regrowth,
        ),
        SparsitySchedule(
            "dense_sparse_dense",
            "Dense-Sparse-Dense (DSD)",
            "Prunes to the target in the first step. The last step trains all weights again.",
            "Han et al. 2017",
            "https://arxiv.org/abs/1607.04381",
            targets=dense_sparse_dense,
            restores=True,
        ),
        SparsitySchedule(
            "ac_dc",
            "AC/DC (alternating)",
            "Sparse steps at the target and dense steps, in which all weights are trained, in "
            "turn. The last step is sparse.",
            "Peste et al. 2021",
            "https://arxiv.org/abs/2106.12379",
            targets=ac_dc,
            restores=True,
        ),
        SparsitySchedule(CUSTOM, "Custom", "Your own sparsity for each step."),
    ),
)
