"""The choice of a sparsity for each layer with the least sum of losses within a budget.

Frantar and Alistarh 2022 ("SPDY: Accurate Pruning with Speedup Guarantees", https://arxiv.org/abs/2201.13096)
choose the sparsities by the same dynamic program under a budget of time; Hubara et al. 2021
(AdaPrune, https://arxiv.org/abs/2102.08124) solve it as an integer program.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

# The budget is divided into so many parts, and costs are rounded up to whole ones: with 50 layers
# at most half a percent of the budget stays unused, which `_spend_rest` then uses.
PARTS = 10_000
UNREACHABLE = np.inf


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
    spent where a choice saves the most loss for its cost. What is then left is spent on lower
    sparsities, the highest one first: a loss of 0 in an analysis may be noise, so nothing is pruned
    that the budget does not ask for.
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
        return _less_pruned(options, _spend_rest(options, cheapest, budget), budget)
    choices, remaining = list[int](), PARTS
    for layer, numbers in zip(reversed(options), reversed(chosen), strict=True):
        number = int(numbers[remaining])
        choices.append(number)
        remaining -= int(np.ceil(layer.costs[number] / part - 1e-9))
    return _less_pruned(options, _spend_rest(options, choices[::-1], budget), budget)


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


def _less_pruned(options: Sequence[LayerOptions], choices: list[int], budget: float) -> list[int]:
    """The choices with lower sparsities where they lose no more and still fit into the budget."""
    choices, rest = list(choices), budget - _spent(options, choices)
    pruned = {place for place, number in enumerate(choices) if number}
    while pruned:
        place = max(pruned, key=lambda place: options[place].sparsities[choices[place]])
        layer, number = options[place], choices[place]
        extra = float(layer.costs[number - 1] - layer.costs[number])
        if extra <= rest and layer.losses[number - 1] <= layer.losses[number]:
            choices[place], rest = number - 1, rest - extra
        if choices[place] in (0, number):  # the layer is dense, or this is as far as it goes
            pruned.remove(place)
    return choices


def loss_curve(measured: Mapping[float, float], sparsities: np.ndarray) -> np.ndarray:
    """The increase of the loss at each of `sparsities`, interpolated between measured ones.

    `measured` holds the loss by sparsity and contains sparsity 0. A loss below that of the dense
    layer, or below that at a lower sparsity, counts as noise: the curve never falls.
    """
    known = np.array(sorted(measured))
    losses = np.array([measured[sparsity] for sparsity in known])
    rising = np.maximum.accumulate(np.maximum(losses - losses[0], 0.0))
    return np.interp(sparsities, known, rising)
