"""The cost of stages in epochs: training, scoring, corrections, forward passes.

Work that trains nothing counts as the share of an epoch that takes as long. The registries hold
the cost of a method for each calibration image, in training steps of one image.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import singledispatch
from typing import Any

from pruning_core.methods.channel_importance import CHANNEL_IMPORTANCES
from pruning_core.methods.corrections import CORRECTIONS, MAX_INPUTS, RANKED_OUTPUTS, ranked_inputs
from pruning_core.methods.criteria import CRITERIA
from pruning_core.methods.granularity import block_of, distinct_masks
from pruning_core.methods.layers import Layer, prunable
from pruning_core.methods.strategies import BASELINE, STRUCTURED
from pruning_core.planning.measurement_types import SensitivitySettings
from pruning_core.planning.model_types import CorrectionSettings, PrunedSettings, StructuredSettings
from pruning_core.planning.stage import Stage
from pruning_core.planning.stage_kinds import ESTIMATED_KINDS, STAGE_KINDS
from pruning_core.planning.stage_types import restored
from pruning_core.settings.conditions import budget_controls
from pruning_core.settings.pruning_steps import (
    steps,
    structured_epochs,
    structured_steps,
    total_epochs,
)
from pruning_core.settings.spec import Spec

# A training step is a forward pass and a backward pass of twice its work.
FORWARD = 1 / 3
# Multiplications and additions per second of a Cholesky factorization in double precision.
SOLVER_RATE = 7e9

KeyedStages = list[tuple[str, Stage]]


@dataclass(frozen=True)
class Sizes:
    """Numbers of training and validation images, and the layers where they are known."""

    train: float
    validation: float
    layers: tuple[Layer, ...] = ()


@dataclass(frozen=True)
class Work:
    """The work of the stages of one kind.

    `epochs` holds the epochs of each stage and `longest` the epochs of their longest chain.
    `seconds` holds for each stage the time that does not depend on images.
    """

    epochs: tuple[float, ...]
    longest: float
    seconds: tuple[float, ...] = ()


def planned_work(stages: KeyedStages, done: set[str], sizes: Sizes) -> dict[str, Work]:
    """The work of a complete plan by kind, without the stages whose keys are in `done`."""
    work, by_key = {}, dict(stages)
    for kind in ESTIMATED_KINDS:
        chains: dict[str, float] = {}
        remaining = [(key, s) for key, s in stages if s.kind == kind and key not in done]
        epochs = tuple(stage_epochs(stage, sizes) for _, stage in remaining)
        for (key, stage), cost in zip(remaining, epochs, strict=True):
            chains[key] = cost + chains.get(stage.parent, 0)
        seconds = tuple(_solver_seconds(stage, by_key, sizes.layers) for _, stage in remaining)
        work[kind] = Work(epochs, max(chains.values(), default=0), seconds)
    return work


def expected_work(spec: Spec) -> dict[str, Work]:
    """The work of a spec by kind, before its plan is complete."""
    seeds, chain = len(spec.seeds), spec.iterative
    epochs = [spec.one_shot.epochs] * len(spec.one_shot.amounts)
    longest = max(epochs, default=0)
    if chain.enabled:
        budget = total_epochs(chain)
        epochs += [step.epochs for step in steps(chain)] + [budget] * len(budget_controls(spec))
        longest = max(longest, budget)
    work = {BASELINE: Work((spec.baseline_epochs,) * seeds, spec.baseline_epochs)}
    work["pruned"] = Work(tuple(epochs) * seeds, longest)
    if (structured := spec.structured).enabled:
        each = tuple(
            step.epochs
            for ratio in structured.ratios
            for step in structured_steps(structured, ratio)
        )
        work[STRUCTURED] = Work(each * seeds, structured_epochs(structured))
    return work


def stage_epochs(stage: Stage, sizes: Sizes) -> float:
    """The epochs of a stage and of its scoring, or the epochs that take as long as its work."""
    return stage.epochs + _untrained_steps(_settings(stage), sizes) / sizes.train


def _settings(stage: Stage) -> Any:
    return restored(STAGE_KINDS[stage.kind].settings, stage.settings)


@singledispatch
def _untrained_steps(settings: Any, sizes: Sizes) -> float:
    """The training steps of one image that take as long as the work besides training."""
    return 0.0


@_untrained_steps.register
def _(settings: PrunedSettings, sizes: Sizes) -> float:
    scoring = settings.pruning
    if "criterion" not in scoring:
        return 0.0
    criterion, images = CRITERIA[scoring["criterion"]], _calibration_images(scoring, sizes)
    steps = criterion.cost * images
    if criterion.compensation:
        steps += correction_steps(criterion.compensation, images, len(sizes.layers))
    return steps


@_untrained_steps.register
def _(settings: StructuredSettings, sizes: Sizes) -> float:
    scoring = settings.removal
    if not scoring:
        return 0.0
    importance = CHANNEL_IMPORTANCES[scoring["channel_importance"]]
    return importance.cost * _calibration_images(scoring, sizes)


@_untrained_steps.register
def _(settings: CorrectionSettings, sizes: Sizes) -> float:
    images = min(settings.images, sizes.train)
    return correction_steps(settings.correction, images, len(sizes.layers))


@_untrained_steps.register
def _(settings: SensitivitySettings, sizes: Sizes) -> float:
    # One pass without pruning, and one for each sparsity; least squares takes one of its images,
    # and each sparsity is measured with it, too.
    passes = 1 + len(settings.sparsities)
    images = min(settings.images or sizes.validation, sizes.validation)
    if settings.correction_images is None:
        return FORWARD * passes * images
    corrected = len(settings.sparsities) * images + min(settings.correction_images, sizes.train)
    return FORWARD * (passes * images + corrected)


def _calibration_images(scoring: Mapping[str, Any], sizes: Sizes) -> float:
    return min(scoring.get("calibration_images", 0), sizes.train)


def correction_steps(name: str, images: float, layers: int) -> float:
    """The training steps of one image that take as long as a correction's passes over images."""
    correction = CORRECTIONS[name]
    return images * (correction.cost + correction.cost_per_layer * layers)


def _solver_seconds(stage: Stage, by_key: Mapping[str, Stage], layers: Sequence[Layer]) -> float:
    """The seconds in which a stage solves equations or factorizes matrices; 0 for other stages."""
    settings = _settings(stage)
    if isinstance(settings, PrunedSettings) and "criterion" in settings.pruning:
        return _pruning_seconds(settings, layers)
    if not isinstance(settings, CorrectionSettings) or not CORRECTIONS[settings.correction].solves:
        return 0.0
    parent = by_key[stage.parent]
    while not isinstance(pruned := _settings(parent), PrunedSettings):
        parent = by_key[parent.parent]
    return solver_seconds(layers, float(pruned.target), settings.pruning)


def _pruning_seconds(settings: PrunedSettings, layers: Sequence[Layer]) -> float:
    """The seconds of a pruning step whose criterion compensates."""
    criterion, target = CRITERIA[settings.pruning["criterion"]], float(settings.target)
    seconds = 0.0
    if criterion.compensation and CORRECTIONS[criterion.compensation].solves:
        seconds += solver_seconds(layers, target, settings.pruning)
    if criterion.rescoring:
        chosen = prunable(layers, settings.pruning["layers"], settings.pruning["exclude"])
        # Both passes rank all weights.
        block = block_of(settings.pruning["granularity"]) or 1
        work = sum(_ranking_multiplications(layer, block) for layer in chosen)
        seconds += 2 * work / SOLVER_RATE
    return seconds


def _ranking_multiplications(layer: Layer, block: int) -> float:
    """The multiplications that remove the inputs of a layer one after another.

    `block` outputs share theirs.
    """
    outputs, inputs = math.ceil(layer.shape[0] / block), math.prod(layer.shape[1:])
    if layer.kind == "attention" or inputs > MAX_INPUTS:
        return 0.0
    together = ranked_inputs(outputs, inputs)
    sample = 0 if together == inputs else RANKED_OUTPUTS * inputs**3
    return (outputs * inputs * together**2 + sample) / 2


def solver_seconds(layers: Sequence[Layer], sparsity: float, pruning: Mapping[str, Any]) -> float:
    """Seconds to solve for the remaining weights of a model with this sparsity.

    Equations in k remaining weights take k^3 / 3 multiplications, those of a Cholesky factor.
    Output channels with the same mask share a factor: those of a block, and all of a layer with
    filters or without pruning. With single weights or kernels each one needs its own. `pruning`
    holds the settings of a `PruningSpec`.
    """
    chosen = {layer.name for layer in prunable(layers, pruning["layers"], pruning["exclude"])}
    solved = [x for x in layers if x.kind != "attention" and math.prod(x.shape[1:]) <= MAX_INPUTS]
    return (
        sum(
            _multiplications(layer, sparsity if layer.name in chosen else 0.0, pruning)
            for layer in solved
        )
        / SOLVER_RATE
    )


def _multiplications(layer: Layer, sparsity: float, pruning: Mapping[str, Any]) -> float:
    factors = distinct_masks(layer.shape, pruning, layer.groups) if sparsity else 1
    return float(factors * ((1 - sparsity) * math.prod(layer.shape[1:])) ** 3 / 3)
