"""Criteria that cannot score what a spec describes, found before anything is trained."""

from __future__ import annotations

from typing import Any

from pruning_core.methods.criteria import BASELINE, MOVEMENT, needs
from pruning_core.methods.sparsity_schedules import EXCHANGES
from pruning_core.settings.spec import Spec, SpecError
from pruning_core.settings.strategies import steps


def check_criterion(spec: Spec) -> None:
    """Refuse a criterion that the rest of a spec gives no sense. Raises `SpecError`."""
    if needs(spec.prune.criterion, MOVEMENT):
        _check_movement(spec)
    if spec.iterative.enabled and spec.iterative.schedule in EXCHANGES:
        _check_exchange(spec)


def _check_movement(spec: Spec) -> None:
    """Refuse it where nothing is trained before a cut, and where scores must be sizes."""
    chain = spec.iterative
    later = chain.enabled and len(steps(chain)) > 1 and chain.epochs == 0
    for wrong, field, cut in (
        (spec.baseline_epochs == 0, "baseline_epochs", "the first cut"),
        (later, "iterative.epochs", "every cut after the first"),
    ):
        if wrong:
            raise SpecError(
                "prune.criterion",
                f"`{spec.prune.criterion}` adds up what the training before a cut does to the "
                f"weights, and with {field} at 0 nothing is trained before {cut}. Give at least "
                "1 epoch or take another criterion.",
            )
    if spec.prune.scope == "lamp":
        raise SpecError(
            "prune.scope",
            f"`lamp` weighs the squares of scores, and those of `{spec.prune.criterion}` may be "
            "negative. Take another scope, such as `global`, or another criterion.",
        )


def _check_exchange(spec: Spec) -> None:
    """Refuse an exchange by scores that never change, and by the gradient of a single image."""
    if needs(spec.prune.criterion, BASELINE):
        raise SpecError(
            "prune.criterion",
            f"`{spec.prune.criterion}` scores the dense baseline, so with "
            f"`{spec.iterative.schedule}` the same weights would go in each step. Take another "
            "criterion or schedule.",
        )
    if spec.prune.score_images < 2:
        raise SpecError(
            "prune.score_images",
            f"`{spec.iterative.schedule}` lets weights come back by their gradient on these "
            "images; give 2 or more.",
        )


def check_model(spec: Spec, facts: dict[str, Any]) -> None:
    """Refuse a criterion that this model has no scores for. Raises `SpecError`.

    `facts` are those of an inspection of the model; `unfit` holds a reason by criterion.
    """
    if why := facts.get("unfit", {}).get(spec.prune.criterion):
        raise SpecError(
            "prune.criterion",
            f"`{spec.prune.criterion}` cannot score {spec.model.name}: {why}. Take another "
            "criterion or another model.",
        )
