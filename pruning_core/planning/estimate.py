"""How long a run will take here, from this machine's own measured speed.

Before the first run the speed is that of a short trial; after it, that of the stages of this
plan which are in the cache already.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pruning_core.common.formatting import format_seconds
from pruning_core.methods.corrections import MAX_INPUTS
from pruning_core.methods.layers import Layer, prunable
from pruning_core.methods.strategies import STRUCTURED
from pruning_core.planning.inspections import inspect_data, inspect_model, known_layers
from pruning_core.planning.stage import Plan, Reader, Stage, known
from pruning_core.settings.recovery import RecoverySpec
from pruning_core.settings.spec import Spec
from pruning_core.settings.strategies import steps, total_epochs
from pruning_core.settings.structured import chain_epochs, chain_steps

KNOWN = {
    "digits": (1437, 10),
    "cifar10": (50000, 10),
    "cifar100": (50000, 100),
    "mnist": (60000, 10),
    "fashion_mnist": (60000, 10),
}
TRAINED = ("baseline", "pruned", STRUCTURED)
SECONDS_PER_STAGE = 2.0
START_SECONDS = 8.0
# The trial is forward and backward alone; training also steps, augments and validates. Measured
# on 2 cores: 0.72 of the trial's speed in baselines, 0.93 in levels.
TRAINING_SHARE = 0.8
# A step is a forward pass and a backward pass of twice its work; a teacher adds a forward pass.
TEACHER_STEPS = 4 / 3
FORWARD = 1 / 3
# What scoring one image takes, in training steps of one image: OBD looks at them one by one.
# Measured with MobileNetV2 at 32x32, batches of 32, on one thread.
SCORING = {"taylor": 1.0, "snip": 1.0, "wanda": 0.7, "obd": 10.7}
RUNG = "correction"
WORKED = (*TRAINED, "sensitivity", RUNG)
# The criteria that look at images as an importance of channels does.
CHANNEL_SCORING = {"taylor": "taylor", "hessian": "obd"}

Keyed = list[tuple[str, Stage]]
# Training steps of one image: of the whole model, and for each of its layers, since the upper
# rungs run the images anew up to each layer.
WHOLE = {"batch_norm": 0.25, "bias_scale": 0.5, "least_squares": 0.5}
EACH_LAYER = {"batch_norm": 0.0, "bias_scale": 0.1, "least_squares": 0.17}
# Multiplications and additions a second when the equations are solved, in double precision.
RATE = 7e9


@dataclass(frozen=True)
class Estimate:
    """Seconds of a whole run, and of the part that is not in the cache yet."""

    total: float
    left: float


@dataclass(frozen=True)
class Work:
    """Epochs of the stages of one kind, and of the longest branch of them.

    What only looks at images counts as the share of an epoch that takes as long. `seconds` do
    not depend on the images.
    """

    epochs: tuple[float, ...]
    longest: float
    seconds: tuple[float, ...] = ()


@dataclass(frozen=True)
class Sizes:
    """Images to train on and to validate with, and the model's layers as far as known."""

    train: float
    validation: float
    layers: tuple[Layer, ...] = ()


def probe(spec: Spec, store: Reader) -> Stage | None:
    """The inspection that measures the speed; None while the data are unknown.

    It leaves the weights out, so that looking at a preset downloads nothing.
    """
    size = _size(spec, store)
    if size is None:
        return None
    model = replace(spec.model, weights="none")
    # Its way to recover may need the weights, and does not change the speed.
    plain = replace(spec, model=model, recovery=RecoverySpec())
    return inspect_model(plain, size[1])


def estimate(spec: Spec, plan: Plan, store: Reader, cores: int) -> Estimate | None:
    """Seconds on so many cores, or None while the speed is not measured."""
    stages = [(stage.key, stage) for stage in plan.stages]  # a key is a digest: each made once
    done = {key for key, _ in stages if store.exists(key)}
    everything, left = (
        _work(stages, found, _sizes(spec, store)) if plan.complete else _expected(spec)
        for found in (set(), done)
    )
    nothing_left = plan.complete and not any(work.epochs for work in left.values())
    paces = _paces(spec, [pair for pair in stages if pair[0] in done], store)
    if paces is None:
        return None
    total = _seconds(spec, everything, paces, cores)
    return Estimate(total, 0.0 if nothing_left else _seconds(spec, left, paces, cores))


def estimate_text(found: Estimate | None) -> str:
    """The time that is left as a page says it, no more exact than it is known."""
    if found is None:
        return "measuring"
    if found.left == 0:
        return "opens at once"
    step = 5 if found.left < 60 else 10 if found.left < 600 else 60
    return f"about {format_seconds(max(step, step * round(found.left / step)))}"


def _size(spec: Spec, store: Reader) -> tuple[int, int] | None:
    """Training images and classes."""
    if spec.data.name in KNOWN:
        return KNOWN[spec.data.name]
    facts = known(store, inspect_data(spec).key)
    return (sum(facts["train_counts"]), len(facts["classes"])) if facts else None


def _sizes(spec: Spec, store: Reader) -> Sizes:
    """One image of each while they are not known."""
    size, share = _size(spec, store), spec.data.validation_split
    every = spec.data.train_size or (size[0] if size else 2)
    layers = tuple(known_layers(spec, store))
    return Sizes(max(1.0, every * (1 - share)), max(1.0, every * share), layers)


def _paces(spec: Spec, done: Keyed, store: Reader) -> dict[str, float] | None:
    """Seconds an epoch in each kind of stage: as measured in this plan, else by the trial."""
    facts = _trial(spec, store)
    if facts is None:
        return None
    trial = _sizes(spec, store).train / (facts["images_per_second"] * TRAINING_SHARE)
    taught = TEACHER_STEPS if spec.recovery.distillation_weight else 1.0
    trials = {"baseline": trial, "pruned": trial * taught, "sensitivity": trial, RUNG: trial}
    trials[STRUCTURED] = trials["pruned"]  # as if nothing were gone: no model is slower
    return {kind: _measured(kind, done, store) or trials[kind] for kind in WORKED}


def _trial(spec: Spec, store: Reader) -> dict[str, Any] | None:
    """What a look at the model measured, with the weights left out or with its own."""
    stage, size = probe(spec, store), _size(spec, store)
    if stage is None or size is None:
        return None
    return known(store, stage.key) or known(store, inspect_model(spec, size[1]).key)


def _measured(kind: str, done: Keyed, store: Reader) -> float | None:
    """Seconds an epoch over the finished stages of a kind; None where there are none."""
    stages = [(key, s) for key, s in done if s.kind == kind and s.settings.get("epochs")]
    results = [(s.settings["epochs"], known(store, key)) for key, s in stages]
    found = [(epochs, r["seconds"]) for epochs, r in results if r and r.get("seconds")]
    epochs, seconds = (sum(part) for part in zip(*found, strict=True)) if found else (0, 0.0)
    return seconds / epochs if epochs else None


def _work(stages: Keyed, done: set[str], sizes: Sizes) -> dict[str, Work]:
    """What is to be trained, looked at and solved for, of a complete plan."""
    found, every = {}, dict(stages)
    for kind in WORKED:
        reach: dict[str, float] = {}
        left = [(key, s) for key, s in stages if s.kind == kind and key not in done]
        epochs = tuple(_epochs(stage, sizes) for _, stage in left)
        for (key, stage), own in zip(left, epochs, strict=True):
            reach[key] = own + reach.get(stage.parent, 0)
        seconds = tuple(_solving(stage, every, sizes.layers) for _, stage in left)
        found[kind] = Work(epochs, max(reach.values(), default=0), seconds)
    return found


def _epochs(stage: Stage, sizes: Sizes) -> float:
    """A stage's epochs, scoring too; a scan looks at validation images, at each sparsity."""
    train, validation = sizes.train, sizes.validation
    if stage.kind == RUNG:
        images = min(stage.settings["images"], train)
        return image_steps(stage.settings["correction"], images, len(sizes.layers)) / train
    if stage.kind == "sensitivity":
        looks = 1 + len(stage.settings["sparsities"])
        return FORWARD * looks * min(stage.settings["images"] or validation, validation) / train
    scores = {**stage.settings.get("pruning", {}), **_channel_scores(stage)}
    return float(stage.settings["epochs"]) + _scored(scores, train) / train


def _solving(stage: Stage, every: Mapping[str, Stage], layers: Sequence[Layer]) -> float:
    """The seconds of a rung's equations: what is left in them, its cut tells."""
    if stage.kind != RUNG:
        return 0.0
    cut = stage
    while cut.kind == RUNG:
        cut = every[cut.parent]
    removed = float(cut.settings["target"])
    return solving_seconds(stage.settings["correction"], layers, removed, stage.settings["pruning"])


def _channel_scores(stage: Stage) -> Mapping[str, Any]:
    """The same settings of a cut of channels."""
    cut = stage.settings.get("cut") or {}
    criterion = CHANNEL_SCORING.get(cut.get("channel_importance", ""), "")
    return (
        {"criterion": criterion, "calibration_images": cut.get("calibration_images", 0)}
        if criterion
        else {}
    )


def _scored(pruning: Mapping[str, Any], train: float) -> float:
    """The training steps of one image that take as long as a cut's scoring."""
    cost = SCORING.get(pruning.get("criterion", ""), 0.0)
    return cost * min(pruning.get("calibration_images", 0), train)


def _expected(spec: Spec) -> dict[str, Work]:
    """The same by the spec, while its plan is not complete."""
    seeds, chain = len(spec.seeds), spec.iterative
    levels = [spec.one_shot.epochs] * len(spec.one_shot.amounts)
    longest = max(levels, default=0)
    if chain.enabled:
        whole = total_epochs(chain)
        levels += [step.epochs for step in steps(chain)] + [whole] * chain.equal_budget
        longest = max(longest, whole)
    base = Work((spec.baseline_epochs,) * seeds, spec.baseline_epochs)
    found = {"baseline": base, "pruned": Work(tuple(levels) * seeds, longest)}
    if (own := spec.structured).enabled:
        each = tuple(step.epochs for amount in own.ratios for step in chain_steps(own, amount))
        found[STRUCTURED] = Work(each * seeds, chain_epochs(own))
    return found


def _seconds(spec: Spec, work: dict[str, Work], paces: dict[str, float], cores: int) -> float:
    """Baselines, then the levels side by side, but never less than the longest branch."""
    levels = dict.fromkeys(WORKED, spec.finetune_threads)
    threads = {**levels, "baseline": spec.baseline_threads}
    seconds = START_SECONDS
    for kind, part in work.items():
        beside = max(1, cores // threads[kind])
        epochs = max(sum(part.epochs) / beside, part.longest)
        solving = max(sum(part.seconds) / beside, max(part.seconds, default=0.0))
        seconds += epochs * paces[kind] + solving + SECONDS_PER_STAGE * len(part.epochs) / beside
    return seconds


def image_steps(rung: str, images: float, layers: int) -> float:
    """The training steps of one image that take as long as a rung's passes over its images."""
    return images * (WHOLE[rung] + EACH_LAYER[rung] * layers)


def solving_seconds(
    rung: str, layers: Sequence[Layer], removed: float, pruning: Mapping[str, Any]
) -> float:
    """Seconds to solve for what is left of the weights where the share `removed` is gone.

    A pattern of k weights left costs k^3 / 3, the Cholesky factor of its equations. With single
    weights or kernels every output channel has a pattern of its own; with filters, and in layers
    that are spared, a layer has one. `prune` holds a `PruningSpec`'s settings.
    """
    if rung != "least_squares":
        return 0.0
    cut = {layer.name for layer in prunable(layers, pruning["layers"], pruning["exclude"])}
    solved = [x for x in layers if x.kind != "attention" and math.prod(x.shape[1:]) <= MAX_INPUTS]
    return sum(_solving_work(x, removed if x.name in cut else 0.0, pruning) for x in solved) / RATE


def _solving_work(layer: Layer, removed: float, pruning: Mapping[str, Any]) -> float:
    alike = not removed or pruning["granularity"] == "filter"
    patterns = 1 if alike else layer.shape[0]
    return float(patterns * ((1 - removed) * math.prod(layer.shape[1:])) ** 3 / 3)
