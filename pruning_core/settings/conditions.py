"""When settings have an effect, as predicates over a whole spec.

The command line's note "has no effect", the disabled widget of a page and the key of a stage all
ask the same condition. A condition takes a `Spec`, typed as `Any` because the settings that the
spec holds name their conditions.
"""

from __future__ import annotations

from typing import Any

from pruning_core.methods.allocation import ALLOCATIONS
from pruning_core.methods.channel_importance import CHANNEL_IMPORTANCES
from pruning_core.methods.criteria import CRITERIA, IMAGES, needs
from pruning_core.methods.recovery import RECOVERY_METHODS
from pruning_core.methods.sparsity_schedules import CUSTOM, SPARSITY_SCHEDULES
from pruning_core.settings.fields import Condition

GROUP = "dependency_group"


def regrows(spec: Any) -> bool:
    """Whether the iterative run regrows weights by their gradient."""
    schedule = SPARSITY_SCHEDULES[spec.iterative.schedule]
    return bool(spec.iterative.enabled and schedule.regrowth)


def scores_channels(spec: Any) -> bool:
    """Whether channels are scored: by structured pruning, or by a sensitivity analysis."""
    groups = spec.sensitivity.enabled and spec.sensitivity.unit == GROUP
    return bool(spec.structured.enabled or groups)


def uses_calibration_images(spec: Any) -> bool:
    """Whether a criterion, RigL or a channel importance looks at calibration images."""
    importance = CHANNEL_IMPORTANCES[spec.structured.channel_importance]
    channels = scores_channels(spec) and importance.uses_images
    return bool(regrows(spec) or channels or needs(spec.pruning.criterion, IMAGES))


def joins_by_norm(spec: Any) -> bool:
    """Whether the scores of a filter are joined by the Lp norm.

    Those of magnitude are; so are the gradients by which RigL regrows filters.
    """
    filters = spec.pruning.granularity == "filter"
    return filters and (CRITERIA[spec.pruning.criterion].join == "norm" or regrows(spec))


def trains_after_pruning(spec: Any) -> bool:
    """Whether an epoch follows a pruning step; the dense control has no teacher."""
    chains = (spec.iterative, spec.structured)
    chained = any(c.enabled and (c.epochs > 0 or c.final_epochs > 0) for c in chains)
    return chained or (spec.one_shot.epochs > 0 and any(spec.one_shot.amounts))


def uses_finetune_schedule(spec: Any) -> bool:
    """Whether fine-tuning's own learning rates are used, not the baseline's.

    Rewinding uses the baseline's; final fine-tuning always uses its own.
    """
    final = (c.enabled and c.final_epochs > 0 for c in (spec.iterative, spec.structured))
    return spec.recovery.method == "fine_tuning" or any(final)


ITERATIVE = Condition(lambda spec: spec.iterative.enabled, "with iterative pruning")
STRUCTURED = Condition(lambda spec: spec.structured.enabled, "with structured pruning")
SENSITIVITY = Condition(lambda spec: spec.sensitivity.enabled, "with the sensitivity analysis")
CORRECTION = Condition(lambda spec: spec.correction.enabled, "with training-free correction")
SCHEDULED = Condition(
    lambda spec: spec.iterative.schedule != CUSTOM, "with a sparsity schedule other than custom"
)
CUSTOM_SCHEDULE = Condition(
    lambda spec: spec.iterative.schedule == CUSTOM, "with the custom sparsity schedule"
)
MIN_DENSITY = Condition(
    lambda spec: ALLOCATIONS[spec.pruning.allocation].min_density,
    "with the allocations global, ERK and LAMP",
)
CUSTOM_ALLOCATION = Condition(
    lambda spec: spec.pruning.allocation == "custom", "with the custom allocation"
)
FILTERS = Condition(
    lambda spec: spec.pruning.granularity == "filter", "with the granularity filter"
)
FILTER_NORM = Condition(
    joins_by_norm,
    "with the granularity filter, by the criterion magnitude and by RigL",
)
CALIBRATION = Condition(
    uses_calibration_images,
    "by criteria and channel importances that use images, and by RigL",
)
CHANNEL_SCORES = Condition(
    scores_channels,
    "with structured pruning, and by the sensitivity analysis of dependency groups",
)
REWINDS = Condition(
    lambda spec: RECOVERY_METHODS[spec.recovery.method].rewinds,
    "by learning-rate rewinding and weight rewinding",
)
TRAINS = Condition(trains_after_pruning, "where training follows a pruning step")
DISTILLS = Condition(
    lambda spec: spec.recovery.distillation_weight > 0 and trains_after_pruning(spec),
    "with a distillation weight above 0, where training follows a pruning step",
)
SEVERAL_STEPS = Condition(
    lambda spec: spec.iterative.enabled or spec.structured.enabled,
    "with iterative or structured pruning",
)
FINETUNE_SCHEDULE = Condition(
    uses_finetune_schedule, "with fine-tuning as recovery method, and by final fine-tuning"
)
