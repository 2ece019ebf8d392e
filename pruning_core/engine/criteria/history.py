"""Scores from what the training before the cut did to the weights."""

from __future__ import annotations

from pruning_core.engine.criteria.evidence import Evidence, Tensors, checked


def movement(evidence: Evidence) -> Tensors:
    """Movement: -weight x gradient, summed over the steps of the training before the cut.

    Sanh et al. 2020, "Movement Pruning". Weights that shrank have negative sums. All sums are
    moved up by the least of them, in double precision, in which the order of float32 sums stays
    as it is, to within 1e-16 of their range. Raises `StageError` where a sum is not finite
    and where nothing moved.
    """
    weights = evidence.weights
    found = {name: evidence.movement[name].detach().cpu().double() for name in weights}
    least = min(float(total.min()) for total in checked("movement", found).values())
    return {name: total - least for name, total in found.items()}
