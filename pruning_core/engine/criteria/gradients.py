"""Criteria from the gradients of the cross-entropy on calibration images: Taylor, SNIP, OBD."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from pruning_core.engine.criteria.inputs import (
    LOWER_RATE,
    CriterionInputs,
    Tensors,
    checked_scores,
    criterion_error,
)
from pruning_core.engine.models.modes import evaluation_mode


def taylor(inputs: CriterionInputs) -> Tensors:
    """First-order Taylor: (gradient * weight)^2 (O, I, *K), summed over batches.

    The gradient is that of a batch's mean loss. It is squared batch by batch, so gradients of
    opposite sign do not cancel out as they do in SNIP. Raises `StageError` where the loss is not
    finite. Molchanov et al. 2019, "Importance Estimation for Neural Network Pruning",
    https://arxiv.org/abs/1906.10771
    """
    weights = inputs.weights
    scores = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    with evaluation_mode(inputs.model):
        for loss, count in _losses(inputs, "taylor"):
            for name, gradient in _gradients(loss / count, weights).items():
                scores[name] += (gradient * weights[name].detach()).square()
    return checked_scores("taylor", scores)


def snip(inputs: CriterionInputs) -> Tensors:
    """SNIP, connection sensitivity: |weight * gradient| (O, I, *K) of the dense baseline.

    The gradient is summed over all images. `weights` and `model` of the inputs are those of the
    baseline, whichever model is pruned. The paper divides by the sum of all scores, which changes
    no order. Raises `StageError` where the loss is not finite. Lee et al. 2019,
    https://arxiv.org/abs/1810.02340
    """
    weights = inputs.weights
    with evaluation_mode(inputs.model):
        gradients = summed_gradients(inputs, "snip")
    scores = {n: (gradient * weights[n].detach()).abs() for n, gradient in gradients.items()}
    return checked_scores("snip", scores)


def summed_gradients(inputs: CriterionInputs, criterion: str) -> Tensors:
    """The gradient (O, I, *K) of the loss for each weight, summed over all images.

    `criterion` names the caller in errors. Raises `StageError` where the loss is not finite.
    """
    weights = inputs.weights
    total = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    for loss, _ in _losses(inputs, criterion):
        for name, gradient in _gradients(loss, weights).items():
            total[name] += gradient
    return total


def obd(inputs: CriterionInputs) -> Tensors:
    """Optimal Brain Damage: h w^2 / 2 (O, I, *K), with h the diagonal second derivative.

    LeCun et al. 1990,
    https://proceedings.neurips.cc/paper/1989/hash/6c9882bbac1c7093bd25041881277658-Abstract.html

    h is the diagonal of the Gauss-Newton matrix of the cross-entropy, the mean over images. For a
    softmax it is the Fisher information under the model's own prediction p (Martens 2020,
    https://arxiv.org/abs/1412.1193). One gradient per image estimates it without bias: that of
    the logits in the direction r - p sum(r), where r_c is the root of p_c with a random sign. The
    mean outer product of this direction is diag(p) - p p^T, the second derivative of the
    cross-entropy. The labels take no part, unlike in the "empirical Fisher" (Kunstner et al.
    2019, https://arxiv.org/abs/1905.12558); and a rare class contributes to every image, unlike
    with a sampled label. Raises `StageError` where a score is not finite.
    """
    weights = inputs.weights
    sums = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    images = 0
    with evaluation_mode(inputs.model) as model:
        for batch, _ in inputs.batches:
            images += len(batch)
            # Image by image, because the square of a sum is not the sum of the squares.
            for image in batch.split(1):
                gradients = _random_gradients(model, image, weights, inputs.generator)
                for name, gradient in gradients.items():
                    sums[name] += gradient.square()
    _check_images("obd", images)
    scores = {n: weights[n].detach().square() * h / (2 * images) for n, h in sums.items()}
    return checked_scores("obd", scores)


def _random_gradients(
    model: nn.Module, image: Tensor, weights: Tensors, generator: Generator
) -> Tensors:
    """The gradients of the logits of one image (1, 3, S, S) in a random direction."""
    logits = model(image)
    direction = random_directions(logits.detach(), generator)
    return _gradients((logits * direction).sum(), weights)


def random_directions(logits: Tensor, generator: Generator) -> Tensor:
    """Directions (N, C) for logits (N, C) whose outer products have the mean diag(p) - p p^T."""
    probabilities = logits.softmax(1)
    signs = 2 * torch.randint(2, logits.shape, generator=generator).to(logits) - 1
    roots = signs * probabilities.sqrt()
    return roots - probabilities * roots.sum(1, keepdim=True)


def _losses(inputs: CriterionInputs, criterion: str) -> Iterator[tuple[Tensor, int]]:
    """The summed loss of each batch, a scalar, and the number of its images."""
    images = 0
    for batch, labels in inputs.batches:
        images += len(batch)
        loss = functional.cross_entropy(inputs.model(batch), labels, reduction="sum")
        if not bool(torch.isfinite(loss)):
            reason = f"the loss on the calibration images is not finite; {LOWER_RATE}"
            raise criterion_error(criterion, reason)
        yield loss, len(batch)
    _check_images(criterion, images)


def _check_images(criterion: str, images: int) -> None:
    if not images:
        raise ValueError(f"The criterion {criterion} needs calibration images, but got none.")


def _gradients(value: Tensor, weights: Tensors) -> Tensors:
    """The gradient of a scalar for each weight; 0 for a weight that the model does not use."""
    gradients = torch.autograd.grad(value, list(weights.values()), materialize_grads=True)
    return dict(zip(weights, gradients, strict=True))
