"""The cut that a level begins with, and the weights that its training begins with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pruning_core.common.formatting import format_count
from pruning_core.engine.criteria.collect import for_growth, for_level
from pruning_core.engine.data.loading import Splits
from pruning_core.engine.export import sparse_file
from pruning_core.engine.masks import masks
from pruning_core.engine.masks.dead_norms import norms_of_dead
from pruning_core.engine.masks.regrowth import exchange, growth
from pruning_core.engine.models.layers import weights
from pruning_core.engine.stage_inputs import MASK_FILE
from pruning_core.engine.training import rewinding
from pruning_core.engine.training.train import derived_seed
from pruning_core.methods.criteria import CRITERIA
from pruning_core.methods.recovery import RECOVERY_METHODS
from pruning_core.planning.layer_checks import layer_collapse
from pruning_core.storage.stage_context import Context

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Cut:
    """The masks from here on, and how many of the weights that were removed before are back."""

    masks: masks.Masks
    returned: int


def cut(model: nn.Module, context: Context, splits: Splits, base: dict[str, Any]) -> Cut:
    """Remove what the level's settings ask for; `base` are the settings of its baseline.

    Raises `SpecError` where nothing would be left of a layer.
    """
    settings = context.settings
    pruning, target = settings["pruning"], float(settings["target"])
    found = weights(model, pruning["layers"], pruning["exclude"])
    previous = _previous(context)
    context.progress.say(0.0, "Scoring the weights")
    scores = CRITERIA.load(pruning["criterion"])(for_level(model, context, splits, base))
    kept = masks.choose(scores, target, pruning, {} if settings.get("dense") else previous)
    if dead := masks.empty_layers(kept):
        raise layer_collapse("pruning.min_density", dead, target, pruning)
    if "regrowth" in settings:
        slopes = growth(for_growth(model, context, splits, base))
        kept = exchange(kept, scores, slopes, settings["regrowth"], pruning)
    held = norms_of_dead(model, kept, base["data"]["image_size"]) if "norms" in settings else {}
    own = dict(model.named_parameters())
    chosen = masks.Masks({**own, **found}, kept, held)
    chosen.multiply()
    return Cut(chosen, _returned(previous, kept))


def _previous(context: Context) -> Tensors:
    """The masks of the level before; none where that is the baseline."""
    parent, store = context.row.parent, context.store
    has_masks = store.settings(parent)["kind"] == "pruned"
    return masks.load(store.file(parent, MASK_FILE)) if has_masks else {}


def _returned(previous: Tensors, kept: Tensors) -> int:
    return sum(int(torch.count_nonzero(kept[n].cpu() & ~mask)) for n, mask in previous.items())


def idle(chosen: masks.Masks) -> list[str]:
    """After the training: how many weights that stay are zero all the same, in a sentence."""
    pairs = ((chosen.weights[name].detach().cpu(), m.cpu()) for name, m in chosen.kept.items())
    if not (zeros := sum(int(torch.count_nonzero(mask & (weight == 0))) for weight, mask in pairs)):
        return []
    return [
        f"Zero without having been removed: {format_count(zeros, 'weight')}, which no gradient "
        "reached. So more is sparse than was asked for."
    ]


def restart(
    model: nn.Module, chosen: masks.Masks, context: Context, root: str, base: dict[str, Any]
) -> None:
    """Before training: the weights that the way to recover begins with."""
    rewinding.restart(model, chosen, beginning(context, root, base))


def beginning(context: Context, root: str, base: dict[str, Any]) -> rewinding.State | None:
    """The dense weights that the way to recover begins with; None where they stay as they are."""
    settings, store = context.settings, context.store
    seed = derived_seed(settings["seed"], "new weights", settings["target"])
    sources = rewinding.Sources(
        kept=lambda: sparse_file.load(store.file(root, rewinding.KEPT_FILE)),
        drawn=lambda: rewinding.draw(base, seed),
    )
    state: rewinding.State | None = RECOVERY_METHODS.load(settings["recovery"]["method"])(sources)
    return state
