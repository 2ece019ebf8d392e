"""The stages that train the dense baseline and a pruned model.

A stage reads its parents from the store, writes its files into the folder of its context, and
returns its result.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from pruning_core.common.errors import SpecError
from pruning_core.engine.analysis import inspect_model as inspect
from pruning_core.engine.criteria.collect import keep_movement, start_movement
from pruning_core.engine.export import sparse_file
from pruning_core.engine.masks import masks
from pruning_core.engine.masks.cut import cut, idle, restart
from pruning_core.engine.models import devices
from pruning_core.engine.models.build import rebuild
from pruning_core.engine.models.layers import layers
from pruning_core.engine.models.weights import load_weights
from pruning_core.engine.stage_inputs import MASK_FILE, baseline_key, load_model, load_splits
from pruning_core.engine.stage_training import (
    measure_model,
    training_notes,
    training_objective,
    training_plan,
)
from pruning_core.engine.training import checkpoint, rewinding
from pruning_core.engine.training.loss import Objective
from pruning_core.engine.training.state import Trainee, make_optimizer
from pruning_core.engine.training.train import derived_seed, train
from pruning_core.planning.layer_checks import step_notes
from pruning_core.settings.serialization import plain
from pruning_core.storage.stage_context import Context

OPTIMIZER_FILE = "optimizer.pt"


def baseline(context: Context) -> dict[str, Any]:
    """Train the dense model that every pruned model of a seed starts from."""
    settings = context.settings
    devices.prepare(settings["threads"])
    torch.manual_seed(derived_seed(settings["seed"], "weights"))
    model = rebuild(settings["model"], settings["classes"], settings["data"]["image_size"])
    notes = _load_initial_weights(model, context)
    model = devices.place(model, settings["device"])
    epochs = settings["epochs"]
    plan = training_plan(settings, settings["data"], (0, epochs), "baseline", 0)
    trainee = Trainee(
        model, make_optimizer(model, settings["train"]), precision=settings["precision"]
    )
    trainee.objective = Objective(settings["train"]["label_smoothing"])
    start_movement(trainee, settings)
    splits = load_splits(context.store, context.row.parent, settings["data"])
    train(trainee, splits, plan, context.cache.checkpoint(context.row.key), context.progress)
    keep_movement(trainee, context.folder)
    if "keep_epoch" in settings:
        sparse_file.save(trainee.kept, context.folder / rewinding.KEPT_FILE)
    all_layers = {"layers": "all", "exclude": []}
    result = measure_model(context, trainee, splits, settings["data"], all_layers)
    notes += training_notes(trainee)
    return {**result, "notes": notes, "epochs_total": 0, "seconds_total": 0.0}


def pruned(context: Context) -> dict[str, Any]:
    """Prune the parent's model to a target sparsity, and train it afterwards."""
    settings, store = context.settings, context.store
    root = baseline_key(store, context.row.parent)
    base, parent = store.settings(root)["settings"], store.read(context.row.parent)
    devices.prepare(settings["threads"])
    model = devices.place(load_model(store, context.row.parent, base), settings["device"])
    splits = load_splits(store, store.settings(root)["parent"], base["data"])
    step = cut(model, context, splits, base)
    chosen = step.masks
    restart(model, chosen, context, root, base)
    trainee = Trainee(
        model, make_optimizer(model, settings["train"]), chosen, settings["precision"]
    )
    trainee.objective = training_objective(context, root, base)
    start_movement(trainee, settings)
    _load_optimizer(trainee, context)
    lr_span = (settings["lr_from_epoch"], settings["lr_epochs"])
    plan = training_plan(settings, base["data"], lr_span, "level", parent["epochs_total"])
    plan = replace(plan, lr_start=rewinding.share_done(settings["recovery"], base))
    train(trainee, splits, plan, context.cache.checkpoint(context.row.key), context.progress)
    chosen = trainee.masks or chosen
    masks.save(chosen.kept, context.folder / MASK_FILE)
    if settings["keep_optimizer"]:
        content = checkpoint.serialized(trainee.optimizer.state_dict())
        (context.folder / OPTIMIZER_FILE).write_bytes(content)
    keep_movement(trainee, context.folder)
    result = measure_model(context, trainee, splits, base["data"], settings["pruning"])
    notes = [
        *step_notes(layers(model), settings["pruning"], float(settings["target"])),
        *idle(chosen),
        *training_notes(trainee),
        *rewinding.notes(settings["recovery"], base),
    ]
    return {
        **result,
        "epochs_total": plain(parent["epochs_total"] + result["epochs"]),
        "seconds_total": parent["seconds_total"] + result["seconds"],
        "notes": notes,
        "returned": step.returned,
    }


def _load_initial_weights(model: nn.Module, context: Context) -> list[str]:
    """Load the initial weights. Returns notes; raises `SpecError` if the file has changed."""
    settings, source = context.settings["model"], context.row.hints["weights"]
    notes = load_weights(model, source, settings["name"], context.cache.downloads)
    identity = inspect.weights_identity(source, settings["name"], context.cache.downloads)
    if identity != settings["weights"]:
        raise SpecError(
            "model.weights",
            "{source} has changed since it was inspected. Start the run again.",
            source=source,
        )
    return notes


def _load_optimizer(trainee: Trainee, context: Context) -> None:
    """Continue with the parent's optimizer state, cleared for the weights that are now pruned.

    A stage that starts its own learning-rate schedule keeps its new optimizer.
    """
    if context.settings["lr_from_epoch"] == 0:
        return
    path = context.store.file(context.row.parent, OPTIMIZER_FILE)
    state = torch.load(path, map_location=context.settings["device"], weights_only=True)
    trainee.optimizer.load_state_dict(state)
    if trainee.masks:
        trainee.masks.clear_state(trainee.optimizer)
