"""The stage that removes channels and trains afterwards, and its dry run."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from pruning_core.engine.criteria.calibration import calibration_images
from pruning_core.engine.data.loading import Splits
from pruning_core.engine.masks.masks import Masks
from pruning_core.engine.masks.pruning_step import initial_masks
from pruning_core.engine.models import devices
from pruning_core.engine.models.build import build
from pruning_core.engine.models.layers import sparsities
from pruning_core.engine.models.macs import macs
from pruning_core.engine.stage_inputs import baseline_of, load_model, splits_of_baseline
from pruning_core.engine.stage_training import (
    freeze_weights,
    measure_model,
    since_baseline,
    training_notes,
    training_objective,
    training_plan,
)
from pruning_core.engine.structured import removed_channels, widths
from pruning_core.engine.structured.groups import Group, trace, unprunable_layers
from pruning_core.engine.structured.importance import ImportanceInputs
from pruning_core.engine.structured.removed_channels import RemovedChannels
from pruning_core.engine.structured.width_plan import (
    ModelSize,
    SizeEstimator,
    WidthPlan,
    plan_widths,
    remove_channels,
)
from pruning_core.engine.training.optimizers import make_optimizer
from pruning_core.engine.training.rewinding import (
    initial_weights,
    rewinding_notes,
    schedule_start,
)
from pruning_core.engine.training.state import TrainingState
from pruning_core.engine.training.train import derived_seed, train
from pruning_core.methods.channel_importance import CHANNEL_IMPORTANCES, STRUCTURED_TARGETS
from pruning_core.planning.inspection_types import InspectGroupsResult, InspectGroupsSettings
from pruning_core.planning.model_types import (
    BaselineSettings,
    ModelResult,
    StructuredResult,
    StructuredSettings,
)
from pruning_core.planning.stage import read_result
from pruning_core.planning.stage_kinds import STAGE_KINDS
from pruning_core.planning.structured_notes import (
    counted_against_dense,
    example_notes,
    partition_notes,
    removal_note,
    unprunable_notes,
)
from pruning_core.storage.stage_context import Context

Result = dict[str, Any]


def structured(context: Context[StructuredSettings]) -> StructuredResult:
    """Remove channels of the parent until a share of the dense baseline is removed, and train.

    Final fine-tuning removes nothing. Zeros are counted against the dense baseline: a removed
    weight counts as zero.
    """
    settings, store = context.settings, context.store
    root, base = baseline_of(store, context.row.parent)
    parent = read_result(store, context.row.parent, ModelResult)
    devices.prepare(threads=1)
    splits = splits_of_baseline(store, root, base)
    dense = load_model(store, root, base)
    model, zeros, notes = _pruned_model(dense, context, splits, root, base)
    kept = Masks(dict(model.named_parameters()), zeros) if zeros else None
    if kept:
        kept.multiply()
    freeze_weights(model, settings.recovery)
    optimizer = make_optimizer(model, settings.train)
    state = TrainingState(model, optimizer, kept, settings.precision)
    state.objective = training_objective(context, root, base)
    schedule = (settings.lr_from_epoch, settings.lr_epochs)
    lr_start = schedule_start(settings.recovery, base)
    epochs = parent.epochs_total
    plan = training_plan(settings, base.data, schedule, "structured", epochs, lr_start)
    train(state, splits, plan, context.cache.checkpoint(context.row.key), context.progress)
    pruning, image_size = settings.pruning, base.data["image_size"]
    measured = measure_model(context, state, splits, base.data, pruning)
    dense_counts = sparsities(dense, pruning["layers"], pruning["exclude"])
    result = replace(
        counted_against_dense(since_baseline(measured, parent), dense_counts),
        notes=[
            *notes,
            *training_notes(state, settings.epochs),
            *rewinding_notes(settings.recovery, base),
        ],
    )
    return StructuredResult(
        **vars(result),
        own_parameters=measured.parameters,
        macs=macs(model, image_size),
        dense_macs=macs(dense, image_size),
    )


def _pruned_model(
    dense: nn.Module,
    context: Context[StructuredSettings],
    splits: Splits,
    root: str,
    base: BaselineSettings,
) -> tuple[nn.Module, dict[str, torch.Tensor], list[str]]:
    """The model with the weights from which it trains, and notes on the removed channels.

    Between them the masks (O, I, *K) of remaining weights that were zero in the initial weights.
    """
    settings, store = context.settings, context.store
    model = devices.place(load_model(store, context.row.parent, base), settings.device)
    removed: RemovedChannels = {}
    notes: list[str] = []
    if settings.removal:
        plan, size = _remove(model, dense, context, splits, base)
        removed, notes = plan.removed, _notes(plan, size, model, settings)
    # Removed channels change the shapes, but no value of a remaining weight.
    remaining = dict(model.named_parameters())
    zeros = {name: remaining[name].detach() != 0 for name in initial_masks(store, root)}
    removed = removed_channels.total_removed(_removed_before(context), removed)
    removed_channels.write(removed, context.folder)
    if (weights := initial_weights(context, root, base)) is not None:
        rewound = load_model(store, root, base)
        image_size = base.data["image_size"]
        model = removed_channels.rewound_model(model, rewound, weights, removed, image_size)
    widths.write(model, context.folder)
    return devices.place(model, settings.device), zeros, notes


def _removed_before(context: Context[StructuredSettings]) -> RemovedChannels:
    """The channels that earlier steps removed; none where the parent is the baseline."""
    parent, store = context.row.parent, context.store
    if not STAGE_KINDS[store.settings(parent)["kind"]].removes_channels:
        return {}
    return removed_channels.read(store.file(parent, removed_channels.FILE))


def _remove(
    model: nn.Module,
    dense: nn.Module,
    context: Context[StructuredSettings],
    splits: Splits,
    base: BaselineSettings,
) -> tuple[WidthPlan, ModelSize]:
    """Remove channels of a model, in place. Returns the plan and the size of the dense model."""
    settings, image_size = context.settings, base.data["image_size"]
    context.progress.say(0.0, "Scoring the channels")
    removal = {**settings.removal, "target": settings.target}
    inputs = _importance_inputs(model, settings, splits, base)
    scorer = CHANNEL_IMPORTANCES.load(removal["channel_importance"])(inputs)
    size, dense_widths = dense_size(dense, image_size)
    graph = trace(model, image_size)
    plan = plan_widths(model, graph, removal, image_size, scorer, size, dense_widths)
    remove_channels(model, graph, plan)
    return plan, size


def dense_size(dense: nn.Module, image_size: int) -> tuple[ModelSize, dict[str, int]]:
    """The size of a model before the first pruning step, and the widths of its groups by name."""
    groups = trace(dense, image_size).groups
    size, _ = SizeEstimator(dense, groups, image_size).size({})
    return size, {group.name: group.width for group in groups}


def _importance_inputs(
    model: nn.Module, settings: StructuredSettings, splits: Splits, base: BaselineSettings
) -> ImportanceInputs:
    removal = settings.removal
    seed = derived_seed(settings.seed, "channels", settings.target)
    generator = torch.Generator().manual_seed(seed)
    if not _uses_images(removal):
        return ImportanceInputs(model, generator=generator)
    batch, count = settings.train["batch_size"], removal["calibration_images"]
    images = calibration_images(settings, splits, base.data, count, batch)
    return ImportanceInputs(model, images, generator)


def _uses_images(removal: Result) -> bool:
    return CHANNEL_IMPORTANCES[removal["channel_importance"]].uses_images


def _notes(
    plan: WidthPlan, dense: ModelSize, model: nn.Module, settings: StructuredSettings
) -> list[str]:
    ratio_of, target = settings.removal["ratio_of"], float(settings.target)
    pairs = {name: (getattr(plan.after, name), getattr(dense, name)) for name in STRUCTURED_TARGETS}
    return [
        removal_note(ratio_of, target, plan.after.share_removed(dense, ratio_of), pairs),
        *partition_notes([group.parts for group in plan.groups], settings.removal["round_to"]),
        *unprunable_notes(unprunable_layers(model, plan.groups)),
    ]


def inspect_groups(context: Context[InspectGroupsSettings]) -> InspectGroupsResult:
    """The dependency groups, which layers cannot be pruned, and what each ratio would keep.

    The model has random weights, so an importance that uses images is replaced by the L2 norm.
    """
    settings = context.settings
    devices.prepare(threads=1)
    torch.manual_seed(0)
    image_size, removal = settings.image_size, settings.removal
    model = build(settings.model, settings.classes, image_size).eval()
    graph = trace(model, image_size)
    name = "magnitude_l2" if _uses_images(removal) else removal["channel_importance"]
    inputs = ImportanceInputs(model, generator=torch.Generator().manual_seed(0))
    scorer = CHANNEL_IMPORTANCES.load(name)(inputs)
    plans = {
        ratio: plan_widths(model, graph, {**removal, "target": ratio}, image_size, scorer)
        for ratio in settings.ratios
    }
    first = next(iter(plans.values()))
    parts = [group.parts for group in first.groups]
    return InspectGroupsResult(
        groups=[_group_row(group, plans) for group in first.groups],
        unprunable=[
            {"layer": layer, "reason": reason}
            for layer, reason in unprunable_layers(model, first.groups).items()
        ],
        dense={name: getattr(first.before, name) for name in STRUCTURED_TARGETS},
        kept=[
            {
                "amount": float(ratio),
                **{name: getattr(plan.after, name) for name in STRUCTURED_TARGETS},
            }
            for ratio, plan in plans.items()
        ],
        step=math.lcm(removal["round_to"], *parts),
        notes=[*partition_notes(parts, removal["round_to"]), *example_notes(removal["scope"])],
    )


def _group_row(group: Group, plans: dict[Any, WidthPlan]) -> Result:
    """A group with its layers, its channels, and the channels that each ratio would keep."""
    return {
        "group": group.name,
        "layers": list(group.layers),
        "channels": group.width,
        "parts": group.parts,
        "reason": group.reason,
        "kept": [plan.kept.get(group.name, group.width) for plan in plans.values()],
    }
