"""What each kind of stage does. A stage reads its parents from the store and returns a result."""

from __future__ import annotations

import hashlib
import json
import math
import platform
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import torch
from torch import nn

from pruning_core.engine.analysis import inspect_model as inspect
from pruning_core.engine.analysis.layer_statistics import portraits
from pruning_core.engine.analysis.predictions import inspect_answers
from pruning_core.engine.analysis.stages import (
    decode,
    inspect_data,
    inspect_model,
    inspect_overlap,
    scan,
)
from pruning_core.engine.correction.stage import rung
from pruning_core.engine.criteria.collect import keep_movement, start_movement
from pruning_core.engine.data.loading import Splits
from pruning_core.engine.export import sparse_file
from pruning_core.engine.export.bundle.stage import passport
from pruning_core.engine.export.file_sizes import measure
from pruning_core.engine.export.stage import artifact
from pruning_core.engine.latency.latency import latency
from pruning_core.engine.latency.sparse_speedup import crossover
from pruning_core.engine.masks import masks
from pruning_core.engine.masks.cut import cut, idle, restart
from pruning_core.engine.models import devices
from pruning_core.engine.models.build import rebuild
from pruning_core.engine.models.layers import layers
from pruning_core.engine.models.weights import load_weights
from pruning_core.engine.stage_inputs import MASK_FILE, MODEL_FILE, parent_model, root_of, splits_of
from pruning_core.engine.structured.stage import Ways, inspect_structure, structured
from pruning_core.engine.training import checkpoint, rewinding
from pruning_core.engine.training.evaluate import evaluate
from pruning_core.engine.training.loss import Objective, as_teacher
from pruning_core.engine.training.state import Trainee, make_optimizer
from pruning_core.engine.training.train import Training, derived_seed, train
from pruning_core.planning.layer_checks import told
from pruning_core.results.layers import FILE as PORTRAITS
from pruning_core.settings.serialization import plain
from pruning_core.settings.spec import SpecError
from pruning_core.storage.stage_context import Context, StageError

OPTIMIZER_FILE = "optimizer.pt"


def baseline(context: Context) -> dict[str, Any]:
    """The dense model that every level of a comparison starts from."""
    settings = context.settings
    devices.prepare(settings["threads"])
    torch.manual_seed(derived_seed(settings["seed"], "weights"))
    model = rebuild(settings["model"], settings["classes"], settings["data"]["image_size"])
    notes = _load(model, context)
    model = devices.place(model, settings["device"])
    epochs = settings["epochs"]
    plan = _training(settings, settings["data"], (0, epochs), "baseline", 0)
    trainee = Trainee(
        model, make_optimizer(model, settings["train"]), precision=settings["precision"]
    )
    trainee.objective = Objective(settings["train"]["label_smoothing"])
    start_movement(trainee, settings)
    splits = splits_of(context.store, context.row.parent, settings["data"])
    train(trainee, splits, plan, context.cache.checkpoint(context.row.key), context.progress)
    keep_movement(trainee, context.folder)
    if "keep_epoch" in settings:
        sparse_file.save(trainee.kept, context.folder / rewinding.KEPT_FILE)
    result = _finish(context, trainee, splits, settings["data"], {"layers": "all", "spare": []})
    notes += _troubles(trainee)
    return {**result, "notes": notes, "epochs_total": 0, "seconds_total": 0.0}


def level(context: Context) -> dict[str, Any]:
    """A cut of the parent to an absolute sparsity, and the training after it."""
    settings, store = context.settings, context.store
    root = root_of(store, context.row.parent)
    base, parent = store.settings(root)["settings"], store.read(context.row.parent)
    devices.prepare(settings["threads"])
    model = devices.place(parent_model(store, context.row.parent, base), settings["device"])
    splits = splits_of(store, store.settings(root)["parent"], base["data"])
    made = cut(model, context, splits, base)
    chosen = made.masks
    restart(model, chosen, context, root, base)
    trainee = Trainee(
        model, make_optimizer(model, settings["train"]), chosen, settings["precision"]
    )
    trainee.objective = _objective(context, root, base)
    start_movement(trainee, settings)
    _take_optimizer(trainee, context)
    chain = (settings["lr_from_epoch"], settings["lr_epochs"])
    plan = _training(settings, base["data"], chain, "level", parent["epochs_total"])
    plan = replace(plan, lr_start=rewinding.share_done(settings["recovery"], base))
    train(trainee, splits, plan, context.cache.checkpoint(context.row.key), context.progress)
    chosen = trainee.masks or chosen
    masks.save(chosen.kept, context.folder / MASK_FILE)
    if settings["keep_optimizer"]:
        content = checkpoint.serialized(trainee.optimizer.state_dict())
        (context.folder / OPTIMIZER_FILE).write_bytes(content)
    keep_movement(trainee, context.folder)
    result = _finish(context, trainee, splits, base["data"], settings["prune"])
    spent = {
        "epochs": plain(parent["epochs_total"] + result["epochs"]),
        "seconds": parent["seconds_total"] + result["seconds"],
    }
    known = told(layers(model), settings["prune"], float(settings["target"]))
    notes = [
        *known,
        *idle(chosen),
        *_troubles(trainee),
        *rewinding.notes(settings["recovery"], base),
    ]
    totals = {f"{name}_total": value for name, value in spent.items()}
    return {**result, **totals, "notes": notes, "returned": made.returned}


RUNNERS: dict[str, Callable[[Context], dict[str, Any]]] = {
    "inspect_data": inspect_data,
    "inspect_model": inspect_model,
    "data": decode,
    "baseline": baseline,
    "level": level,
    "scan": scan,
    "rung": lambda context: rung(context, _finish),
    "inspect_overlap": inspect_overlap,
    "inspect_answers": inspect_answers,
    "artifact": artifact,
    "passport": passport,
    "latency": latency,
    "crossover": crossover,
    "structured": lambda context: structured(context, WAYS),
    "inspect_structure": inspect_structure,
}


def _load(model: nn.Module, context: Context) -> list[str]:
    settings, source = context.settings["model"], context.row.hints["weights"]
    notes = load_weights(model, source, settings["name"], context.cache.downloads)
    found = inspect.loaded_identity(source, settings["name"], context.cache.downloads)
    if found != settings["weights"]:
        message = f"{source} has changed since it was inspected. Start the run again."
        raise SpecError("model.weights", message)
    return notes


def _objective(context: Context, root: str, base: dict[str, Any]) -> Objective:
    """A level's loss; its teacher, where there is one, is the baseline."""
    settings, recovery = context.settings, context.settings["recovery"]
    smoothing = settings["train"]["label_smoothing"]
    if "distill_weight" not in recovery:
        return Objective(smoothing)
    teacher = devices.place(parent_model(context.store, root, base), settings["device"])
    weight, temperature = recovery["distill_weight"], recovery["distill_temperature"]
    return Objective(smoothing, as_teacher(teacher), weight, temperature)


def _take_optimizer(trainee: Trainee, context: Context) -> None:
    """Go on with the parent's optimizer state, without that of the weights now removed."""
    if context.settings["lr_from_epoch"] == 0:
        return
    path = context.store.file(context.row.parent, OPTIMIZER_FILE)
    state = torch.load(path, map_location=context.settings["device"], weights_only=True)
    trainee.optimizer.load_state_dict(state)
    if trainee.masks:
        trainee.masks.clear_state(trainee.optimizer)


def _training(
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


def _finish(
    context: Context,
    trainee: Trainee,
    splits: Splits,
    images: dict[str, Any],
    prune: dict[str, Any],
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
    (context.folder / PORTRAITS).write_text(json.dumps(portraits(model)))
    return {
        **test.figures(),
        "validation_accuracy": learned,
        "validation_images": len(splits.validation),
        "test_digest": _test_digest(context, splits),
        **masks.sparsities(model, prune["layers"], prune["spare"]),
        **measure(model, context.folder / MODEL_FILE),
        "epochs": settings["epochs"],
        "seconds": trainee.seconds,
        "history": trainee.history,
        "parts": trainee.parts,
        "skipped": int(trainee.skipped),
        **_circumstances(settings),
    }


def _troubles(trainee: Trainee) -> list[str]:
    """What went wrong in training without ending it, in sentences."""
    if not (skipped := int(trainee.skipped)):
        return []
    return [f"{skipped} training steps were left out, their gradients were not finite."]


WAYS: Ways = Ways(_objective, _training, _finish, _troubles)


def _test_digest(context: Context, splits: Splits) -> str:
    """Stands for the test images and their order: only equal ones can be compared."""
    found = context.store.settings(context.row.parent)
    while found["kind"] != "data":
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
