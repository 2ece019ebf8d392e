"""Checks of a criterion against the rest of a spec and the model, before training."""

from __future__ import annotations

from collections.abc import Mapping

from pruning_core.common.errors import Choice, Ref, SpecError
from pruning_core.methods.allocation import ALLOCATIONS
from pruning_core.methods.criteria import BASELINE, CRITERIA, MOVEMENT, needs
from pruning_core.methods.recovery import FINE_TUNING, RECOVERY_METHODS
from pruning_core.methods.sparsity_schedules import SPARSITY_SCHEDULES
from pruning_core.settings.conditions import chooses_masks
from pruning_core.settings.pruning_steps import steps
from pruning_core.settings.spec import Spec


def check_criterion(spec: Spec) -> None:
    """Refuse a criterion that contradicts the rest of a spec. Raises `SpecError`."""
    if needs(spec.pruning.criterion, MOVEMENT):
        _check_movement(spec)
    _check_allocation_and_recovery(spec)
    if spec.iterative.enabled and SPARSITY_SCHEDULES[spec.iterative.schedule].regrowth:
        _check_regrowth(spec)


def _criterion(spec: Spec) -> Choice:
    return Choice("pruning.criterion", spec.pruning.criterion)


def _check_movement(spec: Spec) -> None:
    """Refuse the criterion movement where nothing is trained before a pruning step."""
    chain = spec.iterative
    several = chain.enabled and len(steps(chain)) > 1
    later = several and chain.epochs == 0
    if several and not RECOVERY_METHODS[spec.recovery.method].trains_weights:
        raise SpecError(
            "pruning.criterion",
            "{criterion} accumulates the weight changes of the training before a pruning step, but "
            "{method} trains no weights of convolutions. Choose another criterion or method.",
            criterion=_criterion(spec),
            method=Choice("recovery.method", spec.recovery.method),
        )
    for wrong, field, step in (
        (spec.baseline_epochs == 0, "baseline_epochs", "the first pruning step"),
        (later, "iterative.epochs", "every pruning step after the first"),
    ):
        if wrong:
            raise SpecError(
                "pruning.criterion",
                "{criterion} accumulates the weight changes of the training before a pruning step. "
                "{setting} is 0, so there is no training before {step}. Give at least 1 epoch, or "
                "choose another criterion.",
                criterion=_criterion(spec),
                setting=Ref(field),
                step=step,
            )


def _check_allocation_and_recovery(spec: Spec) -> None:
    """Refuse an allocation or a recovery method that contradicts how the criterion works."""
    criterion, allocation = CRITERIA[spec.pruning.criterion], ALLOCATIONS[spec.pruning.allocation]
    replaces = chooses_masks(spec) and RECOVERY_METHODS[spec.recovery.method].restarts
    for wrong, choice, other, message in (
        (
            criterion.signed and allocation.squares_scores,
            Choice("pruning.allocation", spec.pruning.allocation),
            Choice("pruning.allocation", "global"),
            "{choice} squares the scores, but scores of {criterion} can be negative. Choose "
            "another allocation, such as {other}, or another criterion.",
        ),
        (
            criterion.compensation and replaces,
            Choice("recovery.method", spec.recovery.method),
            Choice("recovery.method", FINE_TUNING),
            "{criterion} changes the remaining weights to make up for the pruned ones, but "
            "{choice} replaces all weights. Choose {other}, or another criterion.",
        ),
    ):
        if wrong:
            raise SpecError(
                choice.field, message, choice=choice, criterion=_criterion(spec), other=other
            )


def _check_regrowth(spec: Spec) -> None:
    """Refuse regrowth with scores that never change, or by the gradient of a single image."""
    criterion = spec.pruning.criterion
    schedule = Choice("iterative.schedule", spec.iterative.schedule)
    for wrong, reason in (
        (
            CRITERIA[criterion].compensation,
            "{criterion} changes the remaining weights to make up for the pruned ones, but with "
            "{schedule} pruned weights return.",
        ),
        (
            needs(criterion, BASELINE),
            "{criterion} scores the dense baseline, so with {schedule} every step would drop the "
            "same weights.",
        ),
    ):
        if wrong:
            raise SpecError(
                "pruning.criterion",
                reason + " Choose another criterion or another schedule.",
                criterion=_criterion(spec),
                schedule=schedule,
            )
    if spec.pruning.calibration_images < 2:
        raise SpecError(
            "pruning.calibration_images",
            "{schedule} regrows weights by their gradient on calibration images; give at least 2.",
            schedule=schedule,
        )


def check_model(spec: Spec, unsupported: Mapping[str, str]) -> None:
    """Refuse a criterion that cannot score this model. Raises `SpecError`.

    `unsupported` holds a reason for each criterion that cannot.
    """
    if reason := unsupported.get(spec.pruning.criterion):
        raise SpecError(
            "pruning.criterion",
            "{criterion} cannot score {model}: {reason}. Choose another criterion or another "
            "model.",
            criterion=_criterion(spec),
            model=spec.model.name,
            reason=reason,
        )
