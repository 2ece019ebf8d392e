"""Criteria that cannot score what a spec describes, found before anything is trained."""

from __future__ import annotations

from typing import Any

from pruning_core.criterion_choices import MOVEMENT, needs
from pruning_core.spec import Spec, SpecError
from pruning_core.when import steps


def check_criterion(spec: Spec) -> None:
    """Refuse a criterion that needs the training before a cut, where there is none.

    Raises `SpecError`.
    """
    if not needs(spec.prune.criterion, MOVEMENT):
        return
    chain = spec.iterative
    later = chain.enabled and len(steps(chain)) > 1 and chain.epochs == 0
    for wrong, field, cut in (
        (spec.baseline_epochs == 0, "baseline_epochs", "the first cut"),
        (later, "iterative.epochs", "every cut after the first"),
    ):
        if wrong:
            raise SpecError(
                "prune.criterion",
                f"{spec.prune.criterion} adds up what the training before a cut does to the "
                f"weights, and with {field} at 0 nothing is trained before {cut}. Give at least "
                "1 epoch or take another criterion.",
            )


def check_model(spec: Spec, facts: dict[str, Any]) -> None:
    """Refuse a criterion that this model has no scores for. Raises `SpecError`.

    `facts` are those of an inspection of the model; `unfit` holds a reason by criterion.
    """
    if why := facts.get("unfit", {}).get(spec.prune.criterion):
        raise SpecError(
            "prune.criterion",
            f"{spec.prune.criterion} cannot score {spec.model.name}: {why}. Take another "
            "criterion or another model.",
        )
