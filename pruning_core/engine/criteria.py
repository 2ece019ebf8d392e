"""How much a weight matters: the lowest scores are removed first.

A criterion takes a weight of any shape and a generator, and returns scores of the same shape
in floating point.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Criterion = Callable[[Tensor, torch.Generator], Tensor]


def magnitude(weight: Tensor, generator: torch.Generator) -> Tensor:
    """The absolute value, also called L1. Han et al. 2015."""
    return weight.detach().abs()


def random(weight: Tensor, generator: torch.Generator) -> Tensor:
    """Uniform scores that know nothing of the weight: a control. Frankle et al. 2021."""
    return torch.rand(weight.shape, generator=generator, device=generator.device)


CRITERIA: dict[str, Criterion] = {"magnitude": magnitude, "random": random}
