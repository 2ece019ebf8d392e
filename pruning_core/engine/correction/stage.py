"""A rung as a stage: it climbs from the rung below and is measured as every other point is."""

from __future__ import annotations

import time
from typing import Any

import torch

from pruning_core.common.formatting import format_count
from pruning_core.engine.correction.corrections import Climb
from pruning_core.engine.criteria.sample import draw
from pruning_core.engine.data.loading import Splits
from pruning_core.engine.masks import masks
from pruning_core.engine.models import devices
from pruning_core.engine.models.batch_norm import reestimate
from pruning_core.engine.stage_inputs import MASK_FILE, baseline_key, load_model, load_splits
from pruning_core.engine.stage_training import measure_model
from pruning_core.engine.training.state import Trainee, make_optimizer
from pruning_core.engine.training.train import derived_seed
from pruning_core.methods.corrections import CORRECTIONS
from pruning_core.settings.serialization import to_dict
from pruning_core.settings.training import TrainSpec
from pruning_core.storage.stage_context import Context

# Of images of 64x64 pixels; of larger ones fewer, so that the maps of a batch fit in memory.
BATCH, PIXELS, BATCH_AT_LEAST = 64, 64 * 64, 8
Result = dict[str, Any]


def correction(context: Context) -> Result:
    """One rung above the parent. `finish` measures a model and writes its file."""
    settings, store = context.settings, context.store
    root, parent = baseline_key(store, context.row.parent), store.read(context.row.parent)
    base = store.settings(root)["settings"]
    devices.prepare(settings["threads"])
    splits = load_splits(store, store.settings(root)["parent"], base["data"])
    kept = masks.load(store.file(context.row.parent, MASK_FILE))
    climb = _climb(context, root, base, splits, kept)
    begun = time.perf_counter()
    notes = CORRECTIONS.load(settings["correction"])(climb)
    trainee = Trainee(climb.pruned, make_optimizer(climb.pruned, to_dict(TrainSpec())))
    trainee.seconds = time.perf_counter() - begun
    masks.check(dict(climb.pruned.named_parameters()), kept)
    masks.save(kept, context.folder / MASK_FILE)
    result = measure_model(context, trainee, splits, base["data"], settings["pruning"])
    seconds = parent["seconds_total"] + result["seconds"]
    return {
        **result,
        "notes": [*_fewer(settings["images"], len(splits.train)), *notes],
        "epochs_total": parent["epochs_total"],
        "seconds_total": seconds,
    }


def _climb(
    context: Context, root: str, base: Result, splits: Splits, kept: dict[str, torch.Tensor]
) -> Climb:
    """The two models and the sample, which is the same on all rungs of a seed."""
    settings, store, device = context.settings, context.store, context.settings["device"]
    seed = derived_seed(settings["seed"], "correction")
    pruned, dense = (
        devices.place(load_model(store, key, base), device).eval()
        for key in (context.row.parent, root)
    )
    batch = max(BATCH_AT_LEAST, min(BATCH, BATCH * PIXELS // base["data"]["image_size"] ** 2))

    def settle() -> None:
        generator = torch.Generator().manual_seed(seed)
        data, count = base["data"], settings["images"]
        reestimate(pruned, splits.train, data, device, count, BATCH, generator)

    return Climb(
        pruned,
        dense,
        draw(splits.train, settings["images"], seed, base["data"], batch, device),
        kept,
        settle,
        seed,
        lambda part: context.progress.say(part, "Correcting layer by layer"),
    )


def _fewer(asked: int, there: int) -> list[str]:
    """A note where there are not as many training images as asked for."""
    if asked <= there:
        return []
    images = format_count(there, "training image")
    return [f"The ladder took all {images}; {asked:,} were asked for."]
