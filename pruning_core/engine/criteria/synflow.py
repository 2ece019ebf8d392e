"""SynFlow: scores from the signal that passes through each weight, without any data."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pruning_core.engine.criteria.inputs import (
    CriterionInputs,
    Tensors,
    checked_scores,
    criterion_error,
)

ROUNDS = 100
UNSUPPORTED = (
    *(nn.LayerNorm, nn.GroupNorm, nn.MultiheadAttention),
    *(nn.Sigmoid, nn.Hardsigmoid, nn.Softmax),
)


def synflow(inputs: CriterionInputs) -> Tensors:
    """Synaptic flow: w dR/dw (O, I, *K), with R the sum of the outputs for an image of ones.

    All parameters are made absolute, in float64, so each score is the sum over all paths through
    the weight of the products along them. A pruning step takes `ROUNDS` rounds, in which the
    remaining weights shrink by a constant factor and are scored again: after a single round whole
    layers would be pruned. Weights pruned in a round get the score 0, the others a score above 0.

    Raises `StageError` for a model with an `unsupported_reason`, and where the flow exceeds
    float64. Tanaka et al. 2020, "Pruning neural networks without any data by iteratively
    conserving synaptic flow", https://arxiv.org/abs/2006.05467
    """
    if reason := unsupported_reason(inputs.model):
        raise criterion_error("synflow", reason)
    model = absolute_model(inputs.model)
    parameters = dict(model.named_parameters(remove_duplicate=False))
    weights: Tensors = {name: parameters[name] for name in inputs.weights}
    ones = torch.ones(1, 3, inputs.image_size, inputs.image_size).to(next(model.parameters()))
    for amount in round_sparsities(1 - _density(weights), inputs.target):
        masks = inputs.compute_masks(flow_scores(model, ones, weights), amount)
        for name, mask in masks.items():
            weights[name].data.mul_(mask.to(weights[name].device))
    scores = flow_scores(model, ones, weights)
    # Where nothing flows, the remaining weights still rank above the pruned ones.
    lowest = torch.finfo(torch.float64).tiny
    return {n: score.clamp(min=lowest) * (weights[n] != 0) for n, score in scores.items()}


def round_sparsities(start: float, target: float) -> list[float]:
    """The sparsities of the rounds before the last: the density falls by a constant factor."""
    if target <= start:
        return []
    ratio = (1 - target) / (1 - start)
    return [1 - (1 - start) * ratio ** (i / ROUNDS) for i in range(1, ROUNDS)]


def flow_scores(model: nn.Module, images: Tensor, weights: Tensors) -> Tensors:
    """The scores (O, I, *K) for images (N, 3, S, S), of a model without negative parameters."""
    gradients = torch.autograd.grad(
        model(images).sum(), list(weights.values()), materialize_grads=True
    )
    pairs = zip(weights.items(), gradients, strict=True)
    scores = {name: weight.detach() * gradient for (name, weight), gradient in pairs}
    return checked_scores("synflow", scores)


def absolute_model(model: nn.Module) -> nn.Module:
    """A float64 copy of a model in which nothing is negative and nothing limits the flow.

    Parameters become absolute. Batch norm keeps its scale and shift but subtracts no running
    mean; ReLU6, which would limit values to 6, becomes ReLU. For the models of the paper, with
    untrained batch norm and ReLU, only the parameters change.
    """
    absolute = copy.deepcopy(model).eval()
    device = next(model.parameters()).device
    absolute.to("cpu" if device.type == "mps" else device, torch.float64)  # mps has no float64
    for parameter in absolute.parameters():
        parameter.data.abs_()
    for module in list(absolute.modules()):
        if isinstance(module, _BatchNorm) and module.running_mean is not None:
            module.running_mean.zero_()
        for name, child in module.named_children():
            if isinstance(child, nn.ReLU6):
                setattr(module, name, nn.ReLU())
    return absolute


def unsupported_reason(model: nn.Module) -> str:
    """Why a model has no synaptic flow; empty where it has one.

    Flow is a sum of products of weights. Gates, and normalization that depends on the input, are
    not of this form.
    """
    kinds = sorted({type(m).__name__ for m in model.modules() if isinstance(m, UNSUPPORTED)})
    return f"the model has layers of the kind {', '.join(kinds)}" if kinds else ""


def _density(weights: Tensors) -> float:
    """The share of the weights that are not zero."""
    nonzero = sum(int(torch.count_nonzero(weight)) for weight in weights.values())
    return nonzero / max(1, sum(weight.numel() for weight in weights.values()))
