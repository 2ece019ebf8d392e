"""Scores from the gradients of the cross-entropy on training images."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from pruning_core.engine.criteria.inputs import RATE, Evidence, Tensors, checked, refusal
from pruning_core.engine.criteria.model_modes import at_rest


def taylor(evidence: Evidence) -> Tensors:
    """First-order Taylor: (gradient x weight)^2 of a batch's mean loss, summed over batches.

    Molchanov et al. 2019, "Importance Estimation for Neural Network Pruning". The square is
    taken batch by batch, so that gradients of opposite sign do not cancel as they do in SNIP.
    Raises `StageError` where the loss is not finite.
    """
    weights = evidence.weights
    found = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    with at_rest(evidence.model):
        for loss, count in _losses(evidence, "taylor"):
            for name, slope in _slopes(loss / count, weights).items():
                found[name] += (slope * weights[name].detach()).square()
    return checked("taylor", found)


def snip(evidence: Evidence) -> Tensors:
    """Connection sensitivity: |weight x gradient|, the gradient summed over all images.

    Lee et al. 2019, "SNIP". It is taken on the dense model, whatever is cut: `weights` and
    `model` of the evidence are those of the baseline. The paper divides by the sum of all
    scores, which changes no order. Raises `StageError` where the loss is not finite.
    """
    weights = evidence.weights
    with at_rest(evidence.model):
        total = summed(evidence, "snip")
    found = {name: (slope * weights[name].detach()).abs() for name, slope in total.items()}
    return checked("snip", found)


def summed(evidence: Evidence, criterion: str) -> Tensors:
    """The gradient of the loss by each weight, summed over all images."""
    weights = evidence.weights
    total = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    for loss, _ in _losses(evidence, criterion):
        for name, slope in _slopes(loss, weights).items():
            total[name] += slope
    return total


def obd(evidence: Evidence) -> Tensors:
    """Diagonal second derivative: h w^2 / 2. LeCun et al. 1990, "Optimal Brain Damage".

    h is the diagonal of the Gauss-Newton matrix of the cross-entropy, mean over the images,
    which for a softmax is the Fisher information under the model's own prediction p (Martens
    2020). It is estimated without bias from one gradient an image: that of the logits in the
    direction r - p sum(r), where r_c is plus or minus the root of p_c with random signs; the
    mean of this direction's outer product is diag(p) - p p^T, the second derivative of the
    cross-entropy. Unlike the "empirical Fisher" the true labels take no part (Kunstner et al.
    2019), and unlike a drawn label a rare class has its share in every image. Raises
    `StageError` where a prediction is not finite.
    """
    weights = evidence.weights
    found = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    images = 0
    with at_rest(evidence.model) as model:
        for batch, _ in evidence.batches:
            images += len(batch)
            for image in batch.split(1):
                for name, slope in _curved(model, image, weights, evidence.generator).items():
                    found[name] += slope.square()
    _check_seen("obd", images)
    scaled = {n: weights[n].detach().square() * h / (2 * images) for n, h in found.items()}
    return checked("obd", scaled)


def _curved(model: nn.Module, image: Tensor, weights: Tensors, source: Generator) -> Tensors:
    """The gradient of one image's logits (1, C) in a random direction, as `obd` says."""
    logits = model(image)
    direction = directions(logits.detach(), source)
    return _slopes((logits * direction).sum(), weights)


def directions(logits: Tensor, source: Generator) -> Tensor:
    """Random directions (N, C) whose outer products have the mean diag(p) - p p^T."""
    shares = logits.softmax(1)
    signs = 2 * torch.randint(2, logits.shape, generator=source).to(logits) - 1
    roots = signs * shares.sqrt()
    return roots - shares * roots.sum(1, keepdim=True)


def _losses(evidence: Evidence, criterion: str) -> Iterator[tuple[Tensor, int]]:
    """The summed loss of each batch, and how many images it has."""
    images = 0
    for batch, labels in evidence.batches:
        images += len(batch)
        loss = functional.cross_entropy(evidence.model(batch), labels, reduction="sum")
        if not bool(torch.isfinite(loss)):
            raise refusal(criterion, f"the loss on the training images is not finite; {RATE}")
        yield loss, len(batch)
    _check_seen(criterion, images)


def _check_seen(criterion: str, images: int) -> None:
    if not images:
        raise ValueError(f"The criterion {criterion} needs images, and there are none.")


def _slopes(value: Tensor, weights: Tensors) -> Tensors:
    """The derivative of a number by each weight; 0 for one that the model does not use."""
    found = torch.autograd.grad(value, list(weights.values()), materialize_grads=True)
    return dict(zip(weights, found, strict=True))
