"""Scores from what the training before the cut did to the weights."""

from __future__ import annotations

from pruning_core.engine.criteria.inputs import Evidence, Tensors, checked


def movement(evidence: Evidence) -> Tensors:
    """Movement: -weight x gradient, summed over the steps of the training before the cut.

    Sanh et al. 2020, "Movement Pruning". Weights that shrank have negative sums. Before the
    first cut that training is the baseline's own. The sums are in double precision. Raises
    `StageError` where a sum is not finite and where nothing moved.
    """
    found = {name: evidence.movement[name].detach().cpu().double() for name in evidence.weights}
    return checked("movement", found)
