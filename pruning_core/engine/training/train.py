"""Training and fine-tuning: one loop, with masks or without.

Everything random in an epoch follows from (seed, role, epoch), so a stage that continues from a
checkpoint uses the same images, crops and dropout as one that was never interrupted.
"""

from __future__ import annotations

import hashlib
import logging
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pruning_core.engine.data.augment import normalize
from pruning_core.engine.data.loading import ImageSet, Splits
from pruning_core.engine.models.batch_norm import recalibrate
from pruning_core.engine.training import checkpoint
from pruning_core.engine.training.evaluate import evaluate
from pruning_core.engine.training.optimizers import make_optimizer
from pruning_core.engine.training.replicas import Replicas, replicated
from pruning_core.engine.training.state import TrainingState
from pruning_core.engine.training.step import compute_gradients, update
from pruning_core.methods.datasets import AUGMENTATIONS
from pruning_core.methods.lr_schedules import rate
from pruning_core.settings.serialization import plain
from pruning_core.storage.stage_context import Progress

# Images in a batch when batch norm is recalibrated, and the pixels in it.
RECALIBRATION_BATCH, BATCH_PIXELS = 256, 256 * 32 * 32
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LRSegment:
    """A part of a training, `epochs` long, and its place on a learning-rate schedule.

    The schedule spans `lr_epochs`, of which `lr_from_epoch` are done. With rewinding, they cover
    what remains of the schedule after its share `lr_start`. `settings` are those of the
    `TrainSpec` that differ from the plan's.
    """

    epochs: float
    lr_from_epoch: float
    lr_epochs: float
    lr_start: float = 0.0
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainingPlan:
    """What the loop needs besides model and images.

    `settings` is a `TrainSpec` as a dict, `data` a `DataSpec`'s settings. `epochs` may end with a
    fraction of an epoch, which is rounded to whole batches (see `steps_until`).

    `lr_from_epoch`, `lr_epochs` and `lr_start` are the place on the learning-rate schedule, as in
    `LRSegment`. A training with several schedules has `segments` instead; their epochs add up to
    `epochs`. A segment that begins a schedule begins with a new optimizer, as a pruning step does.

    `role` and `first_epoch` (the epochs before this stage) give each stage its own random order,
    also where a stage begins in the middle of an epoch. After `keep_epoch` epochs the weights are
    kept, to rewind to them. Each of the `replicas` computes a part of every batch.
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
    replicas: int = 1
    keep_epoch: int | None = None
    segments: tuple[LRSegment, ...] = ()


@dataclass(frozen=True)
class Epoch:
    """A started epoch of a training, `start` epochs after its beginning: a `share` of an epoch.

    It has `batches` training steps; `lr_step` is the number of the first of them on the
    learning-rate schedule of its segment, which has `lr_steps`. `restarts` is true where a later
    segment begins a schedule.
    """

    start: float
    share: float
    batches: int
    segment: LRSegment
    lr_step: int
    lr_steps: int
    restarts: bool


def steps_until(epochs: float, batches: int) -> int:
    """The training steps of one run of `epochs` with `batches` in each epoch.

    A fraction of an epoch is rounded to whole batches, at least one. A chain of stages is rounded
    over all its epochs together: a stage trains from where one run of the epochs before it ends to
    where one run with its own epochs ends, so that equal epochs are equal steps.
    """
    epochs = plain(epochs)
    whole = math.floor(epochs)
    share = plain(epochs - whole)
    return whole * batches + (max(1, round(share * batches)) if share else 0)


def started_epochs(plan: TrainingPlan, batches: int) -> list[Epoch]:
    """The epochs of a training with `batches` in a whole epoch, without those with no batch."""
    segments = plan.segments or (
        LRSegment(plan.epochs, plan.lr_from_epoch, plan.lr_epochs, plan.lr_start),
    )
    epochs, start = list[Epoch](), 0.0
    for segment in segments:
        epochs += _epochs_of(segment, plain(plan.first_epoch + start), start, batches)
        start = plain(start + segment.epochs)
    first, last = (steps_until(plan.first_epoch + done, batches) for done in (0.0, plan.epochs))
    planned = sum(epoch.batches for epoch in epochs)
    assert planned == last - first, f"{planned} steps are planned, not {last - first}."
    return epochs


def _epochs_of(segment: LRSegment, first: float, start: float, batches: int) -> Iterator[Epoch]:
    """The epochs of a segment that begins `start` epochs after the stage, `first` in the chain."""
    schedule = plain(first - segment.lr_from_epoch)
    before = steps_until(schedule, batches)
    lr_steps = steps_until(schedule + segment.lr_epochs, batches) - before
    whole = math.floor(plain(segment.epochs))
    rest = plain(segment.epochs - whole)
    for i, share in enumerate([1.0] * whole + [rest] * (rest > 0)):
        begin, end = (steps_until(first + i + part, batches) for part in (0.0, share))
        if end > begin:
            restarts = not i and start > 0 and segment.lr_from_epoch == 0
            yield Epoch(
                plain(start + i), share, end - begin, segment, begin - before, lr_steps, restarts
            )


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
    epochs = started_epochs(plan, batch_count(len(splits.train), plan.settings["batch_size"]))
    first = len(state.history)

    def follow(replicas: Replicas) -> None:
        for epoch in epochs[first:]:
            _train_batches(state, splits.train, plan, epoch, replicas, Progress())

    with (
        replicated(plan.replicas, state.model, follow) as replicas,
        checkpoint.CheckpointWriter(path, progress) as writer,
    ):
        for number in range(first, len(epochs)):
            _train_epoch(state, splits, plan, epochs[number], replicas, progress)
            _keep_weights(state, plan)
            if state.masks:
                state.masks.check()
            if number + 1 < len(epochs):
                writer.save(state.state_dict())
            progress.history = list(state.history)


def _keep_weights(state: TrainingState, plan: TrainingPlan) -> None:
    if len(state.history) == plan.keep_epoch:
        state.keep_weights()


def _train_epoch(
    state: TrainingState,
    splits: Splits,
    plan: TrainingPlan,
    epoch: Epoch,
    replicas: Replicas,
    progress: Progress,
) -> None:
    """Train one epoch, recalibrate batch norm, and add the validation accuracy to the history."""
    started = time.perf_counter()
    loss, lr = _train_batches(state, splits.train, plan, epoch, replicas, progress)
    _recalibrate(state, splits, plan)
    state.seconds += time.perf_counter() - started
    state.validation = evaluate(state.model, splits.validation, plan.data, plan.device)
    row = {
        "epoch": plain(epoch.start + epoch.share),
        "share": epoch.share,
        "loss": loss,
        "validation_loss": state.validation.loss,
        "accuracy": state.validation.accuracy,
        "lr": lr,
        "seconds": state.seconds,
    }
    state.history.append(row)
    log.info("Epoch %s of %s: %s", row["epoch"], plan.epochs, row)


def _recalibrate(state: TrainingState, splits: Splits, plan: TrainingPlan) -> None:
    """Recalibrate batch norm for the weights at the end of the epoch.

    Training normalizes with the statistics of each batch, so this changes only evaluation. Small
    images go through the model in larger batches than in training, which takes less time.
    """
    count, size = plan.settings["bn_recalibration_images"], plan.data["image_size"]
    batch = max(plan.settings["batch_size"], min(RECALIBRATION_BATCH, BATCH_PIXELS // size**2))
    generator = torch.Generator().manual_seed(derived_seed(plan.seed, "batch norm"))
    recalibrate(state.model, splits.train, plan.data, plan.device, count, batch, generator)


def _train_batches(
    state: TrainingState,
    images: ImageSet,
    plan: TrainingPlan,
    epoch: Epoch,
    replicas: Replicas,
    progress: Progress,
) -> tuple[float, float]:
    """The batches of an epoch's share. Returns the mean loss and the last learning rate."""
    if epoch.restarts:
        state.optimizer = make_optimizer(state.model, plan.settings)
    parts = (plan.seed, plan.role, plain(plan.first_epoch + epoch.start))
    seeds = [derived_seed(*parts, *([rank] if rank else [])) for rank in range(replicas.count)]
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    replicas.seed(seeds)
    batches = shuffled_batches(len(images), plan.settings["batch_size"], generators[0])
    batches = batches[: epoch.batches]
    clip_grad_norm = plan.settings["clip_grad_norm"]
    per_epoch = batch_count(len(images), plan.settings["batch_size"])
    total, lr = torch.zeros((), device=plan.device), 0.0
    state.model.train()
    for i, positions in enumerate(batches):
        lr = learning_rate(plan, epoch, i, per_epoch)
        # At least two images for each replica, because batch norm needs two.
        split = positions.tensor_split(max(1, min(replicas.count, len(positions) // 2)))

        def compute(rank: int, split: Sequence[Tensor] = split) -> Tensor:
            return _part_gradients(state, images, plan, split, rank, generators[rank])

        total += replicas.gradients(compute) * len(positions)
        update(state, lr, clip_grad_norm)
        part = (epoch.start + epoch.share * (i + 1) / len(batches)) / plan.epochs
        progress.say(part, f"Epoch {plain(epoch.start + epoch.share)} of {plan.epochs}")
    return float(total) / sum(map(len, batches)), lr


def _part_gradients(
    state: TrainingState,
    images: ImageSet,
    plan: TrainingPlan,
    split: Sequence[Tensor],
    rank: int,
    generator: torch.Generator,
) -> Tensor:
    """Fill the gradients of the part `rank` of a batch. Returns its share of the loss, a scalar.

    `split` are the positions of the images of each part. A small batch may have fewer parts than
    there are replicas.
    """
    if rank >= len(split):
        state.optimizer.zero_grad(set_to_none=True)
        return torch.zeros((), device=plan.device)
    augmentation = AUGMENTATIONS.load(plan.data["augmentation"])
    pixels = augmentation(images.batch(split[rank]).to(plan.device), generator)
    pixels = normalize(pixels, plan.data["mean"], plan.data["std"])
    labels = images.labels[split[rank]].to(plan.device)
    return compute_gradients(state, pixels, labels, sum(map(len, split)))


def learning_rate(plan: TrainingPlan, epoch: Epoch, i: int, batches: int) -> float:
    """The learning rate of training step `i` of an epoch; a whole epoch has `batches` steps.

    It depends on the number of the step on its schedule only, so that a chain of stages has the
    learning rates of one run, step by step.
    """
    segment, number = epoch.segment, epoch.lr_step + i
    whole = math.floor(plain(segment.lr_epochs))
    if number < whole * batches:
        done = number // batches + number % batches / batches
    else:  # the fraction of an epoch at the end, whose steps share it
        rest, steps = plain(segment.lr_epochs - whole), epoch.lr_steps - whole * batches
        done = whole + rest * (number - whole * batches) / steps
    settings = {**plan.settings, **segment.settings}
    return rate(settings, segment.lr_start + (1 - segment.lr_start) * (done / segment.lr_epochs))


def batch_count(images: int, batch: int) -> int:
    """The number of batches in an epoch, as in `shuffled_batches`."""
    full, rest = divmod(images, batch)
    return max(1, full + (rest > 1 or (rest == 1 and full == 0)))


def shuffled_batches(images: int, batch: int, generator: torch.Generator) -> list[Tensor]:
    """Every position once, in random order and in batches (N,).

    A last batch of one image is left out, because batch norm needs two.
    """
    batches = list(torch.randperm(images, generator=generator).split(batch))
    return batches[:-1] if len(batches) > 1 and len(batches[-1]) == 1 else batches
