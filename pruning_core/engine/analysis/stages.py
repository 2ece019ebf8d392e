"""The stages that train nothing: what there is of images and models, and what a cut would do."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from pruning_core.engine.analysis import inspect_model as inspect
from pruning_core.engine.analysis import sensitivity as curves
from pruning_core.engine.analysis.group_sensitivity import GroupPruner, make_scorer
from pruning_core.engine.analysis.layer_statistics import mask_overlap
from pruning_core.engine.analysis.sensitivity import accuracy_curve, layer_curve
from pruning_core.engine.criteria.collect import for_scan
from pruning_core.engine.data import dataset as dataset_
from pruning_core.engine.data import decoding as decoding_
from pruning_core.engine.data.loading import Splits
from pruning_core.engine.export import sparse_file
from pruning_core.engine.models import devices
from pruning_core.engine.models.layers import weights
from pruning_core.engine.stage_inputs import MODEL_FILE, load_model, load_splits
from pruning_core.engine.training.evaluate import Evaluation, evaluate
from pruning_core.methods.criteria import CRITERIA
from pruning_core.methods.granularity import units
from pruning_core.results.layers import portraits as layer_portraits
from pruning_core.settings.conditions import GROUP
from pruning_core.storage.stage_context import Context


def inspect_dataset(context: Context) -> dict[str, Any]:
    """Classes, counts and the digest of a data set's content."""
    say = context.progress.say
    return dataset_.inspect_dataset(
        context.settings, context.row.hints, context.cache.downloads, say
    )


def inspect_model(context: Context) -> dict[str, Any]:
    """Layers, notes on loading, and this machine's speed."""
    devices.prepare(threads=1)
    return inspect.inspect_model(
        context.settings, context.row.hints["weights"], context.cache.downloads
    )


def decode_dataset(context: Context) -> dict[str, Any]:
    """The images as arrays of bytes, decoded once."""
    folder, downloads = context.folder, context.cache.downloads
    hints, say = context.row.hints, context.progress.say
    return decoding_.decode_dataset(context.settings, hints, folder, downloads, say)


def sensitivity(context: Context) -> dict[str, Any]:
    """How much one layer of the baseline, or one coupled group, bears without training."""
    settings, store = context.settings, context.store
    base = store.settings(context.row.parent)["settings"]
    devices.prepare(settings["threads"])
    model = devices.place(load_model(store, context.row.parent, base), settings["device"])
    splits = load_splits(store, store.settings(context.row.parent)["parent"], base["data"])
    images = splits.validation.sample(settings["images"], settings["seed"])
    chance = float(images.labels.bincount().max()) / len(images)

    def look(model: nn.Module) -> Evaluation:
        return evaluate(model, images, base["data"], settings["device"])

    seen = _Baseline(model, chance, look, context, splits, base)
    return _scan_group(seen) if settings.get("unit") == GROUP else _scan_layer(seen)


@dataclass(frozen=True)
class _Baseline:
    """What is scanned: how to look at a model, and the accuracy of naming the largest class."""

    model: nn.Module
    chance: float
    look: Callable[[nn.Module], Evaluation]
    context: Context
    splits: Splits
    base: dict[str, Any]


def _scan_layer(seen: _Baseline) -> dict[str, Any]:
    settings, model = seen.context.settings, seen.model
    name = settings["layer"]
    weight = weights(model, "all")[name]
    evidence = for_scan({name: weight}, model, seen.context, seen.splits, seen.base)
    scores = CRITERIA.load(settings["criterion"])(evidence)[name]
    pruning, steps = {**curves.WEIGHTS, **settings}, settings["sparsities"]
    look = functools.partial(seen.look, model)
    rows = layer_curve(name, weight, scores, steps, seen.chance, look, pruning)
    pieces = units(weight.shape, pruning)
    return {"size": weight.numel(), "pieces": pieces, "rows": rows, "notes": []}


def _scan_group(seen: _Baseline) -> dict[str, Any]:
    settings, size = seen.context.settings, seen.base["data"]["image_size"]
    scorer = make_scorer(seen.model, seen.context, seen.splits, seen.base)
    cuts = GroupPruner(seen.model, settings["layer"], size, scorer)
    steps = settings["sparsities"]
    rows = accuracy_curve(cuts.cut, steps, seen.chance, lambda: seen.look(cuts.now))
    width = cuts.ranked.width
    return {"size": width, "pieces": width, "of": "channels", "rows": rows, "notes": []}


def mask_overlap(context: Context) -> dict[str, Any]:
    """How far two finished models keep the same weights."""
    keys = context.settings["first"], context.settings["second"]
    first, second = (sparse_file.load(context.store.file(key, MODEL_FILE)) for key in keys)
    names = {layer["name"] for layer in layer_portraits(context.store, keys[0])}
    layers = {n: first[n] for n in first if n in names}
    other = [n for n, value in layers.items() if n in second and second[n].shape != value.shape]
    told = f"{len(other)} layers are left out: they have other shapes, for channels were removed."
    return {"rows": mask_overlap(layers, second), "notes": [told] * bool(other)}
