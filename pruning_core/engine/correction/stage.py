"""The stage of a training-free correction: corrects a pruned model and measures it."""

from __future__ import annotations

import time
from dataclasses import replace

import torch

from pruning_core.common.formatting import format_count
from pruning_core.engine.correction.corrections import CorrectionInputs
from pruning_core.engine.criteria.calibration import CORRECTION_BATCH, images_for_correction
from pruning_core.engine.data.loading import Splits
from pruning_core.engine.masks import masks
from pruning_core.engine.masks.masks import check_zeros
from pruning_core.engine.models import devices
from pruning_core.engine.models.batch_norm import recalibrate
from pruning_core.engine.stage_inputs import MASK_FILE, baseline_of, load_model, splits_of_baseline
from pruning_core.engine.stage_training import measure_model, since_baseline
from pruning_core.engine.training.optimizers import make_optimizer
from pruning_core.engine.training.state import TrainingState
from pruning_core.engine.training.train import derived_seed
from pruning_core.methods.corrections import CORRECTIONS
from pruning_core.planning.model_types import (
    BaselineSettings,
    CorrectionResult,
    CorrectionSettings,
    ModelResult,
)
from pruning_core.planning.stage import read_result
from pruning_core.settings.serialization import to_dict
from pruning_core.settings.training import TrainSpec
from pruning_core.storage.stage_context import Context


def correction(context: Context[CorrectionSettings]) -> CorrectionResult:
    """Correct the parent, a pruned or corrected model, and measure the result."""
    settings, store = context.settings, context.store
    root, base = baseline_of(store, context.row.parent)
    parent = read_result(store, context.row.parent, ModelResult)
    devices.prepare(threads=1)
    splits = splits_of_baseline(store, root, base)
    weight_masks = masks.load(store.file(context.row.parent, MASK_FILE))
    inputs = _inputs(context, root, base, splits, weight_masks)
    started = time.perf_counter()
    notes = CORRECTIONS.load(settings.correction)(inputs)
    state = TrainingState(inputs.pruned, make_optimizer(inputs.pruned, to_dict(TrainSpec())))
    state.seconds = time.perf_counter() - started
    check_zeros(dict(inputs.pruned.named_parameters()), weight_masks)
    masks.save(weight_masks, context.folder / MASK_FILE)
    measured = measure_model(context, state, splits, base.data, settings.pruning)
    notes = [*_note_on_images(settings.images, len(splits.train)), *notes]
    return CorrectionResult(**vars(replace(since_baseline(measured, parent), notes=notes)))


def _inputs(
    context: Context[CorrectionSettings],
    root: str,
    base: BaselineSettings,
    splits: Splits,
    weight_masks: dict[str, torch.Tensor],
) -> CorrectionInputs:
    """The two models and the calibration images, which are the same for all corrections."""
    settings, store = context.settings, context.store
    device = settings.device
    data, count = base.data, settings.images
    seed = derived_seed(settings.seed, "correction")
    pruned, dense = (
        devices.place(load_model(store, key, base), device).eval()
        for key in (context.row.parent, root)
    )

    def recalibrate_pruned() -> None:
        generator = torch.Generator().manual_seed(seed)
        recalibrate(pruned, splits.train, data, device, count, CORRECTION_BATCH, generator)

    return CorrectionInputs(
        pruned,
        dense,
        images_for_correction(settings, splits, data, count),
        weight_masks,
        recalibrate_pruned,
        seed,
        lambda share: context.progress.say(share, "Correcting layer by layer"),
    )


def _note_on_images(asked: int, available: int) -> list[str]:
    """A note where there are fewer training images than asked for."""
    if asked <= available:
        return []
    images = format_count(available, "training image")
    return [f"Training-free correction used all {images} ({asked:,} requested)."]
