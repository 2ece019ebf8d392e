"""Recipes: named ways to a sparsity in a given number of epochs, to be tried side by side.

Sparsity is that of all convolution, linear and attention weights, whatever a recipe spares, so
that recipes can be compared: what it may prune is cut deeper instead.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from pruning_core.common.errors import check
from pruning_core.common.formatting import format_seconds
from pruning_core.methods.layers import Layer, prunable
from pruning_core.planning.estimate import estimate
from pruning_core.planning.plan import plan
from pruning_core.planning.stage import Outline, Plan, Reader, Stage
from pruning_core.settings.pruning import PruningSpec
from pruning_core.settings.recovery import RecoverySpec
from pruning_core.settings.spec import Spec
from pruning_core.settings.strategies import IterativeSpec, OneShotSpec

Build = Callable[[Spec, float, float], Spec]
STEP_EPOCHS = 0.5
# Less leaves late layers too narrow to recover through, more takes from those that need it.
FLOOR = 0.01
GLOBAL = PruningSpec(allocation="global", min_density=FLOOR)
LAMP = PruningSpec(allocation="lamp", min_density=FLOOR)
ERK = PruningSpec(allocation="erk", min_density=FLOOR)
# It looks at images one by one, which for more of them would take longer than the training.
OBD = replace(GLOBAL, criterion="obd", calibration_images=128)
# At 98 % a floor of 1 % would take half of what may stay, wherever it is of least use.
LOW_FLOOR = replace(OBD, min_density=0.002)
TAUGHT = RecoverySpec(distillation_weight=0.9)
Cells = Sequence[tuple[float, float]]  # epochs, sparsity


def at_once(base: Spec, amount: float, epochs: float) -> Spec:
    """One cut, and all epochs after it."""
    off = replace(base.iterative, enabled=False)
    return replace(base, one_shot=OneShotSpec((amount,), epochs), iterative=off)


def gradually(base: Spec, amount: float, epochs: float) -> Spec:
    """Cuts every half epoch along the cubic curve, over half of the epochs; then a tail.

    One falling learning-rate curve covers both, the same as in one cut with these epochs.
    """
    return _chain(base, amount, epochs, "cubic")


def early(base: Spec, amount: float, epochs: float) -> Spec:
    """The same cuts within a quarter of the epochs, so that more of them follow the last one."""
    return _chain(base, amount, epochs, "cubic", share=1 / 4)


def exchanging(base: Spec, amount: float, epochs: float) -> Spec:
    """One cut; then every half epoch weights change places, over half of the epochs."""
    return _chain(base, amount, epochs, "rigl")


def _chain(base: Spec, amount: float, epochs: float, schedule: str, share: float = 1 / 2) -> Spec:
    steps = max(1, int(epochs * share / STEP_EPOCHS))
    chain = IterativeSpec(
        target=amount,
        iterations=steps,
        epochs=STEP_EPOCHS,
        schedule=schedule if steps > 1 else "one_shot",
        final_epochs=epochs - steps * STEP_EPOCHS,
        equal_budget=False,
    )
    return replace(base, one_shot=OneShotSpec((), 0.0), iterative=chain, lr_schedule_span="run")


@dataclass(frozen=True)
class SearchStrategy:
    """What is removed, when, and how it is recovered from. `control` is never the winner."""

    text: str
    build: Build
    pruning: PruningSpec = GLOBAL
    recovery: RecoverySpec = field(default_factory=RecoverySpec)
    dense: bool = False
    control: bool = False


SEARCH_STRATEGIES: dict[str, SearchStrategy] = {
    "one_shot_taught": SearchStrategy("one cut, OBD, the baseline teaches", at_once, OBD, TAUGHT),
    "gradual_layer": SearchStrategy(
        "cubic, each layer alike, small layers spared", gradually, PruningSpec(layers="core")
    ),
    "gradual_global": SearchStrategy("cubic, magnitude, one threshold", gradually),
    "gradual_lamp": SearchStrategy("cubic, magnitude, LAMP", gradually, LAMP),
    "gradual_erk": SearchStrategy("cubic, magnitude, ERK", gradually, ERK),
    "gradual_obd": SearchStrategy("cubic, OBD, one threshold", gradually, OBD),
    "taught_global": SearchStrategy(
        "as gradual_global, the baseline teaches", gradually, recovery=TAUGHT
    ),
    "taught_lamp": SearchStrategy("as gradual_lamp, the baseline teaches", gradually, LAMP, TAUGHT),
    "taught_obd": SearchStrategy("as gradual_obd, the baseline teaches", gradually, OBD, TAUGHT),
    "early_obd": SearchStrategy(
        "cubic in a quarter of the epochs, OBD, low floor, the baseline teaches",
        early,
        LOW_FLOOR,
        TAUGHT,
    ),
    "rigl_erk": SearchStrategy("RigL, ERK", exchanging, ERK),
    "dense": SearchStrategy("no cut, the same epochs", at_once, dense=True, control=True),
    "one_shot": SearchStrategy("one cut, magnitude, one threshold", at_once, control=True),
    "random": SearchStrategy(
        "cubic, random weights", gradually, replace(GLOBAL, criterion="random"), control=True
    ),
}


def target_for(recipe: SearchStrategy, sparsity: float, layers: Iterable[Layer]) -> float | None:
    """The share of what a recipe may prune that makes `sparsity` of all; None where it cannot."""
    if recipe.dense:
        return 0.0
    every = list(layers)
    chosen = prunable(every, recipe.pruning.layers, recipe.pruning.exclude)
    amount = sparsity * sum(x.size for x in every) / max(sum(x.size for x in chosen), 1)
    return amount if amount < 1 else None


def spec_of(recipe: SearchStrategy, base: Spec, amount: float, epochs: float, seed: int) -> Spec:
    """The comparison that tries a recipe once; data, model and training are the base's."""
    made = replace(
        base,
        pruning=recipe.pruning,
        recovery=recipe.recovery,
        seeds=(seed,),
        correction=replace(base.correction, enabled=False),
        sensitivity=replace(base.sensitivity, enabled=False),
        structured=replace(base.structured, enabled=False),
    )
    return recipe.build(made, amount, epochs)


def final_key(outline: Outline) -> str:
    """The stage that a recipe ends with."""
    return [point.key for point in outline.models if point.strategy != "baseline"][-1]


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
        if not SEARCH_STRATEGIES[trial.recipe].control:
            found.setdefault(trial.recipe, []).append(trial)
    most = max(map(len, found.values()))
    whole = [name for name, cells in found.items() if len(cells) == most]
    return max(whole, key=lambda name: _merit(found[name]))


def _merit(trials: Sequence[Trial]) -> tuple[float, float]:
    loss = statistics.mean(trial.validation_loss for trial in trials)
    return statistics.mean(trial.validation for trial in trials), -loss


@dataclass(frozen=True)
class Round:
    """Recipes that are tried in the same cells and seeds.

    Where it is not known yet which of them come so far, only a `share` of them will.
    """

    recipes: tuple[SearchStrategy, ...]
    cells: Cells
    seeds: tuple[int, ...]
    share: float = 1.0


def remaining_seconds(
    rounds: Iterable[Round], base: Spec, layers: Iterable[Layer], store: Reader, cores: int
) -> float:
    """Of a whole search, what is not in the cache yet."""
    there = list(layers)
    return sum(each.share * _seconds(each, base, there, store, cores) for each in rounds)


def _seconds(tried: Round, base: Spec, layers: list[Layer], store: Reader, cores: int) -> float:
    """Of a round, all in one queue; what a recipe cannot reach is left out."""
    stages, spec = dict[str, Stage](), base
    for recipe in tried.recipes:
        for epochs, sparsity in tried.cells:
            amount = target_for(recipe, sparsity, layers)
            for seed in tried.seeds if amount is not None else ():
                spec = spec_of(recipe, base, amount or 0.0, epochs, seed)
                stages.update({stage.key: stage for stage in plan(spec, store).stages})
    whole = Plan(tuple(stages.values()), (), complete=True)
    found = estimate(spec, whole, store, cores) if stages else None
    return found.left if found else 0.0


def check_hours(seconds: float, hours: float) -> None:
    """Refuse what would take longer than that. Raises `SpecError`."""
    told = (
        f"the search would take about {format_seconds(seconds)} here, and at most {hours:g} hours "
        "are allowed. Give fewer --budgets, --sparsities, --finalists or --fresh, or more hours "
        "(0: no limit)."
    )
    check(not hours or seconds <= 3600 * hours, "--hours", told)
