"""The pruning step at the start of a stage: which weights it removes, and its batch norm.

A filter of zeros outputs 0, but the batch norm after it would turn that into its bias, a constant
that passes on through the network. With weight and bias of batch norm at zero too, the channel is
0 and can be removed later (see `structured.fold`).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pruning_core.common.errors import SpecError
from pruning_core.common.formatting import format_count
from pruning_core.engine.criteria.calibration import inputs_for_pruning, inputs_for_regrowth
from pruning_core.engine.data.loading import Splits
from pruning_core.engine.masks.compensation import CompensatedStep
from pruning_core.engine.masks.masks import Masks, compute_masks, empty_layers, load
from pruning_core.engine.masks.regrowth import drop_and_grow, growth_scores
from pruning_core.engine.models.layers import convolution_groups, weights
from pruning_core.engine.models.traced_layers import traced_layers
from pruning_core.engine.stage_inputs import MASK_FILE, baseline_key, baseline_settings
from pruning_core.methods.criteria import CRITERIA
from pruning_core.planning.layer_checks import layer_collapse
from pruning_core.planning.model_types import BaselineSettings, PrunedSettings
from pruning_core.planning.stage import Stage
from pruning_core.results.budget_allocation import least_loss_sparsities
from pruning_core.results.sensitivity import sensitivity_frame, sparsity_texts
from pruning_core.storage.stage_context import Context
from pruning_core.storage.store import Store

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class PruningStep:
    """The masks from now on, and how many weights that were pruned before returned.

    `seconds` is the time of a criterion that compensates, with its scoring, and `notes` say what
    its compensation left out; 0 and empty for other criteria.
    """

    masks: Masks
    returned: int
    seconds: float
    notes: list[str]


def prune(
    model: nn.Module, context: Context[PrunedSettings], splits: Splits, base: BaselineSettings
) -> PruningStep:
    """Prune a model in place as the stage's settings say; `base` are those of its baseline.

    Raises `SpecError` where nothing would remain of a layer, and `StageError` where the criterion
    cannot score the model.
    """
    settings, initial = context.settings, initial_masks(context.store, context.row.parent)
    # Zeros of the initial weights stay, also where the target is below their share.
    pruning = {**settings.pruning, "keep_zeros": True} if initial else settings.pruning
    if settings.sensitivity:
        pruning = _allocated(pruning, context, settings.sensitivity)
    criterion, target = CRITERIA[pruning["criterion"]], float(settings.target)
    prunable = weights(model, pruning["layers"], pruning["exclude"])
    previous = _previous_masks(context) or initial
    context.progress.say(0.0, "Scoring the weights")
    started = time.perf_counter()
    inputs = inputs_for_pruning(model, context, splits, base)
    scores = CRITERIA.load(pruning["criterion"])(inputs)
    groups = convolution_groups(model)
    masks = compute_masks(scores, target, pruning, initial if settings.dense else previous, groups)
    if empty := empty_layers(masks):
        raise layer_collapse("pruning.min_density", empty, target, pruning)
    if settings.regrowth is not None:
        growth = growth_scores(inputs_for_regrowth(model, settings, splits, base))
        # A score of 0 is never grown.
        growth |= {n: growth[n] * m.to(growth[n]) for n, m in initial.items() if n in growth}
        masks = drop_and_grow(masks, scores, growth, settings.regrowth, pruning, groups)
    # A unit that stays, such as a filter, may hold single weights that were zero.
    masks |= {n: masks[n] & m.to(masks[n].device) for n, m in initial.items() if n in masks}
    others = {name: mask for name, mask in initial.items() if name not in masks}
    norm_masks: Tensors = {}
    if settings.norms is not None:
        norm_masks = norms_of_zero_filters(model, masks, base.data["image_size"])
    notes: list[str] = []
    if criterion.compensation:
        step = CompensatedStep(inputs, pruning, target, previous, initial, norm_masks)
        masks, notes = step.run(model, masks, others, context.progress)
    applied = Masks({**dict(model.named_parameters()), **prunable}, masks, {**norm_masks, **others})
    applied.multiply()
    seconds = time.perf_counter() - started if criterion.compensation else 0.0
    returned = (masks[n].cpu() & ~mask.cpu() for n, mask in previous.items() if n in masks)
    count = sum(int(torch.count_nonzero(mask)) for mask in returned)
    return PruningStep(applied, count, seconds, notes)


def _allocated(
    pruning: dict[str, Any], context: Context[PrunedSettings], sensitivity: Sequence[str]
) -> dict[str, Any]:
    """The settings of pruning with the sparsities of the layers that a sensitivity analysis gives.

    Raises `SpecError` where the analysis does not reach the target.
    """
    stages = [Stage(**context.store.settings(key)) for key in sensitivity]
    analysis = sensitivity_frame(stages, context.store)
    try:
        allocation = least_loss_sparsities(analysis, float(context.settings.target))
    except SpecError as error:
        raise error.for_field("pruning.allocation") from None
    return {**pruning, "allocation": "custom", "layer_sparsities": list(sparsity_texts(allocation))}


def initial_masks(store: Store, key: str) -> Tensors:
    """The masks (O, I, *K) of the zeros in the initial weights that a stage descends from.

    Empty where the initial weights had none.
    """
    root = baseline_key(store, key)
    return load(store.file(root, MASK_FILE)) if baseline_settings(store, root).keep_zeros else {}


def _previous_masks(context: Context[PrunedSettings]) -> Tensors:
    """The masks of the pruning step before; none where that is the baseline."""
    parent, store = context.row.parent, context.store
    has_masks = store.settings(parent)["kind"] == "pruned"
    return load(store.file(parent, MASK_FILE)) if has_masks else {}


def norms_of_zero_filters(model: nn.Module, masks: Tensors, image_size: int) -> Tensors:
    """Masks (O,) of weight and bias of batch norms, False where all of the filter is pruned.

    `masks` are those of the weights (O, I, *K) by name. A batch norm after a layer without a
    zero filter gets no mask.
    """
    device = next(model.parameters()).device
    names = {module: name for name, module in model.named_modules()}
    norm_masks: Tensors = {}
    for layer in traced_layers(model, torch.zeros(1, 3, image_size, image_size, device=device)):
        if layer.norm is None or not layer.norm.affine or layer.weight_name not in masks:
            continue
        remaining = masks[layer.weight_name].flatten(1).any(1)
        if not bool(remaining.all()):
            name = names[layer.norm]
            norm_masks |= {f"{name}.weight": remaining, f"{name}.bias": remaining.clone()}
    return norm_masks


def surviving_zeros(masks: Masks) -> list[str]:
    """A note on remaining weights that are zero after training; empty where there are none."""
    zeros = sum(
        int(torch.count_nonzero(mask.cpu() & (masks.weights[name].detach().cpu() == 0)))
        for name, mask in masks.weight_masks.items()
    )
    if not zeros:
        return []
    return [
        f"{format_count(zeros, 'remaining weight')} got no gradient in training and stayed zero, "
        "so the sparsity is higher than the target."
    ]
