"""Criteria that do not run the model: magnitude, random, and movement."""

from __future__ import annotations

import torch

from pruning_core.engine.criteria.inputs import CriterionInputs, Tensors, checked_scores


def magnitude(inputs: CriterionInputs) -> Tensors:
    """The absolute value of each weight (O, I, *K), also called L1.

    Han et al. 2015, https://arxiv.org/abs/1506.02626
    """
    return {name: weight.detach().abs() for name, weight in inputs.weights.items()}


def random(inputs: CriterionInputs) -> Tensors:
    """Uniform random scores (O, I, *K): a control.

    They are drawn in the logical order of the weights, whatever their memory format.
    Frankle et al. 2020, https://arxiv.org/abs/2009.08576
    """
    return {
        name: torch.empty_like(weight).copy_(torch.rand(weight.shape, generator=inputs.generator))
        for name, weight in inputs.weights.items()
    }


def movement(inputs: CriterionInputs) -> Tensors:
    """-weight * gradient (O, I, *K), summed over the training steps before the pruning step.

    Weights that shrank have negative sums. Before the first pruning step, that is the training of
    the baseline. The scores are float64. Raises `StageError` where a sum is not finite, and where
    no weight moved. Sanh et al. 2020, "Movement Pruning", https://arxiv.org/abs/2005.07683
    """
    sums = {name: inputs.movement[name].detach().cpu().double() for name in inputs.weights}
    return checked_scores("movement", sums)
