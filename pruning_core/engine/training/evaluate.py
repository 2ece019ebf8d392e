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
from pruning_core.engine.models.modes import evaluation_mode

# Images per batch, and fewer where they are larger than 32x32 pixels.
BATCH, BATCH_PIXELS, MIN_BATCH = 500, 500 * 32 * 32, 16


@dataclass(frozen=True)
class Evaluation:
    """`correct` (N,) says which images were classified correctly; `loss` is the mean over images.

    `predictions` (N,) are the predicted classes, `confidences` (N,) their probabilities.
    """

    correct: np.ndarray
    loss: float
    predictions: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    confidences: np.ndarray = field(default_factory=lambda: np.empty(0, np.float32))

    @property
    def accuracy(self) -> float:
        """The share of images that were classified correctly, from 0 to 1."""
        return float(self.correct.mean())

    def metrics(self) -> dict[str, Any]:
        """The part of a stage's result: accuracy, its 95 % interval, loss, and each image."""
        correct = int(self.correct.sum())
        low, high = wilson(correct, len(self.correct))
        return {
            "accuracy": self.accuracy,
            "accuracy_low": low,
            "accuracy_high": high,
            "right": correct,
            "test_images": len(self.correct),
            "correct": self.packed(),
            "loss": self.loss,
        }

    def packed(self) -> str:
        """`correct`, eight images per byte, in base64."""
        return base64.b64encode(np.packbits(self.correct).tobytes()).decode()


@torch.inference_mode()
def evaluate(model: nn.Module, images: ImageSet, data: dict[str, Any], device: str) -> Evaluation:
    """Run the model in evaluation mode over every image once, in large batches.

    `data` holds the `image_size`, `mean` and `std` of a `DataSpec`. The model keeps its modes.
    """
    batch = max(MIN_BATCH, min(BATCH, BATCH_PIXELS // data["image_size"] ** 2))
    correct, losses, predictions, confidences = [], [], [], []
    with evaluation_mode(model):
        for positions in torch.arange(len(images)).split(batch):
            pixels = images.batch(positions).to(device)
            labels = images.labels[positions].to(device)
            logits = model(normalize(pixels, data["mean"], data["std"]))
            losses.append(functional.cross_entropy(logits, labels, reduction="sum").double().cpu())
            predictions.append(logits.argmax(1).cpu())
            confidences.append(logits.softmax(1).amax(1).cpu())
            correct.append(predictions[-1] == images.labels[positions])
    loss = float(torch.stack(losses).sum()) / len(images)
    return Evaluation(
        torch.cat(correct).numpy(),
        loss,
        torch.cat(predictions).numpy(),
        torch.cat(confidences).numpy(),
    )
