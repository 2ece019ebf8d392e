"""Training and fine-tuning: the same loop, with masks or without.

Everything random in an epoch follows from (seed, role, epoch), so a stage that goes on from
a checkpoint sees the same images, crops and dropout as one that was never disturbed.
"""

from __future__ import annotations

import hashlib
import logging
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pruning_core.engine.data.augment import normalize
from pruning_core.engine.data.loading import ImageSet, Splits
from pruning_core.engine.models.batch_norm import reestimate
from pruning_core.engine.training import checkpoint
from pruning_core.engine.training.evaluate import evaluate
from pruning_core.engine.training.state import Trainee
from pruning_core.engine.training.step import step
from pruning_core.methods.datasets import AUGMENTATIONS
from pruning_core.methods.lr_schedules import rate as rate_at
from pruning_core.settings.serialization import plain
from pruning_core.storage.stage_context import Progress

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Training:
    """What the loop needs besides model and images.

    `settings` is a `TrainSpec` as a dict, `data` the data settings. `epochs` may end with a
    fraction of one: that share of its batches, one at least. The learning-rate curve covers
    `lr_epochs`, of which this training is the part from `lr_from_epoch` on; where it is rewound,
    these epochs cover what is left of it after the share `lr_start`. `role` and `first_epoch`,
    the epochs before this stage, make the random order of a stage its own, also where it begins
    in the middle of an epoch. After `keep_epoch` epochs the trainee keeps its weights.
    """

    settings: dict[str, Any]
    data: dict[str, Any]
    epochs: float
    lr_from_epoch: float
    lr_epochs: float
    seed: int
    role: str
    first_epoch: float
    device: str
    lr_start: float = 0.0
    keep_epoch: int | None = None


def shares(epochs: float) -> list[float]:
    """The share of each started epoch: 2.5 epochs are 1, 1 and 0.5."""
    whole = int(epochs)
    return [1.0] * whole + [plain(epochs - whole)] * (plain(epochs - whole) > 0)


def derived_seed(*parts: object) -> int:
    """A seed that follows from its parts and is unlike that of any others."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:7], "big")


def train(
    trainee: Trainee, splits: Splits, plan: Training, saved: Path, progress: Progress
) -> None:
    """Train to the end of the plan, from the checkpoint in `saved` where there is one.

    After the last epoch none is written: the stage is about to publish its result.
    """
    if state := checkpoint.load(saved):
        trainee.restore(state)
        progress.history = list(trainee.history)
        log.info("Goes on after epoch %s of %s.", trainee.history[-1]["epoch"], plan.epochs)
    _keep(trainee, plan)
    splits = replace(splits, train=splits.train.on(plan.device))
    started = len(shares(plan.epochs))
    with checkpoint.Writer(saved, progress) as writer:
        for epoch in range(len(trainee.history), started):
            _epoch(trainee, splits, plan, epoch, progress)
            _keep(trainee, plan)
            if trainee.masks:
                trainee.masks.check()
            if epoch + 1 < started:
                writer.save(trainee.state())
            progress.history = list(trainee.history)


def _keep(trainee: Trainee, plan: Training) -> None:
    if len(trainee.history) == plan.keep_epoch:
        trainee.keep()


def _epoch(
    trainee: Trainee, splits: Splits, plan: Training, epoch: int, progress: Progress
) -> None:
    started = time.perf_counter()
    seed = derived_seed(plan.seed, plan.role, plain(plan.first_epoch + epoch))
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    loss, rate = _pass(trainee, splits.train, plan, epoch, generator, progress)
    _settle(trainee, splits, plan)
    trainee.seconds += time.perf_counter() - started
    validation = evaluate(trainee.model, splits.validation, plan.data, plan.device)
    share = shares(plan.epochs)[epoch]
    row = {
        "epoch": plain(epoch + share),
        "share": share,
        "loss": loss,
        "validation_loss": validation.loss,
        "accuracy": validation.accuracy,
        "lr": rate,
        "seconds": trainee.seconds,
    }
    trainee.history.append(row)
    log.info("Epoch %s of %s: %s", row["epoch"], plan.epochs, row)


def _settle(trainee: Trainee, splits: Splits, plan: Training) -> None:
    """Estimate batch norm's statistics for the weights as they are after the epoch.

    Training goes on with those of each batch, so this changes nothing but what is measured.
    """
    count, batch = plan.settings["bn_recalibration_images"], plan.settings["batch_size"]
    generator = torch.Generator().manual_seed(derived_seed(plan.seed, "batch norm"))
    reestimate(trainee.model, splits.train, plan.data, plan.device, count, batch, generator)


def _pass(
    trainee: Trainee,
    images: ImageSet,
    plan: Training,
    epoch: int,
    generator: torch.Generator,
    progress: Progress,
) -> tuple[float, float]:
    """One pass over an epoch's share of the images. Returns the mean loss and the last rate."""
    share = shares(plan.epochs)[epoch]
    batches = first(share, shuffled(len(images), plan.settings["batch_size"], generator))
    augmentation = AUGMENTATIONS.load(plan.data["augmentation"])
    clip_grad_norm = plan.settings["clip_grad_norm"]
    total, rate = torch.zeros((), device=plan.device), 0.0
    trainee.model.train()
    for i, positions in enumerate(batches):
        done = (plan.lr_from_epoch + epoch + share * i / len(batches)) / plan.lr_epochs
        rate = rate_at(plan.settings, plan.lr_start + (1 - plan.lr_start) * done)
        pixels = augmentation(images.batch(positions).to(plan.device), generator)
        pixels = normalize(pixels, plan.data["mean"], plan.data["std"])
        labels = images.labels[positions].to(plan.device)
        total += step(trainee, pixels, labels, rate, clip_grad_norm) * len(positions)
        part = (epoch + share * (i + 1) / len(batches)) / plan.epochs
        progress.say(part, f"Epoch {plain(epoch + share)} of {plan.epochs}")
    return float(total) / sum(map(len, batches)), rate


def first(share: float, batches: list[Tensor]) -> list[Tensor]:
    """The first batches of an epoch, a share of them rounded to whole ones; one at least."""
    return batches[: max(1, round(share * len(batches)))]


def shuffled(images: int, batch: int, generator: torch.Generator) -> list[Tensor]:
    """Every position once, in batches; a last batch of one is left out (batch norm needs two)."""
    batches = list(torch.randperm(images, generator=generator).split(batch))
    return batches[:-1] if len(batches) > 1 and len(batches[-1]) == 1 else batches
