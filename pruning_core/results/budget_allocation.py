"""Allocation by a budget, from a sensitivity analysis in which each layer is pruned alone.

The sum of the losses of the layers stands for the loss of the whole model. Frantar and Alistarh
2022 ("SPDY: Accurate Pruning with Speedup Guarantees", https://arxiv.org/abs/2201.13096).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pruning_core.common.errors import Ref, SpecError
from pruning_core.common.formatting import format_percent
from pruning_core.methods.budgets import BUDGETS, Budget
from pruning_core.results.budget_costs import BudgetFacts, Costs, zeros
from pruning_core.results.least_loss import LayerOptions, least_loss, loss_curve
from pruning_core.results.sensitivity import (
    MAX_SPARSITY,
    ROUNDING,
    check_reachable,
    overall,
)

GRID = 0.01  # between measured sparsities
ROUNDS, NEAR = 8, 0.002  # of bringing the cost of the whole model to this share below the limit


@dataclass(frozen=True)
class BudgetAllocation:
    """The sparsity of each layer, the increase of the loss that they add up to, and their cost.

    `corrected` says whether the losses are those after least squares.
    """

    sparsities: dict[str, float]
    loss: float
    cost: float
    corrected: bool


def least_loss_sparsities(analysis: pd.DataFrame, total: float) -> dict[str, float]:
    """Sparsities by layer with the least sum of losses whose overall sparsity is at least `total`.

    `analysis` is a `sensitivity_frame`, `total` a fraction of all pruning units. Losses after
    least squares count where they were measured. Raises `SpecError` where the measured sparsities
    do not reach `total`.
    """
    units = analysis.groupby("layer", sort=False)["units"].first().to_dict()
    options = layer_options(analysis, zeros(BudgetFacts(analysis)))
    highest = {name: float(layer.sparsities[-1]) for name, layer in options.items()}
    check_reachable(highest, units, total)
    # Rounding must not refuse a total that is exactly the highest one.
    return _least(options, 1 - total + ROUNDING)[0]


def allocate_within(facts: BudgetFacts, budget: str, limit: float) -> BudgetAllocation:
    """The sparsities with the least sum of losses within a budget, one of `BUDGETS`.

    `limit` is the value of the budget, such as bytes; of zeros the least overall sparsity. Raises
    `SpecError` where the measured sparsities do not allow it.
    """
    method = BUDGETS[budget]
    costs: Costs = BUDGETS.load(budget)(facts)
    options = layer_options(facts.analysis, costs)
    most = limit if method.most else 1 - limit
    lowest = {name: float(x.sparsities[np.argmin(x.costs)]) for name, x in options.items()}
    if not costs.of(lowest) <= most + ROUNDING:
        raise SpecError(
            "budget",
            "{limit} is not possible with the measured sparsities: they allow {possible}. Change "
            "the budget, or add higher values to {sparsities}.",
            limit=method.format(limit),
            possible=_possible(method, costs.of(lowest)),
            sparsities=Ref("sensitivity.sparsities"),
        )
    corrected = "corrected_loss" in facts.analysis
    least, allowed = float(sum(layer.costs.min() for layer in options.values())), most - costs.rest
    best: BudgetAllocation | None = None
    # The cost of a model may differ a little from the sum over its layers, as that of a file does:
    # the difference is corrected until the limit is kept and nearly used.
    for _ in range(ROUNDS):
        sparsities, loss = _least(options, max(allowed, least) + ROUNDING)
        cost = costs.of(sparsities)
        if cost <= most + ROUNDING and (best is None or loss < best.loss):
            best = BudgetAllocation(sparsities, loss, cost, corrected)
        if costs.total is None or 0 <= most - cost <= NEAR * most or allowed < least:
            break
        allowed += (1 - NEAR / 2) * most - cost
    if best is None:
        sparsities, loss = _least(options, least + ROUNDING)
        best = BudgetAllocation(sparsities, loss, costs.of(sparsities), corrected)
    return best


def allocation_text(chosen: BudgetAllocation, facts: BudgetFacts, budget: str) -> str:
    """What an allocation within a budget costs, and the loss that is expected, in a sentence."""
    method = BUDGETS[budget]
    cost = chosen.cost if method.most else 1 - chosen.cost
    sparsity = format_percent(overall(chosen.sparsities, facts.analysis), 2)
    corrected = " after least squares" * chosen.corrected
    parts = [f"{method.title}: {method.format(cost)}"]
    parts += [f"overall sparsity {sparsity}"] * method.most
    parts.append(f"sum of the losses of the layers{corrected} +{chosen.loss:.3f}")
    return ", ".join(parts) + "."


def _possible(method: Budget, cost: float) -> str:
    return (
        f"at least {method.format(cost)}" if method.most else f"at most {method.format(1 - cost)}"
    )


def _least(options: Mapping[str, LayerOptions], budget: float) -> tuple[dict[str, float], float]:
    """The sparsities with the least sum of losses, and the sum. The budget must be possible."""
    choices = least_loss(list(options.values()), budget)
    assert choices is not None
    pairs = [(name, x, i) for (name, x), i in zip(options.items(), choices, strict=True)]
    return (
        {name: float(layer.sparsities[i]) for name, layer, i in pairs},
        float(sum(layer.losses[i] for _, layer, i in pairs)),
    )


def layer_options(analysis: pd.DataFrame, costs: Costs) -> dict[str, LayerOptions]:
    """The choices of each layer of a `sensitivity_frame`, by name.

    The choices are the measured sparsities and those between them in steps of `GRID`; beyond the
    highest measured sparsity, or the first with a loss that is no number, nothing is known.
    """
    options = {}
    for name, rows in analysis.groupby("layer", sort=False):
        ordered = rows.sort_values("sparsity")
        losses = ordered.get("corrected_loss", pd.Series(np.nan, ordered.index))
        # A layer in which least squares cannot be solved has its loss without it.
        losses = losses.fillna(ordered["loss"]).to_numpy(dtype=float)
        finite = int(np.argmin(np.append(np.isfinite(losses), False)))
        known = ordered["sparsity"].to_numpy(dtype=float).clip(max=MAX_SPARSITY)[:finite]
        between = np.arange(0.0, known[-1], GRID)
        sparsities = np.unique(np.round(np.concatenate([between, known]), 6))
        curve = loss_curve(dict(zip(known, losses[:finite], strict=True)), sparsities)
        options[str(name)] = LayerOptions(sparsities, curve, costs.layers[str(name)](sparsities))
    return options
