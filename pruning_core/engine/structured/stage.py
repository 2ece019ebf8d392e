"""The stage that removes channels and trains after it, and the dry run of its cuts."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from pruning_core.engine.criteria.collect import calibration_images
from pruning_core.engine.data.loading import Splits
from pruning_core.engine.masks import masks
from pruning_core.engine.masks.cut import beginning
from pruning_core.engine.models import devices
from pruning_core.engine.models.build import build
from pruning_core.engine.models.macs import macs
from pruning_core.engine.stage_inputs import baseline_key, load_model, load_splits
from pruning_core.engine.stage_training import (
    measure_model,
    training_notes,
    training_objective,
    training_plan,
)
from pruning_core.engine.structured import rewinding as restart
from pruning_core.engine.structured import widths as structure
from pruning_core.engine.structured.cut import Gauge, Plan, Size, apply, plan_cut
from pruning_core.engine.structured.groups import Group, trace, uncut
from pruning_core.engine.structured.importance import Sight
from pruning_core.engine.training import rewinding
from pruning_core.engine.training.state import Trainee, make_optimizer
from pruning_core.engine.training.train import derived_seed, train
from pruning_core.methods.channel_importance import CHANNEL_IMPORTANCES
from pruning_core.planning.structured_notes import (
    counted,
    example_told,
    left_told,
    parts_told,
    uncut_told,
)
from pruning_core.settings.serialization import plain
from pruning_core.storage.stage_context import Context

Result = dict[str, Any]


def structured(context: Context) -> Result:
    """A cut of the parent's channels to a share of the dense baseline, and the training after it.

    A tail cuts nothing. Zeros are counted against the dense baseline: what was removed is gone.
    """
    settings, store = context.settings, context.store
    root = baseline_key(store, context.row.parent)
    base, parent = store.settings(root)["settings"], store.read(context.row.parent)
    devices.prepare(settings["threads"])
    splits = load_splits(store, store.settings(root)["parent"], base["data"])
    dense = load_model(store, root, base)
    model, told = _smaller(dense, context, splits, root, base)
    trainee = Trainee(
        model, make_optimizer(model, settings["train"]), precision=settings["precision"]
    )
    trainee.objective = training_objective(context, root, base)
    chain = (settings["lr_from_epoch"], settings["lr_epochs"])
    plan = training_plan(settings, base["data"], chain, "structured", parent["epochs_total"])
    plan = replace(plan, lr_start=rewinding.share_done(settings["recovery"], base))
    train(trainee, splits, plan, context.cache.checkpoint(context.row.key), context.progress)
    result = measure_model(context, trainee, splits, base["data"], settings["pruning"])
    whole = masks.sparsities(dense, settings["pruning"]["layers"], settings["pruning"]["exclude"])
    size = base["data"]["image_size"]
    return {
        **result,
        **counted(result, whole),
        "own_parameters": result["parameters"],
        "macs": macs(model, size),
        "dense_macs": macs(dense, size),
        "notes": [*told, *training_notes(trainee), *rewinding.notes(settings["recovery"], base)],
        "epochs_total": plain(parent["epochs_total"] + result["epochs"]),
        "seconds_total": parent["seconds_total"] + result["seconds"],
    }


def _smaller(
    dense: nn.Module, context: Context, splits: Splits, root: str, base: Result
) -> tuple[nn.Module, list[str]]:
    """The model that is trained: cut, with the weights to begin with. And what is to be told."""
    settings, store = context.settings, context.store
    model = devices.place(load_model(store, context.row.parent, base), settings["device"])
    made = _cut(model, dense, context, splits, base) if settings["removal"] else None
    gone = restart.total(_gone_before(context), made[0].gone if made else {})
    restart.write(gone, context.folder)
    model = _restarted(model, gone, context, root, base)
    structure.write(model, context.folder)
    told = _notes(made, model, settings) if made else []
    return devices.place(model, settings["device"]), told


def _gone_before(context: Context) -> restart.Gone:
    parent, store = context.row.parent, context.store
    has_gone = store.settings(parent)["kind"] == "structured"
    return restart.read(store.file(parent, restart.FILE)) if has_gone else {}


def _restarted(
    model: nn.Module, gone: restart.Gone, context: Context, root: str, base: Result
) -> nn.Module:
    """The cut model with the weights that the way to recover begins with."""
    state = beginning(context, root, base)
    if state is None:
        return model
    dense = load_model(context.store, root, base)
    return restart.restarted(model, dense, state, gone, base["data"]["image_size"])


def _cut(
    model: nn.Module, dense: nn.Module, context: Context, splits: Splits, base: Result
) -> tuple[Plan, Size]:
    """Take the channels out of the model, in place. Returns the plan and the dense size."""
    settings, size = context.settings, base["data"]["image_size"]
    context.progress.say(0.0, "Scoring the channels")
    how = {**settings["removal"], "target": settings["target"]}
    scorer = CHANNEL_IMPORTANCES.load(how["channel_importance"])(
        _sight(model, context, splits, base)
    )
    whole, widths = dense_size(dense, size)
    graph = trace(model, size)
    made = plan_cut(model, graph, how, size, scorer, whole, widths)
    apply(model, graph, made)
    return made, whole


def dense_size(dense: nn.Module, image_size: int) -> tuple[Size, dict[str, int]]:
    """How large the model is before the first cut, and the widths of its groups."""
    groups = trace(dense, image_size).groups
    size, _ = Gauge(dense, groups, image_size).size({})
    return size, {group.name: group.width for group in groups}


def _sight(model: nn.Module, context: Context, splits: Splits, base: Result) -> Sight:
    settings, how = context.settings, context.settings["removal"]
    seed = derived_seed(settings["seed"], "channels", settings["target"])
    generator = torch.Generator().manual_seed(seed)
    if not _uses_images(how):
        return Sight(model, generator=generator)
    batch, count = settings["train"]["batch_size"], how["calibration_images"]
    return Sight(model, calibration_images(context, splits, base["data"], count, batch), generator)


def _notes(made: tuple[Plan, Size], model: nn.Module, settings: Result) -> list[str]:
    plan, whole = made
    of, asked = settings["removal"]["ratio_of"], float(settings["target"])
    pairs = {name: (getattr(plan.after, name), getattr(whole, name)) for name in SIZES}
    return [
        left_told(of, asked, plan.after.share_gone(whole, of), pairs),
        *parts_told([group.parts for group in plan.groups], settings["removal"]["round_to"]),
        *uncut_told(uncut(model, plan.groups)),
    ]


def _uses_images(removal: Result) -> bool:
    return CHANNEL_IMPORTANCES[removal["channel_importance"]].uses_images


SIZES = ("channels", "parameters", "macs", "bytes")


def inspect_groups(context: Context) -> Result:
    """The coupled groups, what cannot be cut and why, and what each amount would leave."""
    settings = context.settings
    devices.prepare(threads=1)
    torch.manual_seed(0)
    size = settings["image_size"]
    model = build(settings["model"], settings["classes"], size).eval()
    graph, how = trace(model, size), settings["removal"]
    name = "magnitude_l2" if _uses_images(how) else how["channel_importance"]
    scorer = CHANNEL_IMPORTANCES.load(name)(
        Sight(model, generator=torch.Generator().manual_seed(0))
    )
    plans = {
        amount: plan_cut(model, graph, {**how, "target": amount}, size, scorer)
        for amount in settings["ratios"]
    }
    found = next(iter(plans.values()))
    return {
        "groups": [_row(model, group, plans) for group in found.groups],
        "uncut": [
            {"layer": name, "reason": why} for name, why in uncut(model, found.groups).items()
        ],
        "dense": {name: getattr(found.before, name) for name in SIZES},
        "left": [
            {"amount": float(amount), **{name: getattr(plan.after, name) for name in SIZES}}
            for amount, plan in plans.items()
        ],
        "step": math.lcm(how["round_to"], *(group.parts for group in found.groups)),
        "notes": [
            *parts_told([group.parts for group in found.groups], how["round_to"]),
            *example_told(how["scope"]),
        ],
    }


def _row(model: nn.Module, group: Group, plans: dict[str, Plan]) -> Result:
    """A group with its layers, its channels, and those that each amount would leave."""
    return {
        "group": group.name,
        "layers": list(group.layers),
        "channels": group.width,
        "parts": group.parts,
        "reason": group.reason,
        "left": [plan.kept.get(group.name, group.width) for plan in plans.values()],
    }
