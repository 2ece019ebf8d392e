"""The stages that train nothing: what there is of images and models, and what a cut would do."""

from __future__ import annotations

from typing import Any

from pruning_core.engine import data, devices, inspect, sensitivity, sparse_file
from pruning_core.engine.criteria import CRITERIA
from pruning_core.engine.criteria.gathering import for_scan
from pruning_core.engine.evaluate import evaluate
from pruning_core.engine.layers import weights
from pruning_core.engine.parents import MODEL_FILE, parent_model, splits_of
from pruning_core.engine.portraits import overlap
from pruning_core.granularity import units
from pruning_core.layer_views import portraits as layer_portraits
from pruning_core.worker.context import Context


def inspect_data(context: Context) -> dict[str, Any]:
    """Classes, counts and the digest of a data set's content."""
    say = context.progress.say
    return data.inspect(context.settings, context.row.hints, context.cache.downloads, say)


def inspect_model(context: Context) -> dict[str, Any]:
    """Layers, notes on loading, and this machine's speed."""
    devices.prepare(threads=1)
    return inspect.inspect_model(
        context.settings, context.row.hints["weights"], context.cache.downloads
    )


def decode(context: Context) -> dict[str, Any]:
    """The images as arrays of bytes, decoded once."""
    folder, downloads = context.folder, context.cache.downloads
    hints, say = context.row.hints, context.progress.say
    return data.decode(context.settings, hints, folder, downloads, say)


def scan(context: Context) -> dict[str, Any]:
    """How much one layer of the baseline bears, without training."""
    settings, store = context.settings, context.store
    base = store.settings(context.row.parent)["settings"]
    devices.prepare(settings["threads"])
    model = devices.place(parent_model(store, context.row.parent, base), settings["device"])
    name = settings["layer"]
    weight = weights(model, "all")[name]
    splits = splits_of(store, store.settings(context.row.parent)["parent"], base["data"])
    images = splits.validation.sample(settings["images"], settings["seed"])
    evidence = for_scan({name: weight}, model, context, splits, base)
    scores = CRITERIA[settings["criterion"]](evidence)
    rows = sensitivity.curve(
        name,
        weight,
        scores[name],
        settings["sparsities"],
        chance=float(images.labels.bincount().max()) / len(images),
        look=lambda: evaluate(model, images, base["data"], settings["device"]),
        prune={**sensitivity.WEIGHTS, **settings},
    )
    pieces = units(weight.shape, {**sensitivity.WEIGHTS, **settings})
    return {"size": weight.numel(), "pieces": pieces, "rows": rows, "notes": []}


def inspect_overlap(context: Context) -> dict[str, Any]:
    """How far two finished models keep the same weights."""
    keys = context.settings["first"], context.settings["second"]
    first, second = (sparse_file.load(context.store.file(key, MODEL_FILE)) for key in keys)
    names = {layer["name"] for layer in layer_portraits(context.store, keys[0])}
    layers = {n: first[n] for n in first if n in names}
    other = [n for n, value in layers.items() if n in second and second[n].shape != value.shape]
    told = f"{len(other)} layers are left out: they have other shapes, for channels were removed."
    return {"rows": overlap(layers, second), "notes": [told] * bool(other)}
