"""Accuracy and loss on a set of images, image by image."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from pruning_core.common.statistics import wilson
from pruning_core.engine.data.augment import normalize
from pruning_core.engine.data.loading import ImageSet

BATCH = 500
BATCH_PIXELS = BATCH * 32 * 32


@dataclass(frozen=True)
class Evaluation:
    """`right[i]` tells whether image i was classified correctly; `loss` is the mean.

    `answers[i]` is the class that it was given.
    """

    right: np.ndarray
    loss: float
    answers: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))

    @property
    def accuracy(self) -> float:
        return float(self.right.mean())

    def figures(self) -> dict[str, Any]:
        """What a result tells of it: the accuracy, its 95 % interval, and each image's answer."""
        right = int(self.right.sum())
        low, high = wilson(right, len(self.right))
        return {
            "accuracy": self.accuracy,
            "accuracy_low": low,
            "accuracy_high": high,
            "right": right,
            "test_images": len(self.right),
            "correct": self.packed(),
            "loss": self.loss,
        }

    def packed(self) -> str:
        """`right`, eight images a byte, in base64."""
        return base64.b64encode(np.packbits(self.right).tobytes()).decode()


@torch.inference_mode()
def evaluate(model: nn.Module, images: ImageSet, data: dict[str, Any], device: str) -> Evaluation:
    """Run the model over every image once, in large batches, in evaluation mode."""
    model.eval()
    batch = max(16, min(BATCH, BATCH_PIXELS // data["image_size"] ** 2))
    right, losses, answers = [], [], []
    for positions in torch.arange(len(images)).split(batch):
        pixels = images.batch(positions).to(device)
        labels = images.labels[positions].to(device)
        scores = model(normalize(pixels, data["mean"], data["std"]))
        losses.append(functional.cross_entropy(scores, labels, reduction="sum").double().cpu())
        answers.append(scores.argmax(1).cpu())
        right.append(answers[-1] == images.labels[positions])
    total = float(torch.stack(losses).sum())
    said = torch.cat(answers).numpy()
    return Evaluation(torch.cat(right).numpy(), total / len(images), said)
