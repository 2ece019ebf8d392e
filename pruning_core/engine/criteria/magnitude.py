"""Scores that need nothing but the weights, or not even these."""

from __future__ import annotations

import torch

from pruning_core.engine.criteria.inputs import Evidence, Tensors


def magnitude(evidence: Evidence) -> Tensors:
    """The absolute value, also called L1. Han et al. 2015."""
    return {name: weight.detach().abs() for name, weight in evidence.weights.items()}


def random(evidence: Evidence) -> Tensors:
    """Uniform scores that know nothing of the weight: a control. Frankle et al. 2021.

    They are drawn in the logical order of the weights, whatever their memory format.
    """
    source = evidence.generator
    return {
        name: torch.empty_like(weight).copy_(torch.rand(weight.shape, generator=source))
        for name, weight in evidence.weights.items()
    }
