"""Training and fine-tuning: the same loop, with masks or without.

Everything random in an epoch follows from (seed, role, epoch), so a stage that goes on from
a checkpoint sees the same images, crops and dropout as one that was never disturbed.
"""

from __future__ import annotations

import hashlib
import logging
import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from pruning_core.engine import checkpoint
from pruning_core.engine.data import AUGMENTATIONS, ImageSet, Splits, normalize
from pruning_core.engine.evaluate import evaluate
from pruning_core.engine.masks import Masks
from pruning_core.learning_rates import LR_SCHEDULES
from pruning_core.worker.context import Progress

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Training:
    """What the loop needs besides model and images.

    `settings` is a `TrainSpec` as a dict, `data` the data settings. The learning-rate curve
    covers `lr_epochs`, of which this training is the part from `lr_from_epoch` on. `role` and
    `first_epoch` make the random order of a stage its own.
    """

    settings: dict[str, Any]
    data: dict[str, Any]
    epochs: int
    lr_from_epoch: int
    lr_epochs: int
    seed: int
    role: str
    first_epoch: int
    device: str


@dataclass
class Trainee:
    """A model in training; `masks` is None where nothing is pruned."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    masks: Masks | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    parts: int = 1
    skipped: int = 0

    def state(self) -> dict[str, Any]:
        """All that a later process needs to go on with the same bits."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "history": self.history,
            "seconds": self.seconds,
            "parts": self.parts,
            "skipped": self.skipped,
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.history, self.seconds = list(state["history"]), state["seconds"]
        self.parts, self.skipped = state["parts"], state["skipped"]


def make_optimizer(model: nn.Module, settings: dict[str, Any]) -> torch.optim.Optimizer:
    """The optimizer that a `TrainSpec` (as a dict) describes."""
    rate, decay = settings["lr"], settings["weight_decay"]
    if settings["optimizer"] == "adam":
        betas = (settings["momentum"], 0.999)
        return torch.optim.Adam(model.parameters(), lr=rate, betas=betas, weight_decay=decay)
    momentum = settings["momentum"]
    return torch.optim.SGD(model.parameters(), lr=rate, momentum=momentum, weight_decay=decay)


def derived_seed(*parts: object) -> int:
    """A seed that follows from its parts and is unlike that of any others."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:7], "big")


def train(
    trainee: Trainee, splits: Splits, plan: Training, saved: Path, progress: Progress
) -> None:
    """Train to the end of the plan, from the checkpoint in `saved` where there is one."""
    if state := checkpoint.load(saved):
        trainee.restore(state)
        progress.history = list(trainee.history)
        log.info("Goes on after epoch %d of %d.", len(trainee.history), plan.epochs)
    for epoch in range(len(trainee.history), plan.epochs):
        _epoch(trainee, splits, plan, epoch, progress)
        if trainee.masks:
            trainee.masks.check()
        checkpoint.save(saved, trainee.state())
        progress.published += 1
        progress.history = list(trainee.history)


def _epoch(
    trainee: Trainee, splits: Splits, plan: Training, epoch: int, progress: Progress
) -> None:
    started = time.perf_counter()
    seed = derived_seed(plan.seed, plan.role, plan.first_epoch + epoch)
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    loss, rate = _pass(trainee, splits.train, plan, epoch, generator, progress)
    trainee.seconds += time.perf_counter() - started
    validation = evaluate(trainee.model, splits.validation, plan.data, plan.device)
    row = {
        "epoch": epoch + 1,
        "loss": loss,
        "validation_loss": validation.loss,
        "accuracy": validation.accuracy,
        "lr": rate,
        "seconds": trainee.seconds,
    }
    trainee.history.append(row)
    log.info("Epoch %d of %d: %s", epoch + 1, plan.epochs, row)


def _pass(
    trainee: Trainee,
    images: ImageSet,
    plan: Training,
    epoch: int,
    generator: torch.Generator,
    progress: Progress,
) -> tuple[float, float]:
    """One pass over the images. Returns the mean loss and the last learning rate."""
    batches = shuffled(len(images), plan.settings["batch_size"], generator)
    augment = AUGMENTATIONS[plan.data["augment"]]
    clip_norm = plan.settings["clip_norm"]
    total, rate = torch.zeros((), device=plan.device), 0.0
    trainee.model.train()
    for i, positions in enumerate(batches):
        done = (plan.lr_from_epoch + epoch + i / len(batches)) / max(plan.lr_epochs, 1)
        rate = plan.settings["lr"] * LR_SCHEDULES[plan.settings["lr_schedule"]](done)
        pixels = augment(images.batch(positions), generator).to(plan.device)
        labels = images.labels[positions].to(plan.device)
        total += _step(trainee, pixels, labels, rate, clip_norm, plan.data) * len(positions)
        share = (epoch + (i + 1) / len(batches)) / plan.epochs
        progress.say(share, f"Epoch {epoch + 1} of {plan.epochs}")
    return float(total) / sum(map(len, batches)), rate


def shuffled(images: int, batch: int, generator: torch.Generator) -> list[Tensor]:
    """Every position once, in batches; a last batch of one is left out (batch norm needs two)."""
    batches = list(torch.randperm(images, generator=generator).split(batch))
    return batches[:-1] if len(batches) > 1 and len(batches[-1]) == 1 else batches


def _step(
    trainee: Trainee,
    pixels: Tensor,
    labels: Tensor,
    rate: float,
    clip_norm: float,
    data: dict[str, Any],
) -> Tensor:
    """One optimizer step; removed weights are zero again after it. Returns the mean loss."""
    for group in trainee.optimizer.param_groups:
        group["lr"] = rate
    loss = _gradients(trainee, normalize(pixels, data["mean"], data["std"]), labels)
    if _tamed(trainee, clip_norm):
        trainee.optimizer.step()
        if trainee.masks:
            trainee.masks.multiply()
    return loss


def _tamed(trainee: Trainee, clip_norm: float) -> bool:
    """Clip the gradients of the weights that stay. False where they are not finite.

    A channel that a deep cut has left almost empty has next to no variance, and batch norm
    multiplies its gradient by up to 300: over some layers that overflows. Such a step is left
    out and counted, as mixed-precision training does.
    """
    if trainee.masks:
        trainee.masks.multiply_gradients()
    limit = clip_norm or math.inf
    norm = nn.utils.clip_grad_norm_(trainee.model.parameters(), limit)
    finite = bool(torch.isfinite(norm))
    trainee.skipped += not finite
    return finite


def _gradients(trainee: Trainee, images: Tensor, labels: Tensor) -> Tensor:
    """Fill the gradients. Out of GPU memory, the batch goes through in twice as many parts."""
    while True:
        trainee.optimizer.zero_grad(set_to_none=True)
        try:
            return _accumulate(trainee, images, labels)
        except torch.OutOfMemoryError:
            if trainee.parts * 2 > len(images):
                raise
            trainee.parts *= 2
            log.warning(
                "Out of memory: batches of %d now go through in %d parts.",
                len(images),
                trainee.parts,
            )


def _accumulate(trainee: Trainee, images: Tensor, labels: Tensor) -> Tensor:
    total = torch.zeros((), device=images.device)
    parts = max(1, min(trainee.parts, len(images) // 2))
    for part, wanted in zip(images.tensor_split(parts), labels.tensor_split(parts), strict=True):
        share = len(part) / len(images)
        loss = functional.cross_entropy(trainee.model(part), wanted) * share
        loss.backward()
        total += loss.detach()
    return total
