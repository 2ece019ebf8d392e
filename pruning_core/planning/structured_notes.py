"""Sentences on structured pruning, and sparsities that count removed weights as zeros."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace

from pruning_core.common.formatting import (
    format_count,
    format_percent,
    join_first,
)
from pruning_core.methods.channel_importance import STRUCTURED_TARGETS
from pruning_core.planning.inspection_types import InspectGroupsResult
from pruning_core.planning.model_types import ModelResult

COUNTED = "Removed weights count as zeros, relative to the dense baseline."


def counted_against_dense(model: ModelResult, dense: Mapping[str, int]) -> ModelResult:
    """The result with counts against the dense model: removed weights count as zeros.

    `dense` holds the counts of the dense model by their names in a `ModelResult`.
    """
    return replace(
        model,
        prunable=dense["prunable"],
        prunable_zeros=dense["prunable"] - (model.prunable - model.prunable_zeros),
        weights=dense["weights"],
        weights_zeros=dense["weights"] - (model.weights - model.weights_zeros),
        parameters=dense["parameters"],
    )


def removal_note(
    ratio_of: str, target: float, reached: float, sizes: Mapping[str, tuple[float, float]]
) -> str:
    """The pruning ratio that a step reached, and the sizes that remain.

    `sizes` holds for each of `STRUCTURED_TARGETS` the size after the step and the dense size.
    """
    remaining = [_of(name, after, dense) for name, (after, dense) in sizes.items()]
    return (
        f"Removed {format_percent(reached, 1)} of the "
        f"{STRUCTURED_TARGETS[ratio_of].noun} (target {format_percent(target, 1)}). Remaining: "
        f"{'; '.join(remaining)}. {COUNTED}"
    )


def dry_run_notes(dry_run: InspectGroupsResult) -> list[str]:
    """The sizes after each ratio, the number of groups, and the layers that cannot be pruned."""
    sizes = [
        f"A pruning ratio of {format_percent(row['amount'])} keeps "
        + "; ".join(_of(name, row[name], dry_run.dense[name]) for name in STRUCTURED_TARGETS)
        + "."
        for row in dry_run.kept
    ]
    groups = f"{groups_note(dry_run)} The Tune page lists the layers and widths of each group."
    unprunable = unprunable_notes({row["layer"]: row["reason"] for row in dry_run.unprunable})
    return [*sizes, *dry_run.notes, groups, *unprunable]


def groups_note(dry_run: InspectGroupsResult) -> str:
    """How many dependency groups can lose channels, and how many layers cannot."""
    prunable = sum(not group["reason"] for group in dry_run.groups)
    return (
        f"{format_count(prunable, 'dependency group')} can lose channels; "
        f"{format_count(len(dry_run.unprunable), 'layer')} cannot."
    )


def _of(name: str, size: float, dense: float) -> str:
    unit = STRUCTURED_TARGETS[name]
    noun = "" if unit.writes_unit else f" {unit.noun}"
    return f"{unit.format(size)} of {unit.format(dense)}{noun}"


def partition_notes(parts: Iterable[int], round_to: int) -> list[str]:
    """Notes on layers whose channels come in parts: attention heads, grouped convolutions."""
    return [
        f"Layers with {part} attention heads or convolution groups lose the same number of "
        f"channels in each, so their widths are multiples of {math.lcm(part, round_to)}."
        for part in sorted(set(parts) - {1})
    ]


def example_notes(scope: str) -> list[str]:
    """A note on the widths of a dry run where the scores decide about them."""
    if scope == "local":
        return []
    return [
        "With the global scope, the scores of the trained model decide how many channels each "
        "layer loses. The widths of the dry run are an example with random weights."
    ]


def unprunable_notes(reasons: Mapping[str, str]) -> list[str]:
    """Which layers keep all their output channels, a sentence for each reason.

    `reasons` holds the reason of each layer, by the name of the layer.
    """
    layers: dict[str, list[str]] = {}
    for layer, reason in reasons.items():
        layers.setdefault(reason, []).append(layer)
    return [
        f"Not pruned: {join_first(names, 'layer')}; {reason}." for reason, names in layers.items()
    ]
