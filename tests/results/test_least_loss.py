"""Allocation by a budget, against all combinations of choices."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from pruning_core.results.least_loss import LayerOptions, least_loss, loss_curve


def random_options(seed: int) -> list[LayerOptions]:
    """Five layers of different sizes with five choices each; losses are no convex functions."""
    draw = np.random.default_rng(seed)
    sparsities = np.array([0.0, 0.3, 0.5, 0.8, 0.95])
    sizes = draw.integers(10, 1000, 5)
    return [
        LayerOptions(
            sparsities, np.append(0.0, np.sort(draw.exponential(1.0, 4))), size * (1 - sparsities)
        )
        for size in sizes
    ]


def totals(options: list[LayerOptions], choices: tuple[int, ...]) -> tuple[float, float]:
    pairs = list(zip(options, choices, strict=True))
    return sum(float(x.losses[i]) for x, i in pairs), sum(float(x.costs[i]) for x, i in pairs)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("share", [0.06, 0.2, 0.5, 0.9, 1.0])
def test_no_combination_within_the_budget_has_a_smaller_loss(seed: int, share: float) -> None:
    options = random_options(seed)
    budget = share * sum(float(layer.costs[0]) for layer in options)
    choices = least_loss(options, budget)
    assert choices is not None
    loss, cost = totals(options, tuple(choices))
    assert cost <= budget
    every = itertools.product(*(range(len(layer.costs)) for layer in options))
    allowed = (totals(options, one) for one in every)
    # Costs are rounded up to parts of the budget; a budget that much smaller bounds the loss.
    least = min(loss for loss, cost in allowed if cost <= budget * (1 - 5e-4))
    assert loss <= least + 1e-12


def test_a_budget_below_the_cheapest_choices_has_no_answer() -> None:
    options = random_options(0)
    cheapest = sum(float(layer.costs.min()) for layer in options)
    assert least_loss(options, cheapest * 0.999) is None
    assert least_loss(options, cheapest) == [4] * 5


def test_a_curve_never_falls_and_starts_at_the_dense_layer() -> None:
    curve = loss_curve({0.0: 1.0, 0.5: 0.9, 0.8: 1.4, 0.9: 1.3}, np.array([0.0, 0.5, 0.65, 0.9]))
    assert curve == pytest.approx([0.0, 0.0, 0.2, 0.4])
