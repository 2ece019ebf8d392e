"""Strategy search: named pruning strategies that reach a sparsity in a given training budget.

The sparsity counts all convolution, linear and attention weights, so that strategies with
different prunable layers can be compared: with fewer prunable layers, those are pruned more.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from pruning_core.common.errors import check
from pruning_core.common.formatting import format_seconds
from pruning_core.methods.layers import Layer, prunable
from pruning_core.methods.strategies import BASELINE
from pruning_core.planning.estimate import estimate
from pruning_core.planning.plan import plan
from pruning_core.planning.stage import FilesReader, Outline, Plan, Stage
from pruning_core.settings.pruning import PruningSpec
from pruning_core.settings.recovery import RecoverySpec
from pruning_core.settings.spec import Spec
from pruning_core.settings.strategies import IterativeSpec, OneShotSpec

Build = Callable[[Spec, float, float], Spec]
STEP_EPOCHS = 0.5
# A lower density leaves late layers too narrow to recover; a higher one prunes the other layers
# too much.
MIN_DENSITY = 0.01
GLOBAL = PruningSpec(allocation="global", min_density=MIN_DENSITY)
LAMP = PruningSpec(allocation="lamp", min_density=MIN_DENSITY)
ERK = PruningSpec(allocation="erk", min_density=MIN_DENSITY)
# OBD scores image by image; with more images scoring would take longer than training.
OBD = replace(GLOBAL, criterion="obd", calibration_images=128)
# At 98 % sparsity a minimum density of 1 % fixes half of the remaining weights in all layers.
LOW_DENSITY_OBD = replace(OBD, min_density=0.002)
OBS = replace(GLOBAL, criterion="obs")
DISTILLATION = RecoverySpec(distillation_weight=0.9)
Cells = Sequence[tuple[float, float]]  # epochs, sparsity


def one_shot(base: Spec, target: float, epochs: float) -> Spec:
    """One pruning step, then all epochs."""
    off = replace(base.iterative, enabled=False)
    return replace(base, one_shot=OneShotSpec((target,), epochs), iterative=off)


def gradual(base: Spec, target: float, epochs: float) -> Spec:
    """A pruning step every half epoch on the cubic schedule, over half of the epochs.

    Final fine-tuning has the other half. One learning-rate schedule spans both, as in one-shot
    pruning with this budget.
    """
    return _chain(base, target, epochs, "cubic")


def early(base: Spec, target: float, epochs: float) -> Spec:
    """As `gradual`, but over a quarter of the epochs: final fine-tuning is longer."""
    return _chain(base, target, epochs, "cubic", share=1 / 4)


def regrowing(base: Spec, target: float, epochs: float) -> Spec:
    """One pruning step; then RigL drops and regrows weights every half epoch, in the first half."""
    return _chain(base, target, epochs, "rigl")


def alternating(base: Spec, target: float, epochs: float) -> Spec:
    """AC/DC: sparse and dense steps of half an epoch in turn, in the first half of the epochs.

    With few epochs the steps are shorter: there are at least three, of which two are sparse.
    """
    step = min(STEP_EPOCHS, math.floor(1000 * epochs / 6) / 1000)
    return _chain(base, target, epochs, "ac_dc", step=step)


def _chain(
    base: Spec,
    target: float,
    epochs: float,
    schedule: str,
    share: float = 1 / 2,
    step: float = STEP_EPOCHS,
) -> Spec:
    """An iterative run whose pruning steps take this share of the epochs."""
    steps = max(1, int(epochs * share / step))
    chain = IterativeSpec(
        target=target,
        iterations=steps,
        epochs=step,
        schedule=schedule if steps > 1 else "one_shot",
        final_epochs=epochs - steps * step,
        equal_budget=False,
    )
    return replace(base, one_shot=OneShotSpec((), 0.0), iterative=chain, lr_schedule_span="run")


@dataclass(frozen=True)
class SearchStrategy:
    """A pruning strategy of the search.

    `build` makes the spec from the base spec, the target sparsity and the epochs. A strategy
    that stays `dense` prunes nothing. A `control` is measured, but cannot win. The sparsities of
    the search count all weights; where `counts_all_weights` is false, only the prunable ones.
    """

    text: str
    build: Build
    pruning: PruningSpec = GLOBAL
    recovery: RecoverySpec = field(default_factory=RecoverySpec)
    dense: bool = False
    control: bool = False
    counts_all_weights: bool = True


SEARCH_STRATEGIES: dict[str, SearchStrategy] = {
    "one_shot_distilled": SearchStrategy(
        "one-shot, OBD, global, knowledge distillation", one_shot, OBD, DISTILLATION
    ),
    "gradual_uniform": SearchStrategy(
        "cubic schedule, magnitude, uniform, without depthwise, first layer and classifier",
        gradual,
        PruningSpec(layers="core"),
    ),
    "gradual_global": SearchStrategy("cubic schedule, magnitude, global", gradual),
    "gradual_lamp": SearchStrategy("cubic schedule, magnitude, LAMP", gradual, LAMP),
    "gradual_erk": SearchStrategy("cubic schedule, magnitude, ERK", gradual, ERK),
    "gradual_obd": SearchStrategy("cubic schedule, OBD, global", gradual, OBD),
    "distilled_global": SearchStrategy(
        "cubic schedule, magnitude, global, knowledge distillation",
        gradual,
        recovery=DISTILLATION,
    ),
    "distilled_lamp": SearchStrategy(
        "cubic schedule, magnitude, LAMP, knowledge distillation", gradual, LAMP, DISTILLATION
    ),
    "distilled_obd": SearchStrategy(
        "cubic schedule, OBD, global, knowledge distillation", gradual, OBD, DISTILLATION
    ),
    "early_obd": SearchStrategy(
        "cubic schedule in a quarter of the epochs, OBD, global, low minimum density, knowledge "
        "distillation",
        early,
        LOW_DENSITY_OBD,
        DISTILLATION,
    ),
    "one_shot_obs": SearchStrategy(
        "one-shot, OBS, global, knowledge distillation", one_shot, OBS, DISTILLATION
    ),
    "distilled_ac_dc": SearchStrategy(
        "AC/DC, magnitude, global, knowledge distillation", alternating, recovery=DISTILLATION
    ),
    "rigl_erk": SearchStrategy("RigL, magnitude, ERK", regrowing, ERK),
    "dense": SearchStrategy(
        "no pruning, the same training budget", one_shot, dense=True, control=True
    ),
    "one_shot": SearchStrategy("one-shot, magnitude, global", one_shot, control=True),
    "random": SearchStrategy(
        "cubic schedule, random criterion, global",
        gradual,
        replace(GLOBAL, criterion="random"),
        control=True,
    ),
}


def target_for(strategy: SearchStrategy, sparsity: float, layers: Iterable[Layer]) -> float | None:
    """The target sparsity of a strategy's prunable layers at which all layers have `sparsity`.

    None where the prunable layers are too few to reach it.
    """
    if strategy.dense:
        return 0.0
    if not strategy.counts_all_weights:
        return sparsity
    layers = list(layers)
    chosen = prunable(layers, strategy.pruning.layers, strategy.pruning.exclude)
    total, possible = (sum(layer.size for layer in group) for group in (layers, chosen))
    target = sparsity * total / max(possible, 1)
    return target if target < 1 else None


def spec_of(strategy: SearchStrategy, base: Spec, target: float, epochs: float, seed: int) -> Spec:
    """The spec of one run of a strategy; data set, model and training are those of the base."""
    spec = replace(
        base,
        pruning=strategy.pruning,
        recovery=strategy.recovery,
        seeds=(seed,),
        correction=replace(base.correction, enabled=False),
        sensitivity=replace(base.sensitivity, enabled=False),
        structured=replace(base.structured, enabled=False),
    )
    return strategy.build(spec, target, epochs)


def final_key(outline: Outline) -> str:
    """The key of the model that a run of a strategy ends with."""
    return [model.key for model in outline.models if model.strategy != BASELINE][-1]


@dataclass(frozen=True)
class Trial:
    """The result of one run of a strategy.

    Accuracies are fractions; the loss is the cross-entropy on the validation images.
    """

    strategy: str
    epochs: float
    sparsity: float
    seed: int
    validation: float
    validation_loss: float
    test: float


def hardness(cell: tuple[float, float]) -> tuple[float, float]:
    """A sort key that puts the hardest cell first: highest sparsity, then fewest epochs."""
    epochs, sparsity = cell
    return -sparsity, epochs


def finalists(trials: Iterable[Trial], count: int) -> list[str]:
    """The `count` strategies (at least one) with the best validation accuracy, best first."""
    ranked = sorted(trials, key=lambda trial: (-trial.validation, trial.validation_loss))
    return [trial.strategy for trial in ranked[: max(1, count)]]


def winners(trials: Sequence[Trial]) -> dict[float, str]:
    """The winner for each budget in epochs: the best strategy differs between budgets."""
    budgets = sorted({trial.epochs for trial in trials})
    return {epochs: winner(t for t in trials if t.epochs == epochs) for epochs in budgets}


def winner(trials: Iterable[Trial]) -> str:
    """The strategy with the best mean validation accuracy, and of equal ones the lowest loss.

    Controls do not count. A strategy must have a result in all cells: one that cannot reach a high
    sparsity would otherwise win by its results at low ones.
    """
    by_strategy: dict[str, list[Trial]] = {}
    for trial in trials:
        if not SEARCH_STRATEGIES[trial.strategy].control:
            by_strategy.setdefault(trial.strategy, []).append(trial)
    most = max(map(len, by_strategy.values()))
    complete = [name for name, results in by_strategy.items() if len(results) == most]
    return max(complete, key=lambda name: _merit(by_strategy[name]))


def _merit(trials: Sequence[Trial]) -> tuple[float, float]:
    loss = statistics.mean(trial.validation_loss for trial in trials)
    return statistics.mean(trial.validation for trial in trials), -loss


@dataclass(frozen=True)
class Round:
    """Strategies that run with the same cells and seeds.

    Where earlier results decide which of them run, `share` is the expected share.
    """

    strategies: tuple[SearchStrategy, ...]
    cells: Cells
    seeds: tuple[int, ...]
    share: float = 1.0


def remaining_seconds(
    rounds: Iterable[Round], base: Spec, layers: Iterable[Layer], store: FilesReader, cores: int
) -> float:
    """The seconds of all rounds, without what is in the cache already."""
    layers = list(layers)
    return sum(part.share * _round_seconds(part, base, layers, store, cores) for part in rounds)


def _round_seconds(
    part: Round, base: Spec, layers: list[Layer], store: FilesReader, cores: int
) -> float:
    """The seconds of a round, whose runs share one queue; unreachable sparsities are skipped."""
    stages, spec = dict[str, Stage](), base
    for strategy in part.strategies:
        for epochs, sparsity in part.cells:
            target = target_for(strategy, sparsity, layers)
            for seed in part.seeds if target is not None else ():
                spec = spec_of(strategy, base, target or 0.0, epochs, seed)
                stages.update({stage.key: stage for stage in plan(spec, store).stages})
    whole = Plan(tuple(stages.values()), (), complete=True)
    estimated = estimate(spec, whole, store, cores) if stages else None
    return estimated.remaining if estimated else 0.0


def check_hours(seconds: float, hours: float) -> None:
    """Refuse a search that would take longer than `hours`. Raises `SpecError`."""
    check(
        not hours or seconds <= 3600 * hours,
        "--hours",
        "the search would take about {time} on this machine, more than {hours} h. Give fewer "
        "--budgets or --fresh, or more hours (0: no limit).",
        time=format_seconds(seconds),
        hours=f"{hours:g}",
    )
