"""What the stages that train share: the loss, the training plan, and the final measurement."""

from __future__ import annotations

import hashlib
import json
import math
import platform
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment
from torch import nn

from pruning_core.common.files import PLAIN_WEIGHTS
from pruning_core.common.formatting import format_epochs, format_percent
from pruning_core.engine.analysis.layer_statistics import layer_statistics
from pruning_core.engine.data.loading import Splits
from pruning_core.engine.export.file_sizes import save_and_measure
from pruning_core.engine.models import devices
from pruning_core.engine.models.layers import layers, plain_name, sparsities
from pruning_core.engine.models.weights import bad_values
from pruning_core.engine.stage_inputs import MODEL_FILE, load_model
from pruning_core.engine.training.evaluate import evaluate
from pruning_core.engine.training.loss import Objective, frozen
from pruning_core.engine.training.state import TrainingState
from pruning_core.engine.training.train import LRSegment, TrainingPlan
from pruning_core.methods.datasets import class_order
from pruning_core.methods.recovery import RECOVERY_METHODS
from pruning_core.planning.inspection_types import DatasetResult, DatasetSettings
from pruning_core.planning.model_types import (
    LAYERS_FILE,
    BaselineSettings,
    ModelResult,
    ModelSettings,
    PrunedSettings,
    StructuredSettings,
)
from pruning_core.planning.stage import read_result
from pruning_core.planning.stage_types import restored
from pruning_core.settings.serialization import plain
from pruning_core.storage.stage_context import Context, StageError

# A checkpoint is near chance below this multiple of chance, and below this part of the way to
# 100 %: with classes in another order, those whose place is right still count.
NEAR_CHANCE, NEAR_CHANCE_SHARE = 2.5, 0.35
# Another order of a checkpoint's classes is looked for with so many validation images for each
# class, and told where the accuracy gains so much.
ORDER_IMAGES, LEAST_IMAGES, ORDER_GAIN = 3, 20, 0.1
VERSIONED_PACKAGES = ("torch", "torchvision", "numpy")


def training_objective(
    context: Context[PrunedSettings | StructuredSettings], baseline: str, base: BaselineSettings
) -> Objective:
    """The loss of a pruned model; with knowledge distillation the teacher is the dense baseline.

    `baseline` is the key of the baseline, `base` its settings.
    """
    settings, recovery = context.settings, context.settings.recovery
    smoothing = settings.train["label_smoothing"]
    if "distillation_weight" not in recovery:
        return Objective(smoothing)
    teacher = devices.place(load_model(context.store, baseline, base), settings.device)
    weight, temperature = recovery["distillation_weight"], recovery["distillation_temperature"]
    return Objective(smoothing, frozen(teacher), weight, temperature)


def freeze_weights(model: nn.Module, recovery: dict[str, Any]) -> None:
    """Switch off the gradients of the weights that the recovery method does not train.

    These are the weights of convolutions and linear layers, except the classifier's. A training
    step then skips one of their three matrix products. Zimmer et al. 2023 (PERP),
    https://arxiv.org/abs/2312.15230
    """
    if RECOVERY_METHODS[recovery["method"]].trains_weights:
        return
    frozen = {layer.name for layer in layers(model) if layer.role != "classifier"}
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(plain_name(name) not in frozen)


def training_plan(
    settings: BaselineSettings | PrunedSettings | StructuredSettings,
    data: dict[str, Any],
    lr_span: tuple[float, float],
    role: str,
    first_epoch: float,
    lr_start: float = 0.0,
) -> TrainingPlan:
    """The training of a stage.

    `data` are the data settings of the baseline. `lr_span` is the epoch at which this stage
    begins within its learning-rate schedule, and the epochs of the whole schedule. `role` seeds
    the random numbers. `first_epoch` counts from the start of pruning: it seeds the order of the
    images, and a fraction of an epoch is rounded together with the epochs before it. `lr_start`
    is the share of the schedule at which training starts, with rewinding.
    """
    segments = settings.lr_segments or [] if isinstance(settings, PrunedSettings) else []
    return TrainingPlan(
        settings=settings.train,
        data=data,
        epochs=settings.epochs,
        lr_from_epoch=lr_span[0],
        lr_epochs=lr_span[1],
        seed=settings.seed,
        role=role,
        first_epoch=first_epoch,
        device=settings.device,
        lr_start=lr_start,
        replicas=settings.replicas,
        keep_epoch=settings.keep_epoch if isinstance(settings, BaselineSettings) else None,
        segments=tuple(_segment(segment, lr_start) for segment in segments),
    )


def _segment(stored: dict[str, Any], lr_start: float) -> LRSegment:
    """A segment of the settings of a stage; final fine-tuning has a schedule of its own."""
    return LRSegment(
        stored["epochs"],
        stored["lr_from_epoch"],
        stored["lr_epochs"],
        0.0 if stored["final"] else lr_start,
        stored["train"],
    )


def measure_model(
    context: Context[ModelSettings],
    state: TrainingState,
    splits: Splits,
    data: dict[str, Any],
    pruning: dict[str, Any],
) -> ModelResult:
    """Evaluate on the test images, save the model, and measure sparsity and file sizes.

    This is the only use of the test images in a stage. The result has no notes, and its totals
    are 0. Raises `StageError` where training diverged.
    """
    context.progress.say(1.0, "Measuring")
    settings, model = context.settings, state.model
    validation = state.validation or evaluate(model, splits.validation, data, settings.device)
    test = evaluate(model, splits.test, data, settings.device)
    if not math.isfinite(test.loss):
        raise StageError(_why_not_finite(model, bool(state.history)))
    (context.folder / LAYERS_FILE).write_text(json.dumps(layer_statistics(model)))
    figures: dict[str, Any] = {
        **test.metrics(),
        **sparsities(model, pruning["layers"], pruning["exclude"]),
        **save_and_measure(model, context.folder / MODEL_FILE),
    }
    return ModelResult(
        **figures,
        validation_accuracy=validation.accuracy,
        validation_images=len(splits.validation),
        validation_correct=validation.packed(),
        test_digest=_test_digest(context, splits),
        epochs=settings.epochs,
        seconds=state.seconds,
        history=state.history,
        parts=state.parts,
        skipped=int(state.skipped),
        seed=settings.seed,
        device=settings.device,
        replicas=settings.replicas,
        precision=settings.precision,
        machine=platform.machine(),
        processor=devices.processor(settings.device),
        versions={name: version(name) for name in VERSIONED_PACKAGES},
    )


def _why_not_finite(model: nn.Module, trained: bool) -> str:
    """Why the outputs of a model are not finite, with the first tensor that is the cause."""
    bad = bad_values(model.state_dict())
    where = f" {bad[0]} {bad[1]}." if bad else ""
    if trained:
        return f"The training diverged: the loss is not finite.{where} Lower the learning rate."
    if bad:
        return f"The loss is not finite, without any training.{where} Choose another checkpoint."
    return (
        "The loss is not finite, without any training: with these weights, the outputs of the "
        "model are too large. Check that the checkpoint suits the model, the normalization of the "
        "images and the pruning, or train for at least 1 epoch."
    )


def since_baseline(measured: ModelResult, parent: ModelResult) -> ModelResult:
    """The result with the totals since the baseline: those of the parent and its own."""
    return replace(
        measured,
        epochs_total=plain(parent.epochs_total + measured.epochs),
        seconds_total=parent.seconds_total + measured.seconds,
    )


def checkpoint_notes(
    context: Context[BaselineSettings], measured: ModelResult, model: nn.Module, splits: Splits
) -> list[str]:
    """The order of the classes that a user's checkpoint must follow.

    Where the checkpoint itself is the baseline, also another order of its outputs with which it
    would be right, or, where it is no better than chance, the likely reasons. Only validation
    images decide about that.
    """
    settings, source = context.settings, context.row.hints.get("weights", PLAIN_WEIGHTS[0])
    classes = read_result(context.store, context.row.parent, DatasetResult).classes
    is_checkpoint = source not in PLAIN_WEIGHTS
    order = f"Order of the classes: {class_order(classes)}."
    notes = [f"{order} The outputs of the checkpoint must follow it."] if is_checkpoint else []
    if settings.epochs or source == PLAIN_WEIGHTS[0]:
        return notes
    validation, accuracy = splits.validation, measured.validation_accuracy
    if is_checkpoint and accuracy < 1:
        predictions = evaluate(model, validation, settings.data, settings.device).predictions
        if other := other_order(predictions, validation.labels.numpy(), classes):
            return [*notes, other]
    chance = validation.largest_share()
    limit = min(NEAR_CHANCE * chance, chance + NEAR_CHANCE_SHARE * (1 - chance))
    if accuracy > limit:
        return notes
    return [
        *notes,
        f"Without training, the checkpoint classifies {format_percent(accuracy)} of the validation "
        f"images correctly. Always predicting the largest class gives {format_percent(chance)}. "
        "Likely reasons: its classes have another order, its classifier was replaced because the "
        "number of classes differs, or it was trained with another normalization (mean and std), "
        "image size, resize method, first-layer stride or order of the color channels.",
    ]


def other_order(predictions: np.ndarray, labels: np.ndarray, classes: list[str]) -> str:
    """A sentence where the outputs follow another order of the classes; empty where none does.

    `predictions` and `labels` (N,) are those of the validation images. Each output is assigned to
    one class so that most images are right (Kuhn 1955). With few images of each class, that finds
    an order for random outputs too.
    """
    count = len(classes)
    if len(labels) < max(LEAST_IMAGES, ORDER_IMAGES * count):
        return ""
    pairs = np.bincount(labels * count + predictions, minlength=count**2).reshape(count, count)
    rows, outputs = linear_sum_assignment(pairs, maximize=True)
    accuracy, right = pairs.trace() / len(labels), pairs[rows, outputs].sum() / len(labels)
    chance = pairs.sum(1).max() / len(labels)
    if right < max(accuracy + ORDER_GAIN, (1 + chance) / 2):
        return ""
    order = [classes[row] for row in rows[np.argsort(outputs)]]
    width = len(str(count - 1))
    names = ", ".join(f"{number:0{width}}_{name}" for number, name in enumerate(order[:2]))
    alphabetical = " (alphabetical)" if order == sorted(classes) else ""
    return (
        f"The checkpoint classifies {format_percent(accuracy)} of the validation images correctly. "
        f"With its outputs in another order{alphabetical} it would be {format_percent(right)}: "
        f"{class_order(order)}. Name the class folders so that they have this order, such as "
        f"{names}, or change the order in the checkpoint."
    )


def training_notes(state: TrainingState, epochs: float) -> list[str]:
    """Problems in training that did not end it, in sentences; `epochs` were asked for."""
    if epochs and not state.history:
        return [
            f"No batch was trained in this step: {format_epochs(epochs)} are less than one batch "
            "of the training images. Epochs are rounded to whole batches over all steps together."
        ]
    if not (skipped := int(state.skipped)):
        return []
    steps = "1 training step was" if skipped == 1 else f"{skipped:,} training steps were"
    return [f"{steps} skipped because of gradients that were not finite."]


def _test_digest(context: Context[ModelSettings], splits: Splits) -> str:
    """Identifies the test images and their order: only models with equal digests are compared."""
    stage = context.store.settings(context.row.parent)
    while stage["kind"] != "dataset":
        stage = context.store.settings(stage["parent"])
    dataset = restored(DatasetSettings, stage["settings"])
    digest = hashlib.sha256(dataset.digest.encode())
    digest.update(splits.test.indices.tobytes())
    return digest.hexdigest()
