"""The inputs of a criterion, collected for a stage: calibration images, baseline and movement."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pruning_core.engine.criteria.inputs import Batch, CriterionInputs, Tensors
from pruning_core.engine.data.augment import normalize
from pruning_core.engine.data.loading import ImageSet, Splits
from pruning_core.engine.masks.masks import compute_masks
from pruning_core.engine.models import devices
from pruning_core.engine.models.layers import convolution_groups, weights
from pruning_core.engine.stage_inputs import baseline_key, load_model
from pruning_core.engine.training import checkpoint
from pruning_core.engine.training.state import Movement, TrainingState
from pruning_core.engine.training.train import derived_seed
from pruning_core.methods.criteria import BASELINE, IMAGES, MOVEMENT, needs
from pruning_core.methods.granularity import UNSTRUCTURED, block_of, pattern_of
from pruning_core.planning.measurement_types import SensitivitySettings
from pruning_core.planning.model_types import (
    BaselineSettings,
    CorrectionSettings,
    PrunedSettings,
    StructuredSettings,
)
from pruning_core.storage.stage_context import Context

MOVEMENT_FILE = "movement.pt"
# A correction holds the maps of a batch: so many images of 64x64 pixels, fewer of larger ones.
CORRECTION_BATCH, PIXELS, MIN_BATCH = 64, 64 * 64, 8


@dataclass(frozen=True)
class CalibrationSet:
    """Batches of images (N, 3, S, S), normalized and not augmented, with labels (N,).

    `positions` selects the images of a set. `data` holds the `mean` and `std` of a `DataSpec`.
    The batches are on the device.
    """

    images: ImageSet
    positions: Tensor
    data: dict[str, Any]
    batch: int
    device: str

    def __iter__(self) -> Iterator[Batch]:
        for positions in self.positions.split(self.batch):
            pixels = self.images.batch(positions).to(self.device)
            labels = self.images.labels[positions].to(self.device)
            yield normalize(pixels, self.data["mean"], self.data["std"]), labels


def draw_calibration_set(
    images: ImageSet, count: int, seed: int, data: dict[str, Any], batch: int, device: str
) -> CalibrationSet:
    """`count` random images of a set, or all where it has fewer; the seed decides which."""
    generator = torch.Generator().manual_seed(seed)
    positions = torch.randperm(len(images), generator=generator)[:count]
    return CalibrationSet(images, positions, data, batch, device)


def calibration_images(
    settings: PrunedSettings | StructuredSettings | SensitivitySettings,
    splits: Splits,
    data: dict[str, Any],
    count: int,
    batch: int,
) -> CalibrationSet:
    """Training images for a criterion or channel importance; one seed always uses the same."""
    seed = derived_seed(settings.seed, "score images")
    return draw_calibration_set(splits.train, count, seed, data, batch, settings.device)


def images_for_correction(
    settings: CorrectionSettings | SensitivitySettings,
    splits: Splits,
    data: dict[str, Any],
    count: int,
) -> CalibrationSet:
    """Training images for a training-free correction; one seed always uses the same."""
    seed = derived_seed(settings.seed, "correction")
    size = data["image_size"]
    batch = max(MIN_BATCH, min(CORRECTION_BATCH, CORRECTION_BATCH * PIXELS // size**2))
    return draw_calibration_set(splits.train, count, seed, data, batch, settings.device)


def inputs_for_pruning(
    model: nn.Module, context: Context[PrunedSettings], splits: Splits, base: BaselineSettings
) -> CriterionInputs:
    """The criterion's inputs in a pruning step; `base` are the settings of its baseline."""
    settings, pruning = context.settings, context.settings.pruning
    criterion, target = pruning["criterion"], float(settings.target)
    if needs(criterion, BASELINE):
        dense = load_model(context.store, baseline_key(context.store, context.row.parent), base)
        model = devices.place(dense, settings.device)
    # RigL prunes to the same target again, and must not draw the same random scores again.
    regrowth = [] if settings.regrowth is None else [settings.regrowth]
    seed = derived_seed(settings.seed, "cut", target, *regrowth)
    # An N:M pattern has one sparsity, so SynFlow prunes to it from its first round on.
    pattern = pattern_of(pruning["granularity"]) is not None
    groups = convolution_groups(model)
    return CriterionInputs(
        weights(model, pruning["layers"], pruning["exclude"]),
        model=model,
        image_size=base.data["image_size"],
        batches=_pruning_images(settings, splits, base) if needs(criterion, IMAGES) else (),
        movement=_movement(context) if needs(criterion, MOVEMENT) else {},
        generator=torch.Generator().manual_seed(seed),
        compute_masks=lambda scores, amount: compute_masks(
            scores, target if pattern else amount, pruning, groups=groups
        ),
        target=target,
        block=block_of(pruning["granularity"]) or 1,
    )


def inputs_for_regrowth(
    model: nn.Module, settings: PrunedSettings, splits: Splits, base: BaselineSettings
) -> CriterionInputs:
    """The inputs of RigL's growth scores: all prunable weights and the calibration images."""
    prunable = weights(model, settings.pruning["layers"], settings.pruning["exclude"])
    images = _pruning_images(settings, splits, base)
    return CriterionInputs(prunable, model=model, batches=images)


def _pruning_images(
    settings: PrunedSettings, splits: Splits, base: BaselineSettings
) -> CalibrationSet:
    count, batch = settings.pruning["calibration_images"], settings.train["batch_size"]
    return calibration_images(settings, splits, base.data, count, batch)


def inputs_for_sensitivity(
    layer: Tensors,
    model: nn.Module,
    context: Context[SensitivitySettings],
    splits: Splits,
    base: BaselineSettings,
) -> CriterionInputs:
    """The criterion's inputs in the sensitivity analysis of a layer (O, I, *K) of the baseline."""
    settings, criterion = context.settings, context.settings.criterion or ""
    seed = derived_seed(settings.seed, settings.layer)
    return CriterionInputs(
        layer,
        model=model,
        image_size=base.data["image_size"],
        batches=analysis_images(settings, splits, base) if needs(criterion, IMAGES) else (),
        movement=_movement(context) if needs(criterion, MOVEMENT) else {},
        generator=torch.Generator().manual_seed(seed),
        block=block_of(settings.granularity or UNSTRUCTURED) or 1,
    )


def analysis_images(
    settings: SensitivitySettings, splits: Splits, base: BaselineSettings
) -> CalibrationSet:
    """The calibration images of a sensitivity analysis whose scores use images."""
    count, batch = settings.calibration_images, settings.score_batch
    assert count is not None
    assert batch is not None
    return calibration_images(settings, splits, base.data, count, batch)


def _movement(context: Context[PrunedSettings | SensitivitySettings]) -> Tensors:
    """The movement that the parent's training accumulated."""
    path = context.store.file(context.row.parent, MOVEMENT_FILE)
    movement: Tensors = torch.load(path, map_location="cpu", weights_only=True)
    return movement


def record_movement(state: TrainingState, keep_movement: bool | None) -> None:
    """Accumulate the movement of all weights in training, where the stage's settings ask for it."""
    if keep_movement:
        state.movement = Movement(weights(state.model, "all"))


def save_movement(state: TrainingState, folder: Path) -> None:
    """Write the accumulated movement into the stage's folder, for the next pruning step."""
    if state.movement:
        content = checkpoint.serialized(state.movement.total)
        (folder / MOVEMENT_FILE).write_bytes(content)
