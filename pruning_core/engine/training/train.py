"""Training and fine-tuning: one loop, with masks or without.

Everything random in an epoch follows from (seed, role, epoch), so a stage that continues from a
checkpoint uses the same images, crops and dropout as one that was never interrupted.
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
from pruning_core.engine.models.batch_norm import recalibrate
from pruning_core.engine.training import checkpoint
from pruning_core.engine.training.evaluate import evaluate
from pruning_core.engine.training.state import TrainingState
from pruning_core.engine.training.step import step
from pruning_core.methods.datasets import AUGMENTATIONS
from pruning_core.methods.lr_schedules import rate
from pruning_core.settings.serialization import plain
from pruning_core.storage.stage_context import Progress

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingPlan:
    """What the loop needs besides model and images.

    `settings` is a `TrainSpec` as a dict, `data` a `DataSpec`'s settings. `epochs` may end with a
    fraction of an epoch: that share of its batches, at least one.

    The learning-rate schedule spans `lr_epochs`; this training begins at `lr_from_epoch` of them.
    With rewinding, they cover what remains of the schedule after its share `lr_start`.

    `role` and `first_epoch` (the epochs before this stage) give each stage its own random order,
    also where a stage begins in the middle of an epoch. After `keep_epoch` epochs the weights are
    kept, to rewind to them.
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


def epoch_shares(epochs: float) -> list[float]:
    """The share of each started epoch: 2.5 epochs are 1, 1 and 0.5."""
    whole = int(epochs)
    return [1.0] * whole + [plain(epochs - whole)] * (plain(epochs - whole) > 0)


def derived_seed(*parts: object) -> int:
    """A seed that depends on all parts and differs from that of any other parts."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:7], "big")


def train(
    state: TrainingState, splits: Splits, plan: TrainingPlan, path: Path, progress: Progress
) -> None:
    """Train to the end of the plan, from the checkpoint in `path` if it exists.

    No checkpoint is written after the last epoch, because the stage is about to publish its
    result.
    """
    if saved := checkpoint.load(path):
        state.load_state_dict(saved)
        progress.history = list(state.history)
        log.info("Continues after epoch %s of %s.", state.history[-1]["epoch"], plan.epochs)
    _keep_weights(state, plan)
    splits = replace(splits, train=splits.train.on(plan.device))
    started_epochs = len(epoch_shares(plan.epochs))
    with checkpoint.CheckpointWriter(path, progress) as writer:
        for epoch in range(len(state.history), started_epochs):
            _train_epoch(state, splits, plan, epoch, progress)
            _keep_weights(state, plan)
            if state.masks:
                state.masks.check()
            if epoch + 1 < started_epochs:
                writer.save(state.state_dict())
            progress.history = list(state.history)


def _keep_weights(state: TrainingState, plan: TrainingPlan) -> None:
    if len(state.history) == plan.keep_epoch:
        state.keep_weights()


def _train_epoch(
    state: TrainingState, splits: Splits, plan: TrainingPlan, epoch: int, progress: Progress
) -> None:
    """Train one epoch, recalibrate batch norm, and add the validation accuracy to the history."""
    started = time.perf_counter()
    seed = derived_seed(plan.seed, plan.role, plain(plan.first_epoch + epoch))
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    loss, lr = _run_batches(state, splits.train, plan, epoch, generator, progress)
    _recalibrate(state, splits, plan)
    state.seconds += time.perf_counter() - started
    validation = evaluate(state.model, splits.validation, plan.data, plan.device)
    share = epoch_shares(plan.epochs)[epoch]
    row = {
        "epoch": plain(epoch + share),
        "share": share,
        "loss": loss,
        "validation_loss": validation.loss,
        "accuracy": validation.accuracy,
        "lr": lr,
        "seconds": state.seconds,
    }
    state.history.append(row)
    log.info("Epoch %s of %s: %s", row["epoch"], plan.epochs, row)


def _recalibrate(state: TrainingState, splits: Splits, plan: TrainingPlan) -> None:
    """Recalibrate batch norm for the weights at the end of the epoch.

    Training normalizes with the statistics of each batch, so this changes only evaluation.
    """
    count, batch = plan.settings["bn_recalibration_images"], plan.settings["batch_size"]
    generator = torch.Generator().manual_seed(derived_seed(plan.seed, "batch norm"))
    recalibrate(state.model, splits.train, plan.data, plan.device, count, batch, generator)


def _run_batches(
    state: TrainingState,
    images: ImageSet,
    plan: TrainingPlan,
    epoch: int,
    generator: torch.Generator,
    progress: Progress,
) -> tuple[float, float]:
    """The batches of an epoch's share. Returns the mean loss and the last learning rate."""
    share = epoch_shares(plan.epochs)[epoch]
    batches = first_batches(
        share, shuffled_batches(len(images), plan.settings["batch_size"], generator)
    )
    augmentation = AUGMENTATIONS.load(plan.data["augmentation"])
    clip_grad_norm = plan.settings["clip_grad_norm"]
    total, lr = torch.zeros((), device=plan.device), 0.0
    state.model.train()
    for i, positions in enumerate(batches):
        done = (plan.lr_from_epoch + epoch + share * i / len(batches)) / plan.lr_epochs
        lr = rate(plan.settings, plan.lr_start + (1 - plan.lr_start) * done)
        pixels = augmentation(images.batch(positions).to(plan.device), generator)
        pixels = normalize(pixels, plan.data["mean"], plan.data["std"])
        labels = images.labels[positions].to(plan.device)
        total += step(state, pixels, labels, lr, clip_grad_norm) * len(positions)
        part = (epoch + share * (i + 1) / len(batches)) / plan.epochs
        progress.say(part, f"Epoch {plain(epoch + share)} of {plan.epochs}")
    return float(total) / sum(map(len, batches)), lr


def first_batches(share: float, batches: list[Tensor]) -> list[Tensor]:
    """The first batches (N,) of an epoch: a share, rounded to whole batches, at least one."""
    return batches[: max(1, round(share * len(batches)))]


def shuffled_batches(images: int, batch: int, generator: torch.Generator) -> list[Tensor]:
    """Every position once, in random order and in batches (N,).

    A last batch of one image is left out, because batch norm needs two.
    """
    batches = list(torch.randperm(images, generator=generator).split(batch))
    return batches[:-1] if len(batches) > 1 and len(batches[-1]) == 1 else batches
