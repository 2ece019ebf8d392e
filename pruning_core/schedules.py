"""Target sparsity per step, as pure functions of (target, steps).

Each returns `steps` absolute sparsities (fractions of the prunable weights), never falling;
the last one is exactly the target.
"""

from __future__ import annotations

from collections.abc import Callable

Schedule = Callable[[float, int], list[float]]


def geometric(target: float, steps: int) -> list[float]:
    """Each step removes the same share of what is left: `1 - (1 - S)^(1/N)`.

    Han et al. 2015; Frankle and Carbin 2019.
    """
    return [1 - (1 - target) ** (i / steps) for i in range(1, steps)] + [target]


def linear(target: float, steps: int) -> list[float]:
    """Each step removes the same share of the whole."""
    return [target * i / steps for i in range(1, steps)] + [target]


def cubic(target: float, steps: int) -> list[float]:
    """Fast at first, slow at the end: `S (1 - (1 - i/N)^3)`. Zhu and Gupta 2017."""
    return [target * (1 - (1 - i / steps) ** 3) for i in range(1, steps)] + [target]


SCHEDULES: dict[str, Schedule] = {"geometric": geometric, "linear": linear, "cubic": cubic}
