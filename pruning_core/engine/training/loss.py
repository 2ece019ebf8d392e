"""What training makes small: cross-entropy, with smoothed labels, taught by another model."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class Objective:
    """The loss of a batch.

    `label_smoothing` is the share of each label that goes to all classes alike (Szegedy et al.
    2016). `teacher` is one that `as_teacher` made ready; `weight` is its share of the loss, from
    0 to 1, and `temperature`, above 0, divides the outputs of both (Hinton et al. 2015).
    """

    label_smoothing: float = 0.0
    teacher: nn.Module | None = None
    weight: float = 0.0
    temperature: float = 1.0

    def __call__(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        """The mean loss, a scalar, of images (N, 3, S, S) with labels (N,)."""
        scores = model(images)
        own = functional.cross_entropy(scores, labels, label_smoothing=self.label_smoothing)
        if self.teacher is None:
            return own
        with torch.no_grad():
            wanted = self.teacher(images)
        taught = distance(scores, wanted, self.temperature)
        return (1 - self.weight) * own + self.weight * taught


def distance(scores: Tensor, wanted: Tensor, temperature: float) -> Tensor:
    """T^2 * KL(softmax(wanted / T) || softmax(scores / T)), the mean over images; both (N, C).

    Hinton et al. 2015. The square keeps the gradient's size where the temperature changes.
    """
    ours = functional.log_softmax(scores.float() / temperature, dim=1)
    theirs = functional.log_softmax(wanted.float() / temperature, dim=1)
    found = functional.kl_div(ours, theirs, reduction="batchmean", log_target=True)
    return found * temperature**2


def as_teacher(model: nn.Module) -> nn.Module:
    """The model in evaluation mode, its weights at rest."""
    return model.eval().requires_grad_(False)
