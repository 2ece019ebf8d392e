"""Training and accuracy of any model over the batches of any loader (see `pruning_strategies`)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pruning_core.common.errors import SpecError
from pruning_core.common.formatting import format_count, join_words
from pruning_core.engine.masks.masks import Masks
from pruning_core.engine.models.batch_norm import has_batch_norm
from pruning_core.engine.models.modes import evaluation_mode, fine_tuning_mode
from pruning_core.engine.training.classification import (
    count_correct,
    mean_loss,
    one_score_is_probability,
    read_labels,
    read_scores,
    run_model,
)
from pruning_core.engine.training.loaders import (
    Loader,
    batches_of,
    length_of,
    read_batch,
    steps_of,
    why_no_batch,
)

MOMENTUM = 0.9
WEIGHT_DECAY = 5e-4


@dataclass
class Accuracy:
    """Counts of images: `undefined` have a score that is not a number, and are not correct."""

    images: int = 0
    correct: int = 0
    undefined: int = 0


def measure_accuracy(model: nn.Module, loader: Loader, device: str) -> Accuracy:
    """How many images have their label as the class with the highest score.

    Raises `SpecError` for a loader without images, and for batches, labels and outputs of other
    forms than those at the head of `pruning_strategies`.
    """
    counts = Accuracy()
    probability: bool | None = None
    with evaluation_mode(model):
        for batch in batches_of(loader, "loader"):
            pixels, labels = read_batch(batch)
            if not len(pixels):
                continue
            with torch.no_grad():
                scores = _scores(model, pixels, device)
            if probability is None:
                probability = scores.shape[1] == 1 and _gives_probability(model, pixels, device)
            counts.correct += count_correct(scores, read_labels(labels, scores), probability)
            counts.undefined += int(scores.isnan().any(1).sum())
            counts.images += len(pixels)
    if not counts.images:
        raise SpecError("loader", "The loader has no images. An iterator can be read only once.")
    return counts


def _scores(model: nn.Module, pixels: Tensor, device: str) -> Tensor:
    return read_scores(run_model(model, pixels, device), len(pixels))


@torch.enable_grad()
def _gives_probability(model: nn.Module, pixels: Tensor, device: str) -> bool:
    # With a gradient of the images, the operations can be read also in a frozen model.
    if pixels.is_floating_point():
        pixels = pixels.detach().clone().requires_grad_()
    return one_score_is_probability(_scores(model, pixels, device))


class LoaderTraining:
    """Training of a model with SGD over the batches of a loader; masked weights stay zero."""

    def __init__(self, model: nn.Module, masks: Masks | None, device: str) -> None:
        self.model, self.masks, self.device = model, masks, device
        self._probability: bool | None = None

    def run(self, loader: Loader, epochs: float, lr: float, done: float = 0.0) -> None:
        """Train for some epochs after `done` epochs of the same loader.

        The learning rate falls from `lr` to 0 along a cosine. Fractions of epochs are rounded
        over all epochs, so that equal sums of epochs are equal steps. Raises `SpecError` where
        nothing can be trained, and where the loss is not finite.
        """
        trained = [p for p in self.model.parameters() if p.requires_grad]
        undefined = _not_finite(self.model)
        if not trained:
            raise SpecError(
                "model",
                "None of its parameters can be trained: all have requires_grad=False. Call "
                "model.requires_grad_(True) first, or set the number of epochs to 0.",
            )
        optimizer = torch.optim.SGD(trained, lr=lr, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)
        with fine_tuning_mode(self.model):
            losses = []
            for fraction, pixels, labels in self._batches(loader, epochs, done):
                optimizer.param_groups[0]["lr"] = lr * (1 + math.cos(math.pi * fraction)) / 2
                losses.append(self._step(optimizer, pixels, labels))
            if not losses:
                raise SpecError(
                    "train_loader",
                    "All of its batches have a single image, and batch norm cannot train on one. "
                    "Use a larger batch size.",
                )
            finite = torch.stack(losses).isfinite()
            if not bool(finite.all()):
                raise _not_finite_loss(undefined, bool(finite[0]))
        if self.masks:
            self.masks.check()

    def _batches(
        self, loader: Loader, epochs: float, done: float
    ) -> Iterator[tuple[float, Tensor, Tensor]]:
        """Images (N, ...) and labels of each batch, with the share of the training before it."""
        length = length_of(loader)
        steps = steps_of("train_loader", length, epochs, done)
        position = 0
        for epoch in range(math.ceil(epochs)):
            batches = 0
            for i, batch in enumerate(batches_of(loader, "train_loader")):
                if position == steps:
                    return
                position, batches = position + 1, batches + 1
                pixels, labels = read_batch(batch)
                if self._is_trainable(loader, pixels):
                    share = (epoch + (i / length if length else 0.0)) / epochs
                    yield (share if steps is None else (position - 1) / steps), pixels, labels
            if not batches and position != steps:
                raise SpecError("train_loader", why_no_batch(loader, epoch))
        if steps is not None and position < steps:
            yielded = format_count(batches, "batch", "batches")
            raise SpecError(
                "train_loader",
                f"Its length is {length:,}, but it yields {yielded}. Fractions of epochs need the "
                "true length.",
            )

    def _is_trainable(self, loader: Loader, pixels: Tensor) -> bool:
        if len(pixels) != 1 or getattr(loader, "batch_size", None) == 1:
            return len(pixels) > 0
        return not has_batch_norm(self.model)

    def _step(self, optimizer: torch.optim.SGD, pixels: Tensor, labels: Tensor) -> Tensor:
        """One step. Returns the loss, a scalar without gradient."""
        optimizer.zero_grad()
        scores = _scores(self.model, pixels, self.device)
        if not scores.requires_grad:
            raise SpecError("model", "Its scores do not depend on a parameter that is trained.")
        # Decided once: a later batch, such as a small last one, may look like probabilities.
        if self._probability is None:
            self._probability = scores.shape[1] == 1 and one_score_is_probability(scores)
        loss = mean_loss(scores, read_labels(labels, scores), self._probability)
        loss.backward()
        optimizer.step()
        if self.masks:
            self.masks.multiply()
        return loss.detach()


def _not_finite(model: nn.Module) -> list[str]:
    """The names of the parameters with a value that is NaN or infinite, and buffers with NaN.

    An infinite buffer can be right: attention is masked by minus infinity.
    """
    return [
        *(name for name, value in model.named_parameters() if not bool(value.isfinite().all())),
        *(name for name, value in model.named_buffers() if bool(value.isnan().any())),
    ]


def _not_finite_loss(undefined: list[str], first_is_finite: bool) -> SpecError:
    """Why a loss is not finite; `undefined` are the tensors that were not before the training."""
    if first_is_finite:
        return SpecError(
            "lr", "The training diverged: the loss is not finite. Lower the learning rate."
        )
    message = "The loss of the first batch is not finite, before any training step."
    if undefined:
        message += f" Values of {join_words(undefined)} are not finite. Load other weights."
    else:
        message += " The values in the model are too large: scale the images or the weights down."
    return SpecError("model", message)
