"""What the stages that train share: the loss, the training plan, and measuring the model."""

from __future__ import annotations

import hashlib
import json
import math
import platform
from importlib.metadata import version
from typing import Any

from pruning_core.engine.analysis.layer_statistics import layer_statistics
from pruning_core.engine.data.loading import Splits
from pruning_core.engine.export.file_sizes import save_and_measure
from pruning_core.engine.masks import masks
from pruning_core.engine.models import devices
from pruning_core.engine.stage_inputs import MODEL_FILE, load_model
from pruning_core.engine.training.evaluate import evaluate
from pruning_core.engine.training.loss import Objective, as_teacher
from pruning_core.engine.training.state import Trainee
from pruning_core.engine.training.train import Training
from pruning_core.results.layers import FILE as PORTRAITS
from pruning_core.storage.stage_context import Context, StageError


def training_objective(context: Context, root: str, base: dict[str, Any]) -> Objective:
    """A level's loss; its teacher, where there is one, is the baseline."""
    settings, recovery = context.settings, context.settings["recovery"]
    smoothing = settings["train"]["label_smoothing"]
    if "distillation_weight" not in recovery:
        return Objective(smoothing)
    teacher = devices.place(load_model(context.store, root, base), settings["device"])
    weight, temperature = recovery["distillation_weight"], recovery["distillation_temperature"]
    return Objective(smoothing, as_teacher(teacher), weight, temperature)


def training_plan(
    settings: dict[str, Any],
    images: dict[str, Any],
    chain: tuple[float, float],
    role: str,
    first_epoch: float,
) -> Training:
    return Training(
        settings=settings["train"],
        data=images,
        epochs=settings["epochs"],
        lr_from_epoch=chain[0],
        lr_epochs=chain[1],
        seed=settings["seed"],
        role=role,
        first_epoch=first_epoch,
        device=settings["device"],
        keep_epoch=settings.get("keep_epoch"),
    )


def measure_model(
    context: Context,
    trainee: Trainee,
    splits: Splits,
    images: dict[str, Any],
    pruning: dict[str, Any],
) -> dict[str, Any]:
    """Look at the test images, once, and write and measure the files."""
    context.progress.say(1.0, "Measuring")
    settings, model = context.settings, trainee.model
    learned = trainee.history[-1]["accuracy"] if trainee.history else None
    if learned is None:
        learned = evaluate(model, splits.validation, images, settings["device"]).accuracy
    test = evaluate(model, splits.test, images, settings["device"])
    if not math.isfinite(test.loss):
        raise StageError("The training diverged: the loss is not finite. Lower the learning rate.")
    (context.folder / PORTRAITS).write_text(json.dumps(layer_statistics(model)))
    return {
        **test.figures(),
        "validation_accuracy": learned,
        "validation_images": len(splits.validation),
        "test_digest": _test_digest(context, splits),
        **masks.sparsities(model, pruning["layers"], pruning["exclude"]),
        **save_and_measure(model, context.folder / MODEL_FILE),
        "epochs": settings["epochs"],
        "seconds": trainee.seconds,
        "history": trainee.history,
        "parts": trainee.parts,
        "skipped": int(trainee.skipped),
        **_circumstances(settings),
    }


def training_notes(trainee: Trainee) -> list[str]:
    """What went wrong in training without ending it, in sentences."""
    if not (skipped := int(trainee.skipped)):
        return []
    return [f"{skipped} training steps were left out, their gradients were not finite."]


def _test_digest(context: Context, splits: Splits) -> str:
    """Stands for the test images and their order: only equal ones can be compared."""
    found = context.store.settings(context.row.parent)
    while found["kind"] != "dataset":
        found = context.store.settings(found["parent"])
    seen = hashlib.sha256(found["settings"]["digest"].encode())
    seen.update(splits.test.indices.tobytes())
    return seen.hexdigest()


def _circumstances(settings: dict[str, Any]) -> dict[str, Any]:
    names = ("torch", "torchvision", "numpy")
    return {
        "seed": settings["seed"],
        "device": settings["device"],
        "threads": settings["threads"],
        "precision": settings["precision"],
        "machine": platform.machine(),
        "versions": {name: version(name) for name in names},
    }
