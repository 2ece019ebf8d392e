"""When settings have an effect, as predicates over a whole spec.

The command line's note "has no effect", the disabled widget of a page, the key of a stage and the
id of a job use the same condition. A condition takes a `Spec`, typed as `Any` because the classes
that a spec holds name their conditions.
"""

from __future__ import annotations

from typing import Any

from pruning_core.common.files import PLAIN_WEIGHTS
from pruning_core.methods.allocation import ALLOCATIONS
from pruning_core.methods.channel_importance import CHANNEL_IMPORTANCES
from pruning_core.methods.criteria import CRITERIA, IMAGES, needs
from pruning_core.methods.datasets import DATASETS
from pruning_core.methods.devices import NO_GPUS
from pruning_core.methods.recovery import RECOVERY_METHODS
from pruning_core.methods.sensitivity_units import GROUP
from pruning_core.methods.sparsity_schedules import CUSTOM, SPARSITY_SCHEDULES
from pruning_core.methods.strategies import EQUAL_BUDGET, EQUAL_SCHEDULE
from pruning_core.settings.fields import Condition


def chooses_masks(spec: Any) -> bool:
    """Whether weights are pruned by masks: one-shot above sparsity 0, or iteratively."""
    return bool(any(spec.one_shot.amounts) or spec.iterative.enabled)


def allocates_by_losses(spec: Any) -> bool:
    """Whether the sparsities of the layers follow from a sensitivity analysis of the baseline."""
    return chooses_masks(spec) and ALLOCATIONS[spec.pruning.allocation].reads_sensitivity


def analyzes_sensitivity(spec: Any) -> bool:
    """Whether there is a sensitivity analysis: asked for, or needed by the allocation."""
    return bool(spec.sensitivity.enabled or allocates_by_losses(spec))


def analyzes_layers(spec: Any) -> bool:
    """Whether there is a sensitivity analysis of layers, not of dependency groups."""
    return analyzes_sensitivity(spec) and spec.sensitivity.unit != GROUP


def scores_weights(spec: Any) -> bool:
    """Whether weights are scored: for masks, or by a sensitivity analysis of layers."""
    return chooses_masks(spec) or analyzes_layers(spec)


def scores_channels(spec: Any) -> bool:
    """Whether channels are scored: by structured pruning, or by a sensitivity analysis."""
    groups = spec.sensitivity.enabled and spec.sensitivity.unit == GROUP
    return bool(spec.structured.enabled or groups)


def regrows(spec: Any) -> bool:
    """Whether the iterative run regrows weights by their gradient."""
    schedule = SPARSITY_SCHEDULES[spec.iterative.schedule]
    return bool(spec.iterative.enabled and schedule.regrowth)


def uses_calibration_images(spec: Any) -> bool:
    """Whether a criterion, RigL or a channel importance uses calibration images."""
    importance = CHANNEL_IMPORTANCES[spec.structured.channel_importance]
    channels = scores_channels(spec) and importance.uses_images
    weights = scores_weights(spec) and needs(spec.pruning.criterion, IMAGES)
    return bool(regrows(spec) or channels or weights)


def joins_by_norm(spec: Any) -> bool:
    """Whether the scores of a filter are joined by the Lp norm.

    The scores of magnitude are, and the gradients by which RigL regrows filters.
    """
    if spec.pruning.granularity != "filter":
        return False
    norm = CRITERIA[spec.pruning.criterion].join == "norm"
    return bool((norm and scores_weights(spec)) or regrows(spec))


def fine_tunes(spec: Any) -> bool:
    """Whether any model is trained after the baseline; the dense control counts too."""
    one_shot = spec.one_shot.epochs > 0 and spec.one_shot.amounts
    return bool(one_shot or any(map(_trains, (spec.iterative, spec.structured))))


def trains_after_pruning(spec: Any) -> bool:
    """Whether training follows a pruning step; the dense control is not pruned."""
    one_shot = spec.one_shot.epochs > 0 and any(spec.one_shot.amounts)
    return bool(one_shot or any(map(_trains, (spec.iterative, spec.structured))))


def _trains(chain: Any) -> bool:
    return bool(chain.enabled and (chain.epochs > 0 or chain.final_epochs > 0))


def final_fine_tunes(spec: Any) -> bool:
    """Whether a run ends with final fine-tuning."""
    return any(c.enabled and c.final_epochs > 0 for c in (spec.iterative, spec.structured))


def uses_fine_tuning_schedule(spec: Any) -> bool:
    """Whether a model is trained with the learning-rate schedule and warm-up of fine-tuning.

    Rewinding uses those of the baseline. Final fine-tuning has a cosine of its own, unless one
    schedule spans the whole run; one-shot with an equal budget has no final fine-tuning.
    """
    if RECOVERY_METHODS[spec.recovery.method].baseline_schedule:
        return False
    if spec.lr_schedule_span == "run" or not final_fine_tunes(spec):
        return fine_tunes(spec)
    steps = any(c.enabled and c.epochs > 0 for c in (spec.iterative, spec.structured))
    one_shot = spec.one_shot.epochs > 0 and spec.one_shot.amounts
    controls = budget_controls(spec) and _trains(spec.iterative)
    return bool(steps or one_shot or controls)


def restarts_schedule(spec: Any) -> bool:
    """Whether the iterative run has other learning rates than one-shot with an equal budget."""
    return bool(
        spec.lr_schedule_span != "run" and _spans(spec.iterative, spec.iterative.iterations)
    )


def budget_controls(spec: Any) -> list[str]:
    """The strategies that prune once and have the training budget of the iterative run."""
    chain = spec.iterative
    controls = [EQUAL_BUDGET] * chain.equal_budget
    controls += [EQUAL_SCHEDULE] * (chain.equal_schedule and restarts_schedule(spec))
    return controls if chain.enabled else []


def rewinds(spec: Any) -> bool:
    """Whether an epoch of the baseline's training is used again.

    With weight rewinding the baseline keeps the weights of that epoch, pruned models or not: a
    sensitivity analysis of a run then shares the baseline of the run.
    """
    method = RECOVERY_METHODS[spec.recovery.method]
    models = spec.one_shot.amounts or spec.iterative.enabled or spec.structured.enabled
    return bool(method.rewinds and (method.restarts or models))


def has_several_steps(spec: Any) -> bool:
    """Whether a learning-rate schedule could span several trainings.

    Those are several pruning steps with fine-tuning, or final fine-tuning after a step.
    """
    return _spans(spec.iterative, spec.iterative.iterations) or _spans(
        spec.structured, spec.structured.steps
    )


def _spans(chain: Any, steps: int) -> bool:
    return bool(chain.enabled and (chain.final_epochs > 0 or (chain.epochs > 0 and steps > 1)))


CHECKPOINT = Condition(
    lambda spec: spec.model.weights not in PLAIN_WEIGHTS, "with a checkpoint file"
)
USER_IMAGES = Condition(lambda spec: DATASETS[spec.data.name].user_images, "with your own images")
ONE_SHOT = Condition(lambda spec: bool(spec.one_shot.amounts), "with one-shot sparsities")
ITERATIVE = Condition(lambda spec: spec.iterative.enabled, "with iterative pruning")
STRUCTURED = Condition(lambda spec: spec.structured.enabled, "with structured pruning")
SENSITIVITY = Condition(
    analyzes_sensitivity, "with the sensitivity analysis, or with the allocation by a budget"
)
LAYER_SENSITIVITY = Condition(analyzes_layers, "with the sensitivity analysis of layers")
CORRECTION = Condition(lambda spec: spec.correction.enabled, "with training-free correction")
SCHEDULED = Condition(
    lambda spec: spec.iterative.schedule != CUSTOM, "with a sparsity schedule other than custom"
)
MASKS = Condition(chooses_masks, "with one-shot sparsities above 0 or iterative pruning")
SCORES = Condition(
    scores_weights,
    "with one-shot sparsities above 0, iterative pruning or the sensitivity analysis of layers",
)
ANY_SCORES = Condition(
    lambda spec: scores_weights(spec) or scores_channels(spec),
    "with pruning or the sensitivity analysis",
)
BASELINE_EPOCHS = Condition(lambda spec: spec.baseline_epochs > 0, "with baseline epochs above 0")
MIN_DENSITY = Condition(
    lambda spec: chooses_masks(spec) and ALLOCATIONS[spec.pruning.allocation].min_density,
    "with the allocations global, ERK or LAMP",
)
CUSTOM_ALLOCATION = Condition(
    lambda spec: chooses_masks(spec) and ALLOCATIONS[spec.pruning.allocation].layer_sparsities,
    "with the custom allocation",
)
FILTERS = Condition(
    lambda spec: scores_weights(spec) and spec.pruning.granularity == "filter",
    "with the granularity filter",
)
FILTER_NORM = Condition(
    joins_by_norm,
    "with the granularity filter, for magnitude scores and for regrowth by RigL",
)
CALIBRATION = Condition(
    uses_calibration_images,
    "by criteria and channel importances that use images, and by RigL",
)
CHANNEL_SCORES = Condition(
    scores_channels,
    "with structured pruning or the sensitivity analysis of dependency groups",
)
REWINDS = Condition(rewinds, "by learning-rate rewinding and weight rewinding")
TRAINS = Condition(trains_after_pruning, "if training follows a pruning step")
DISTILLS = Condition(
    lambda spec: spec.recovery.distillation_weight > 0 and trains_after_pruning(spec),
    "with a distillation weight above 0, if training follows a pruning step",
)
RESTARTS_SCHEDULE = Condition(
    restarts_schedule,
    "with an iterative run of several fine-tuned steps or with final fine-tuning, unless one "
    "learning-rate schedule spans the whole run",
)
SEVERAL_STEPS = Condition(
    has_several_steps, "with several fine-tuned pruning steps or final fine-tuning"
)
FINE_TUNES = Condition(fine_tunes, "with fine-tuning epochs above 0")
FINE_TUNES_ON_CPU = Condition(
    lambda spec: fine_tunes(spec) and spec.device in NO_GPUS,
    "with fine-tuning epochs above 0, on a CPU",
)
TRAINS_BASELINE_ON_CPU = Condition(
    lambda spec: spec.baseline_epochs > 0 and spec.device in NO_GPUS,
    "with baseline epochs above 0, on a CPU",
)
FINE_TUNING_LR = Condition(
    # Rewinding uses the baseline's learning rates; final fine-tuning always its own.
    lambda spec: (
        final_fine_tunes(spec)
        or (not RECOVERY_METHODS[spec.recovery.method].baseline_schedule and fine_tunes(spec))
    ),
    "with the recovery method fine-tuning, or in final fine-tuning",
)
FINE_TUNING_SCHEDULE = Condition(
    uses_fine_tuning_schedule,
    "with the recovery method fine-tuning, but not in final fine-tuning",
)
FINE_TUNING_BATCHES = Condition(
    lambda spec: fine_tunes(spec) or uses_calibration_images(spec),
    "with fine-tuning epochs above 0, or for batches of calibration images",
)
