"""Target sparsity per step, as pure functions of (target, steps).

Each returns `steps` absolute sparsities (fractions of the prunable weights), never falling;
the last one is exactly the target. S is the target, N the number of steps, i counts them from 1.

What is removed stays removed, but for the schedules in `EXCHANGES`, which have weights change
places, and those in `LIFTED`, which end with all of them back.
"""

from __future__ import annotations

from collections.abc import Callable
from math import cos, exp, pi

Schedule = Callable[[float, int], list[float]]

# The name under which a user types the targets instead: a list, no function of (target, steps).
LIST = "list"
# Three quarters of the target after an eighth of the way: (1 - u) / (1 - u^8) = 3/4, which
# u = 1/4 meets to four digits.
EIGHTH = 1 / 4
ONE_CYCLE_ALPHA, ONE_CYCLE_BETA = 14.0, 5.0
RIGL_ALPHA, RIGL_END = 0.3, 0.75
LIFTED = ("dense_sparse_dense",)


def _along(curve: Callable[[float], float], target: float, steps: int) -> list[float]:
    """The target times a curve that rises to 1 at 1, without what a float's last bit adds."""
    return [min(target * curve(i / steps), target) for i in range(1, steps)] + [target]


def one_shot(target: float, steps: int) -> list[float]:
    """Everything in the first step, then only training: S in each step.

    The usual way to prune a trained network (Han et al. 2015), here in the chain's own epochs.
    """
    return [target] * steps


def geometric(target: float, steps: int) -> list[float]:
    """Each step removes the same share of what is left: `1 - (1 - S)^(i/N)`.

    Han et al. 2015; Frankle and Carbin 2019.
    """
    return [min(1 - (1 - target) ** (i / steps), target) for i in range(1, steps)] + [target]


def linear(target: float, steps: int) -> list[float]:
    """Each step removes the same share of the whole: `S i/N`. Han et al. 2015."""
    return [min(target * i / steps, target) for i in range(1, steps)] + [target]


def cubic(target: float, steps: int) -> list[float]:
    """Fast at first, slow at the end: `S (1 - (1 - i/N)^3)`. Zhu and Gupta 2017."""
    return _along(lambda done: 1 - (1 - done) ** 3, target, steps)


def exponential(target: float, steps: int) -> list[float]:
    """Almost all at first: `S (1 - u^(8i/N)) / (1 - u^8)` with u = 1/4.

    The curve `a exp(-k i) + b` that He et al. 2019 (Asymptotic Soft Filter Pruning) lay through
    0, three quarters of the target after an eighth of the way, and the target.
    """
    return _along(lambda done: (1 - EIGHTH ** (8 * done)) / (1 - EIGHTH**8), target, steps)


def cosine(target: float, steps: int) -> list[float]:
    """Slow, fast, slow: half a cosine, `S (1 - cos(pi i/N)) / 2`.

    The curve of Loshchilov and Hutter 2017, who have the learning rate fall along it.
    """
    return _along(lambda done: (1 - cos(pi * done)) / 2, target, steps)


def one_cycle(target: float, steps: int) -> list[float]:
    """A logistic curve: `S (1 + e^(b-a)) / (1 + e^(b - a i/N))` with a = 14 and b = 5.

    Hubens et al. 2021, One-Cycle Pruning: little at first, most before the middle. The factor
    in the numerator makes the last step exactly the target.
    """
    alpha, beta = ONE_CYCLE_ALPHA, ONE_CYCLE_BETA
    return _along(
        lambda done: (1 + exp(beta - alpha)) / (1 + exp(beta - alpha * done)), target, steps
    )


def rigl(target: float, steps: int) -> list[float]:
    """Everything in the first step, S in each; then weights change places. Evci et al. 2020."""
    return [target] * steps


def rigl_exchanges(steps: int) -> list[float]:
    """The share of each layer's remaining weights that changes places before each step.

    `a/2 (1 + cos(pi t / T))` after the share t of the steps, with a = 0.3, and none from T = 0.75
    on, as Evci et al. 2020 (RigL) have it; nothing to exchange before the first cut.
    """
    done = [i / steps for i in range(steps)]
    shares = [RIGL_ALPHA / 2 * (1 + cos(pi * t / RIGL_END)) if t < RIGL_END else 0.0 for t in done]
    return [0.0, *shares[1:]]


def dense_sparse_dense(target: float, steps: int) -> list[float]:
    """S at once and in each step but the last, in which all weights are back. Han et al. 2017.

    They come back as zeros and are trained with all others.
    """
    return [target] * (steps - 1) + [0.0]


SCHEDULES: dict[str, Schedule] = {
    "one_shot": one_shot,
    "geometric": geometric,
    "linear": linear,
    "cubic": cubic,
    "exponential": exponential,
    "cosine": cosine,
    "one_cycle": one_cycle,
    "rigl": rigl,
    "dense_sparse_dense": dense_sparse_dense,
}
EXCHANGES: dict[str, Callable[[int], list[float]]] = {"rigl": rigl_exchanges}
RETURNING = (*EXCHANGES, *LIFTED)
