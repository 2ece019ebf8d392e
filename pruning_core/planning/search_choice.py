"""Which recipe is chosen, by what the trials found on validation images."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pruning_core.planning import search


@dataclass(frozen=True)
class Trial:
    """A recipe tried once: where it ended on validation and on test images.

    Accuracies are fractions; the loss is the cross-entropy on the validation images.
    """

    recipe: str
    epochs: float
    sparsity: float
    seed: int
    validation: float
    validation_loss: float
    test: float


def hardness(cell: tuple[float, float]) -> tuple[float, float]:
    """Sorts first what is hardest: the highest sparsity, of these the fewest epochs."""
    epochs, sparsity = cell
    return -sparsity, epochs


def finalists(trials: Iterable[Trial], count: int) -> list[str]:
    """The recipes with the best validation accuracy, as many as `count`, the best first."""
    ranked = sorted(trials, key=lambda trial: (-trial.validation, trial.validation_loss))
    return [trial.recipe for trial in ranked[: max(1, count)]]


def winners(trials: Sequence[Trial]) -> dict[float, str]:
    """The winner of each number of epochs: what is best in a few is not so in many."""
    budgets = sorted({trial.epochs for trial in trials})
    return {epochs: winner(t for t in trials if t.epochs == epochs) for epochs in budgets}


def winner(trials: Iterable[Trial]) -> str:
    """The recipe, no control, with the best mean validation accuracy over all cells it could do.

    Of equal ones the one with the lowest loss.
    """
    found: dict[str, list[Trial]] = {}
    for trial in trials:
        if not search.RECIPES[trial.recipe].control:
            found.setdefault(trial.recipe, []).append(trial)
    most = max(map(len, found.values()))
    whole = [name for name, cells in found.items() if len(cells) == most]
    return max(whole, key=lambda name: _merit(found[name]))


def _merit(trials: Sequence[Trial]) -> tuple[float, float]:
    loss = statistics.mean(trial.validation_loss for trial in trials)
    return statistics.mean(trial.validation for trial in trials), -loss
