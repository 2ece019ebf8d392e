"""How much each weight matters: the lowest scores are removed first.

A criterion looks at the `Evidence` and gives scores, all 0 or more, for the weights by name: of
the weights' shape, in floating point.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Evidence:
    """What a criterion may look at: the weights that can be pruned, and a source of chance."""

    weights: Tensors
    generator: torch.Generator = field(default_factory=torch.Generator)


Criterion = Callable[[Evidence], Tensors]


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


CRITERIA: dict[str, Criterion] = {"magnitude": magnitude, "random": random}
