"""Allocation by a budget: the sparsities of the layers with the least sum of losses.

The losses are those of a sensitivity analysis, in which each layer is pruned alone. Frantar and
Alistarh 2022 ("SPDY: Accurate Pruning with Speedup Guarantees", https://arxiv.org/abs/2201.13096)
choose the sparsities by the same dynamic program under a budget of time; Hubara et al. 2021
(AdaPrune, https://arxiv.org/abs/2102.08124) solve it as an integer program.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pruning_core.results.sensitivity import MAX_SPARSITY, ROUNDING, check_reachable

# The budget is divided into so many parts, and costs are rounded up to whole ones: with 50 layers
# at most half a percent of the budget stays unused, which `_spend_rest` then uses.
PARTS = 10_000
UNREACHABLE = np.inf
GRID = 0.01  # between measured sparsities


@dataclass(frozen=True)
class LayerOptions:
    """The choices for one layer: arrays (N,) over its sparsities, which rise from 0.

    `losses` are the increases of the loss with this layer alone pruned, `costs` what the layer
    then takes of the budget. Neither needs to be monotonic.
    """

    sparsities: np.ndarray
    losses: np.ndarray
    costs: np.ndarray


def least_loss(options: Sequence[LayerOptions], budget: float) -> list[int] | None:
    """The choice of each layer with the least sum of losses whose costs are within the budget.

    Returns the number of each layer's choice, or None where the cheapest choices exceed the
    budget. Exact for costs in whole `PARTS` of the budget; what rounding leaves of the budget is
    spent where a choice saves the most loss for its cost.
    """
    cheapest = [int(np.argmin(layer.costs)) for layer in options]
    spent = _spent(options, cheapest)
    if spent > budget:
        return None
    # The least loss of the layers so far, by the parts that they use of the budget.
    best = np.zeros(PARTS + 1)
    chosen = list[np.ndarray]()
    part = max(budget, np.finfo(float).tiny) / PARTS
    for layer in options:
        losses = np.full(PARTS + 1, UNREACHABLE)
        numbers = np.zeros(PARTS + 1, dtype=np.int32)
        for number in _efficient(layer):
            parts = int(np.ceil(layer.costs[number] / part - 1e-9))
            if parts > PARTS:
                continue
            with_choice = np.full(PARTS + 1, UNREACHABLE)
            with_choice[parts:] = best[: PARTS + 1 - parts] + layer.losses[number]
            better = with_choice < losses
            losses[better], numbers[better] = with_choice[better], number
        best = losses
        chosen.append(numbers)
    if not np.isfinite(best[PARTS]):  # only the rounding of costs exceeds the budget
        return _spend_rest(options, cheapest, budget)
    choices, remaining = list[int](), PARTS
    for layer, numbers in zip(reversed(options), reversed(chosen), strict=True):
        number = int(numbers[remaining])
        choices.append(number)
        remaining -= int(np.ceil(layer.costs[number] / part - 1e-9))
    return _spend_rest(options, choices[::-1], budget)


def _spent(options: Sequence[LayerOptions], choices: Sequence[int]) -> float:
    return float(sum(layer.costs[i] for layer, i in zip(options, choices, strict=True)))


def _efficient(layer: LayerOptions) -> list[int]:
    """The choices that no other beats in both loss and cost."""
    order = np.lexsort((layer.losses, layer.costs))
    kept, least = list[int](), UNREACHABLE
    for number in map(int, order):
        if layer.losses[number] < least:
            kept.append(number)
            least = float(layer.losses[number])
    return kept


def _spend_rest(options: Sequence[LayerOptions], choices: list[int], budget: float) -> list[int]:
    """The choices, improved while one that saves loss fits into what remains of the budget."""
    choices, rest = list(choices), budget - _spent(options, choices)
    while True:
        best, gain = None, 0.0
        for place, layer in enumerate(options):
            present = choices[place]
            saved = layer.losses[present] - layer.losses
            extra = layer.costs - layer.costs[present]
            fits = np.flatnonzero((saved > 0) & (extra <= rest))
            for number in map(int, fits):
                share = float(saved[number] / max(extra[number], budget * 1e-12))
                if share > gain:
                    best, gain = (place, number), share
        if best is None:
            return choices
        place, number = best
        rest -= float(options[place].costs[number] - options[place].costs[choices[place]])
        choices[place] = number


def least_loss_sparsities(frame: pd.DataFrame, total: float) -> dict[str, float]:
    """Sparsities by layer with the least sum of losses whose overall sparsity is at least `total`.

    `frame` is that of `sensitivity_frame`, `total` a fraction of all pruning units. Losses after
    least squares count where they were measured. Raises `SpecError` where the measured sparsities
    do not reach `total`.
    """
    units = frame.groupby("layer", sort=False)["units"].first().to_dict()
    options = layer_options(frame, lambda name, sparsities: units[name] * (1 - sparsities))
    check_reachable(highest_sparsities(options), units, total)
    # Rounding must not refuse a total that is exactly the highest one.
    budget = sum(units.values()) * (1 - total) * (1 + ROUNDING) + ROUNDING
    choices = least_loss(list(options.values()), budget)
    assert choices is not None
    return _chosen(options, choices)


def layer_options(
    frame: pd.DataFrame, cost: Callable[[str, np.ndarray], np.ndarray]
) -> dict[str, LayerOptions]:
    """The choices of each layer of a `sensitivity_frame`, by name.

    `cost` gives what a layer takes of the budget at sparsities (N,). The choices are the measured
    sparsities and those between them in steps of `GRID`; beyond the highest measured sparsity, or
    the first with a loss that is no number, nothing is known.
    """
    options = {}
    for name, rows in frame.groupby("layer", sort=False):
        ordered = rows.sort_values("sparsity")
        losses = ordered.get("corrected_loss", pd.Series(np.nan, ordered.index))
        # A layer in which least squares cannot be solved has its loss without it.
        losses = losses.fillna(ordered["loss"]).to_numpy(dtype=float)
        finite = int(np.argmin(np.append(np.isfinite(losses), False)))
        known = ordered["sparsity"].to_numpy(dtype=float).clip(max=MAX_SPARSITY)[:finite]
        between = np.arange(0.0, known[-1], GRID)
        sparsities = np.unique(np.round(np.concatenate([between, known]), 6))
        curve = loss_curve(dict(zip(known, losses[:finite], strict=True)), sparsities)
        options[str(name)] = LayerOptions(sparsities, curve, cost(str(name), sparsities))
    return options


def highest_sparsities(options: Mapping[str, LayerOptions]) -> dict[str, float]:
    """The highest sparsity of each layer of which the loss is known."""
    return {name: float(layer.sparsities[-1]) for name, layer in options.items()}


def _chosen(options: Mapping[str, LayerOptions], choices: Sequence[int]) -> dict[str, float]:
    pairs = zip(options.items(), choices, strict=True)
    return {name: float(layer.sparsities[number]) for (name, layer), number in pairs}


def loss_curve(measured: Mapping[float, float], sparsities: np.ndarray) -> np.ndarray:
    """The increase of the loss at each of `sparsities`, interpolated between measured ones.

    `measured` holds the loss by sparsity and contains sparsity 0. A loss below that of the dense
    layer, or below that at a lower sparsity, counts as noise: the curve never falls.
    """
    known = np.array(sorted(measured))
    losses = np.array([measured[sparsity] for sparsity in known])
    rising = np.maximum.accumulate(np.maximum(losses - losses[0], 0.0))
    return np.interp(sparsities, known, rising)
