"""The stages that train the dense baseline and a pruned model.

A stage reads its parents from the store, writes its files into the folder of its context, and
returns its result.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from pruning_core.common.errors import SpecError
from pruning_core.engine.analysis import inspect_model as inspect
from pruning_core.engine.criteria.calibration import record_movement, save_movement
from pruning_core.engine.export import sparse_file
from pruning_core.engine.masks import masks
from pruning_core.engine.masks.masks import Masks
from pruning_core.engine.masks.pruning_step import initial_masks, prune, surviving_zeros
from pruning_core.engine.models import devices
from pruning_core.engine.models.build import rebuild
from pruning_core.engine.models.layers import layers
from pruning_core.engine.models.weights import head_keys, load_weights
from pruning_core.engine.stage_inputs import (
    MASK_FILE,
    baseline_of,
    load_model,
    load_splits,
    splits_of_baseline,
)
from pruning_core.engine.stage_training import (
    checkpoint_notes,
    freeze_weights,
    measure_model,
    since_baseline,
    training_notes,
    training_objective,
    training_plan,
)
from pruning_core.engine.training import checkpoint, rewinding
from pruning_core.engine.training.loss import Objective
from pruning_core.engine.training.optimizers import make_optimizer
from pruning_core.engine.training.rewinding import (
    initial_weights,
    rewinding_notes,
    schedule_start,
    set_weights,
)
from pruning_core.engine.training.state import TrainingState
from pruning_core.engine.training.train import derived_seed, train
from pruning_core.planning.layer_checks import step_notes, zeros_notes
from pruning_core.planning.model_types import (
    BaselineResult,
    BaselineSettings,
    ModelResult,
    PrunedResult,
    PrunedSettings,
)
from pruning_core.planning.stage import read_result
from pruning_core.storage.stage_context import Context

OPTIMIZER_FILE = "optimizer.pt"
RANDOM_HEAD_NOTE = (
    "With 0 baseline epochs nothing trains the new classifier: it stays random, and the baseline "
    "is no better than chance. Give the baseline at least 1 epoch, or a checkpoint with these "
    "classes."
)


def baseline(context: Context[BaselineSettings]) -> BaselineResult:
    """Train the dense model that every pruned model of a seed starts from."""
    settings = context.settings
    devices.prepare(threads=1)
    torch.manual_seed(derived_seed(settings.seed, "weights"))
    model = rebuild(settings.model, settings.classes, settings.data["image_size"])
    notes = _load_initial_weights(model, context)
    zeros = masks.zero_masks(model) if settings.keep_zeros else {}
    model = devices.place(model, settings.device)
    epochs = settings.epochs
    plan = training_plan(settings, settings.data, (0, epochs), "baseline", 0)
    kept = Masks(dict(model.named_parameters()), zeros) if zeros else None
    state = TrainingState(model, make_optimizer(model, settings.train), kept, settings.precision)
    state.objective = Objective(settings.train["label_smoothing"])
    record_movement(state, settings.keep_movement)
    splits = load_splits(context.store, context.row.parent, settings.data)
    train(state, splits, plan, context.cache.checkpoint(context.row.key), context.progress)
    save_movement(state, context.folder)
    if zeros:
        masks.save(zeros, context.folder / MASK_FILE)
    if settings.keep_epoch is not None:
        sparse_file.save(state.kept_weights, context.folder / rewinding.KEPT_FILE)
    all_layers = {"layers": "all", "exclude": []}
    measured = measure_model(context, state, splits, settings.data, all_layers)
    notes += [
        *checkpoint_notes(context, measured, state.model, splits),
        *training_notes(state, epochs),
    ]
    chance = splits.validation.largest_share()
    return BaselineResult(**vars(replace(measured, notes=notes)), chance=chance)


def pruned(context: Context[PrunedSettings]) -> PrunedResult:
    """Prune the parent's model to a target sparsity, and train it afterwards."""
    settings, store = context.settings, context.store
    root, base = baseline_of(store, context.row.parent)
    parent = read_result(store, context.row.parent, ModelResult)
    devices.prepare(threads=1)
    model = devices.place(load_model(store, context.row.parent, base), settings.device)
    splits = splits_of_baseline(store, root, base)
    step = prune(model, context, splits, base)
    chosen = step.masks
    set_weights(model, chosen, initial_weights(context, root, base))
    freeze_weights(model, settings.recovery)
    state = TrainingState(model, make_optimizer(model, settings.train), chosen, settings.precision)
    state.objective = training_objective(context, root, base)
    record_movement(state, settings.keep_movement)
    _load_optimizer(state, context)
    lr_span = (settings.lr_from_epoch, settings.lr_epochs)
    lr_start = schedule_start(settings.recovery, base)
    plan = training_plan(settings, base.data, lr_span, "level", parent.epochs_total, lr_start)
    train(state, splits, plan, context.cache.checkpoint(context.row.key), context.progress)
    state.seconds += step.seconds
    chosen = state.masks or chosen
    masks.save(chosen.weight_masks, context.folder / MASK_FILE)
    if settings.keep_optimizer:
        content = checkpoint.serialized(state.optimizer.state_dict())
        (context.folder / OPTIMIZER_FILE).write_bytes(content)
    save_movement(state, context.folder)
    measured = measure_model(context, state, splits, base.data, settings.pruning)
    notes = [
        *step_notes(layers(model), settings.pruning, float(settings.target)),
        *_zeros_notes(model, context),
        *step.notes,
        *surviving_zeros(chosen),
        *training_notes(state, settings.epochs),
        *rewinding_notes(settings.recovery, base),
    ]
    result = replace(since_baseline(measured, parent), notes=notes)
    return PrunedResult(**vars(result), returned=step.returned)


def _zeros_notes(model: nn.Module, context: Context[PrunedSettings]) -> list[str]:
    """A note where more weights were zero in the initial weights than the target asks for."""
    settings, initial = context.settings, initial_masks(context.store, context.row.parent)
    zeros = {name: int((~mask).sum()) for name, mask in initial.items()}
    return zeros_notes(layers(model), settings.pruning, float(settings.target), zeros)


def _load_initial_weights(model: nn.Module, context: Context[BaselineSettings]) -> list[str]:
    """Load the initial weights. Returns notes; raises `SpecError` if the file has changed."""
    spec, source = context.settings.model, context.row.hints["weights"]
    entry = spec.get("weights_entry", "")
    head = {key: model.state_dict()[key].clone() for key in head_keys(spec["name"])}
    notes = load_weights(model, source, spec["name"], context.cache.downloads, entry)
    random_head = all(torch.equal(model.state_dict()[key], value) for key, value in head.items())
    if source != "none" and not context.settings.epochs and random_head:
        notes.append(RANDOM_HEAD_NOTE)
    identity = inspect.weights_identity(source, spec["name"], context.cache.downloads)
    if identity != spec["weights"]:
        raise SpecError(
            "model.weights",
            "{source} has changed since it was inspected. Start the run again.",
            source=source,
        )
    return notes


def _load_optimizer(state: TrainingState, context: Context[PrunedSettings]) -> None:
    """Continue with the parent's optimizer state, cleared for the weights that are now pruned.

    A stage that starts its own learning-rate schedule keeps its new optimizer.
    """
    if context.settings.lr_from_epoch == 0:
        return
    path = context.store.file(context.row.parent, OPTIMIZER_FILE)
    saved = torch.load(path, map_location=context.settings.device, weights_only=True)
    state.optimizer.load_state_dict(saved)
    if state.masks:
        state.masks.clear_state(state.optimizer)
