"""The training loss: cross-entropy with label smoothing, and knowledge distillation."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class Objective:
    """The loss of a batch.

    `label_smoothing` is the share of each label that is distributed over all classes (Szegedy et
    al. 2016, https://arxiv.org/abs/1512.00567). `teacher` is a model that `frozen` prepared,
    `weight` the share of its term in the loss, from 0 to 1, and `temperature`, above 0, divides
    the logits of both (Hinton et al. 2015, https://arxiv.org/abs/1503.02531).
    """

    label_smoothing: float = 0.0
    teacher: nn.Module | None = None
    weight: float = 0.0
    temperature: float = 1.0

    def __call__(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        """The mean loss, a scalar, of images (N, 3, S, S) with labels (N,)."""
        logits = model(images)
        label_loss = functional.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)
        if self.teacher is None:
            return label_loss
        with torch.no_grad():
            teacher_logits = self.teacher(images)
        teacher_loss = distillation_loss(logits, teacher_logits, self.temperature)
        return (1 - self.weight) * label_loss + self.weight * teacher_loss


def distillation_loss(logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """T^2 KL(softmax(teacher / T) || softmax(student / T)), the mean over N; logits are (N, C).

    The factor T^2 keeps the size of the gradient when the temperature changes. Hinton et al. 2015,
    https://arxiv.org/abs/1503.02531
    """
    student = functional.log_softmax(logits.float() / temperature, dim=1)
    teacher = functional.log_softmax(teacher_logits.float() / temperature, dim=1)
    divergence = functional.kl_div(student, teacher, reduction="batchmean", log_target=True)
    return divergence * temperature**2


def frozen(model: nn.Module) -> nn.Module:
    """The model in evaluation mode, without gradients, to be used as teacher."""
    return model.eval().requires_grad_(False)
