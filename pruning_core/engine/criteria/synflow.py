"""Scores from how much flows through each weight, without looking at any data."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pruning_core.engine.criteria.inputs import Evidence, Tensors, checked, refusal

STEPS = 100
GATES = (
    *(nn.LayerNorm, nn.GroupNorm, nn.MultiheadAttention),
    *(nn.Sigmoid, nn.Hardsigmoid, nn.Softmax),
)


def synflow(evidence: Evidence) -> Tensors:
    """Synaptic flow: w dR/dw, R the sum of the outputs for an image of ones.

    Tanaka et al. 2020, "Pruning neural networks without any data by iteratively conserving
    synaptic flow". All parameters are absolute, in double precision, so each score is the sum
    over the paths through the weight of the products along them. One cut goes in `STEPS` steps:
    what is left shrinks by the same factor each time, and the scores are taken anew, because
    after a single pass whole layers would go. What the steps remove has the score 0, what they
    leave a score above 0. Raises `StageError` for a model that is `unfit`, and where the flow
    is beyond double precision.
    """
    if why := unfit(evidence.model):
        raise refusal("synflow", why)
    model = all_positive(evidence.model)
    named = dict(model.named_parameters(remove_duplicate=False))
    weights: Tensors = {name: named[name] for name in evidence.weights}
    ones = torch.ones(1, 3, evidence.image_size, evidence.image_size).to(next(model.parameters()))
    for amount in amounts(1 - _left(weights), evidence.target):
        chosen = evidence.choose(flow(model, ones, weights), amount)
        for name, kept in chosen.items():
            weights[name].data.mul_(kept.to(weights[name].device))
    found = flow(model, ones, weights)
    return _above_zero(found, weights)


def amounts(start: float, target: float) -> list[float]:
    """The amounts before the target, what is left shrinking by the same factor each time."""
    if target <= start:
        return []
    ratio = (1 - target) / (1 - start)
    return [1 - (1 - start) * ratio ** (step / STEPS) for step in range(1, STEPS)]


def flow(model: nn.Module, images: Tensor, weights: Tensors) -> Tensors:
    """The score of each weight of a model whose parameters are all 0 or more."""
    slopes = torch.autograd.grad(
        model(images).sum(), list(weights.values()), materialize_grads=True
    )
    found = {n: w.detach() * s for (n, w), s in zip(weights.items(), slopes, strict=True)}
    return checked("synflow", found)


def all_positive(model: nn.Module) -> nn.Module:
    """A copy of a model in which nothing is negative and nothing holds back what flows.

    Parameters are absolute. Batch norm keeps its scale and its shift, and subtracts no running
    mean; ReLU6, which would stop what is above 6, becomes ReLU. A model as the paper has them,
    with untrained batch norm and ReLU, is only made absolute.
    """
    found = copy.deepcopy(model).eval()
    device = next(model.parameters()).device
    found.to("cpu" if device.type == "mps" else device, torch.float64)  # mps has no doubles
    for parameter in found.parameters():
        parameter.data.abs_()
    for module in list(found.modules()):
        if isinstance(module, _BatchNorm) and module.running_mean is not None:
            module.running_mean.zero_()
        for name, child in module.named_children():
            if isinstance(child, nn.ReLU6):
                setattr(module, name, nn.ReLU())
    return found


def unfit(model: nn.Module) -> str:
    """Why this model has no synaptic flow, or nothing.

    Flow is a sum of products of weights; normalization by the input and gates are neither.
    """
    kinds = sorted(
        {type(module).__name__ for module in model.modules() if isinstance(module, GATES)}
    )
    return f"the model has layers of the kind {', '.join(kinds)}" if kinds else ""


def _left(weights: Tensors) -> float:
    """The share of the weights that are not zero."""
    left = sum(int(torch.count_nonzero(weight)) for weight in weights.values())
    return left / max(1, sum(weight.numel() for weight in weights.values()))


def _above_zero(found: Tensors, weights: Tensors) -> Tensors:
    """Scores above 0 for what is left, also where nothing flows, and 0 for what is not."""
    least = torch.finfo(torch.float64).tiny
    return {name: score.clamp(min=least) * (weights[name] != 0) for name, score in found.items()}
