"""From a stage to the evidence of its cut, and what a stage leaves for the cuts after it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pruning_core.engine.criteria.inputs import Evidence, Tensors
from pruning_core.engine.criteria.sample import Sample, draw
from pruning_core.engine.data.loading import Splits
from pruning_core.engine.masks import masks
from pruning_core.engine.models import devices
from pruning_core.engine.models.layers import weights
from pruning_core.engine.stage_inputs import baseline_key, load_model
from pruning_core.engine.training import checkpoint
from pruning_core.engine.training.movement import Movement
from pruning_core.engine.training.state import Trainee
from pruning_core.engine.training.train import derived_seed
from pruning_core.methods.criteria import BASELINE, IMAGES, MOVEMENT, needs
from pruning_core.methods.granularity import pattern_of
from pruning_core.storage.stage_context import Context

MOVEMENT_FILE = "movement.pt"


def for_level(model: nn.Module, context: Context, splits: Splits, base: dict[str, Any]) -> Evidence:
    """What the criterion of a level looks at; `base` are the settings of its baseline.

    Training images are the same for every cut of a seed, and those of `splits.train` alone.
    """
    settings, pruning = context.settings, context.settings["pruning"]
    target = float(settings["target"])
    if needs(pruning["criterion"], BASELINE):
        dense = load_model(context.store, baseline_key(context.store, context.row.parent), base)
        model = devices.place(dense, settings["device"])
    found = weights(model, pruning["layers"], pruning["exclude"])
    batch = settings["train"]["batch_size"]
    evidence = _evidence(found, model, context, splits, base, {**pruning, "score_batch": batch})
    # An exchange cuts to the same target again, and must not draw the same again.
    again = [settings["regrowth"]] if "regrowth" in settings else []
    seed = derived_seed(settings["seed"], "cut", target, *again)
    # A pattern has one amount, so a cut in steps chooses by it from the first step on.
    fixed = pattern_of(pruning["granularity"]) is not None
    return replace(
        evidence,
        generator=torch.Generator().manual_seed(seed),
        choose=lambda scores, amount: masks.choose(scores, target if fixed else amount, pruning),
        target=target,
    )


def for_growth(
    model: nn.Module, context: Context, splits: Splits, base: dict[str, Any]
) -> Evidence:
    """What decides which removed weights come back: training images, the criteria's own."""
    settings, pruning = context.settings, context.settings["pruning"]
    count, batch = pruning["calibration_images"], settings["train"]["batch_size"]
    sample = calibration_images(context, splits, base["data"], count, batch)
    return Evidence(
        weights(model, pruning["layers"], pruning["exclude"]), model=model, batches=sample
    )


def for_scan(
    found: Tensors, model: nn.Module, context: Context, splits: Splits, base: dict[str, Any]
) -> Evidence:
    """What the criterion of a sensitivity scan looks at, of one layer of the baseline."""
    settings = context.settings
    seed = derived_seed(settings["seed"], settings["layer"])
    evidence = _evidence(found, model, context, splits, base, settings)
    return replace(evidence, generator=torch.Generator().manual_seed(seed))


def _evidence(
    found: Tensors,
    model: nn.Module,
    context: Context,
    splits: Splits,
    base: dict[str, Any],
    how: dict[str, Any],
) -> Evidence:
    """`how` names the criterion and, where it looks at images, how many and in which batches."""
    data, criterion = base["data"], how["criterion"]
    evidence = Evidence(found, model=model, image_size=data["image_size"])
    if needs(criterion, IMAGES):
        sample = calibration_images(
            context, splits, data, how["calibration_images"], how["score_batch"]
        )
        return replace(evidence, batches=sample)
    if needs(criterion, MOVEMENT):
        return replace(evidence, movement=_movement(context))
    return evidence


def calibration_images(
    context: Context, splits: Splits, data: dict[str, Any], count: int, batch: int
) -> Sample:
    """Training images for a criterion or an importance: the same for every cut of a seed."""
    seed = derived_seed(context.settings["seed"], "score images")
    return draw(splits.train, count, seed, data, batch, context.settings["device"])


def _movement(context: Context) -> Tensors:
    path = context.store.file(context.row.parent, MOVEMENT_FILE)
    found: Tensors = torch.load(path, map_location="cpu", weights_only=True)
    return found


def start_movement(trainee: Trainee, settings: dict[str, Any]) -> None:
    """Have the movement of all weights added up, where the settings of the stage ask for it."""
    if settings.get("keep_movement"):
        trainee.movement = Movement(weights(trainee.model, "all"))


def keep_movement(trainee: Trainee, folder: Path) -> None:
    """Write what was added up into the stage's folder."""
    if trainee.movement:
        content = checkpoint.serialized(trainee.movement.total)
        (folder / MOVEMENT_FILE).write_bytes(content)
