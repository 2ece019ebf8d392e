"""How long a run takes on this machine, from measured speeds.

Before the first run the speed comes from a short trial of the model. After it, the speed comes
from the finished stages of the plan.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

from pruning_core.common.formatting import format_time_range
from pruning_core.common.machine import LOWEST_CORE_SHARE
from pruning_core.methods.datasets import DATASETS
from pruning_core.methods.recovery import RECOVERY_METHODS
from pruning_core.planning.costs import (
    KeyedStages,
    Sizes,
    Work,
    expected_work,
    planned_work,
)
from pruning_core.planning.inspection_types import TRIAL_IMAGES, InspectModelResult
from pruning_core.planning.inspections import data_facts, inspect_data, inspect_model, known_layers
from pruning_core.planning.model_types import ModelResult
from pruning_core.planning.stage import FilesReader, Plan, Stage, known
from pruning_core.planning.stage_kinds import ESTIMATED_KINDS, STAGE_KINDS
from pruning_core.settings.recovery import RecoverySpec
from pruning_core.settings.spec import Spec

Range = tuple[float, float]  # the lowest and the highest value

# Besides its epochs a stage starts, evaluates and is stored. Before the first stage, the worker
# starts.
SECONDS_PER_STAGE: Range = (0.5, 1.5)
START_SECONDS: Range = (3.0, 8.0)
# The trial is forward and backward passes; training also steps the optimizer and augments. With
# batches of 32 to 128, MobileNetV2 and V3 and ResNet18 at 32 to 96 pixels had 0.58 to 0.81 of the
# speed that the trial promised on a busy machine, and MobileNetV2 at 32 pixels had 0.75 to 1.06 of
# it on an idle one.
TRAINING_SHARE: Range = (0.6, 1.05)
# Twice the replicas make a step up to 1.8 times as fast: on two cores of an AMD EPYC (Zen 3) they
# gained 1.06 to 1.5 at 32 pixels, and 1.76 at 224 pixels.
MOST_GAIN = 1.8
# The finished stages of a kind differ in their pace by about a tenth, on a machine without others.
PACE_ERROR = 0.1
# Without the gradients of the weights, about a third of the products of a step fall away.
FROZEN_STEPS = 0.75
# Knowledge distillation adds the teacher's forward pass, a third of a training step.
DISTILLATION_STEPS = 4 / 3
# The speed is measured again so often, and no sooner after the last time, in seconds.
MOST_ATTEMPTS, RETRY_SECONDS = 5, 30.0


@dataclass(frozen=True)
class Estimate:
    """The seconds of the stages that are not in the cache yet: between `low` and `high`."""

    low: float
    high: float

    @property
    def remaining(self) -> float:
        """The middle of the range in seconds."""
        return (self.low + self.high) / 2


def probe(spec: Spec, store: FilesReader, running: Collection[str] = ()) -> Stage | None:
    """The inspection that measures the speed; None while the data set is unknown.

    It uses random weights, so that a preset can be inspected without a download. Where the machine
    was busy, it is the next attempt, unless other stages run: `running` holds their keys.
    """
    last: InspectModelResult | None = None
    stage: Stage | None = None
    for attempt in _attempts(spec, store):
        waits = last and (
            set(running) - {attempt.key} or time.time() - last.measured < RETRY_SECONDS
        )
        facts = known(store, attempt.key, InspectModelResult)
        if facts is None and waits:
            break
        stage, last = attempt, facts
        if facts is None or not _was_busy(facts):
            break
    return stage


def _attempts(spec: Spec, store: FilesReader) -> Iterator[Stage]:
    """The inspections that time the model, in their order."""
    size = _data_size(spec, store)
    if size is None:
        return
    model = replace(spec.model, weights="none")
    # A recovery method may be refused without the weights, and does not change the speed.
    random_weights = replace(spec, model=model, recovery=RecoverySpec())
    for attempt in range(MOST_ATTEMPTS + 1):
        yield inspect_model(random_weights, size[1], store.machine, attempt or None)


def _was_busy(facts: InspectModelResult) -> bool:
    """Whether other programs used the processor during the trial."""
    return facts.core_share is not None and facts.core_share < LOWEST_CORE_SHARE


def estimate(spec: Spec, plan: Plan, store: FilesReader, cores: int) -> Estimate | None:
    """The seconds of a run on this number of cores; None until the speed is measured."""
    stages = [(stage.key, stage) for stage in plan.stages]  # a key is a hash: compute each once
    done = {key for key, _ in stages if store.exists(key)}
    work = planned_work(stages, done, _sizes(spec, store)) if plan.complete else expected_work(spec)
    trial = _trial(spec, store)
    if trial is None:
        return None
    replicas = {kind: _replicas(spec, kind, trial.device) for kind in ESTIMATED_KINDS}
    # With fewer cores than replicas, one core computes them one after another.
    together = {kind: count if count <= cores else 1 for kind, count in replicas.items()}
    parallel = {kind: max(1, cores // count) for kind, count in replicas.items()}
    paces = _paces(spec, [pair for pair in stages if pair[0] in done], trial, together, store)
    if plan.complete and not any(part.epochs for part in work.values()):
        return Estimate(0.0, 0.0)
    low, high = (
        _seconds(work, {kind: pace[end] for kind, pace in paces.items()}, end, parallel)
        for end in (0, 1)
    )
    return Estimate(low, high)


def estimate_text(estimated: Estimate | None) -> str:
    """The remaining time, rounded to the precision of the estimate: "2 to 4 min"."""
    if estimated is None:
        return "measuring"
    if estimated.high == 0:
        return "instant (all results cached)"
    return format_time_range(estimated.low, estimated.high)


def _data_size(spec: Spec, store: FilesReader) -> tuple[int, int] | None:
    """The numbers of training images and of classes; None while they are unknown."""
    dataset = DATASETS[spec.data.name]
    if dataset.train_images:
        return dataset.train_images, dataset.classes
    facts = data_facts(inspect_data(spec, store), store)
    return (sum(facts.train_counts), len(facts.classes)) if facts else None


def _sizes(spec: Spec, store: FilesReader) -> Sizes:
    """The sizes of training and validation set; one image each while they are unknown."""
    size, split = _data_size(spec, store), spec.data.validation_split
    images = spec.data.train_size or (size[0] if size else 2)
    layers = tuple(known_layers(spec, store))
    return Sizes(max(1.0, images * (1 - split)), max(1.0, images * split), layers)


def _paces(
    spec: Spec,
    done: KeyedStages,
    facts: InspectModelResult,
    together: dict[str, int],
    store: FilesReader,
) -> dict[str, Range]:
    """Seconds per epoch for each kind of stage: of finished stages, or else of the trial.

    `together` are the replicas of a kind that train at the same time.
    """
    paces = {}
    for kind in ESTIMATED_KINDS:
        low, high = _trial_pace(spec, kind, facts, _sizes(spec, store).train, together[kind])
        # For structured pruning the pace of the dense model: no pruned model is slower.
        distills = spec.recovery.distillation_weight and STAGE_KINDS[kind].prunes
        steps = DISTILLATION_STEPS if distills else 1.0
        if STAGE_KINDS[kind].prunes and not RECOVERY_METHODS[spec.recovery.method].trains_weights:
            steps *= FROZEN_STEPS
        paces[kind] = _measured_pace(kind, done, store) or (low * steps, high * steps)
    return paces


def _trial_pace(
    spec: Spec, kind: str, facts: InspectModelResult, images: float, together: int
) -> Range:
    """Seconds per epoch of so many images, from the trial.

    The slowest pace also assumes that the machine stays as busy as it was.
    """
    baseline = kind == "baseline"
    batch = (spec.baseline if baseline else spec.finetune).batch_size
    slow, fast = TRAINING_SHARE
    fast *= MOST_GAIN ** math.log2(together)
    core_share = 1.0 if facts.core_share is None else facts.core_share
    slow *= facts.typical_share * core_share
    # A step takes a fixed time, which a larger batch divides among more images.
    fixed = facts.step_seconds * (1 / batch - 1 / TRIAL_IMAGES)
    epoch = images * max(1 / facts.images_per_second + fixed, 0.0)
    return epoch / fast, epoch / slow


def _trial(spec: Spec, store: FilesReader) -> InspectModelResult | None:
    """The quietest trial of the speed: with random weights, or with the weights of the spec."""
    size = _data_size(spec, store)
    if size is None:
        return None
    trials = []
    for stage in _attempts(spec, store):
        if (facts := known(store, stage.key, InspectModelResult)) is None:
            break
        trials.append(facts)
    if trial := known(store, inspect_model(spec, size[1], store.machine).key, InspectModelResult):
        trials.append(trial)
    return max(trials, key=lambda facts: facts.core_share or 1.0, default=None)


def _measured_pace(kind: str, done: KeyedStages, store: FilesReader) -> Range | None:
    """Seconds per epoch of the finished stages of a kind; None where none is finished."""
    trained = [key for key, stage in done if stage.kind == kind and stage.epochs]
    results = [known(store, key, ModelResult) for key in trained]
    paces = [r.seconds / r.epochs for r in results if r and r.seconds and r.epochs]
    return (min(paces) * (1 - PACE_ERROR), max(paces) * (1 + PACE_ERROR)) if paces else None


def _replicas(spec: Spec, kind: str, device: str) -> int:
    """The replicas of a kind of stage that trains, and with them its cores; 1 of others."""
    if kind == "baseline":
        return spec.replicas_of_baseline(device)
    return spec.replicas_of_finetuning(device, epochs=1) if STAGE_KINDS[kind].prunes else 1


def _seconds(
    work: dict[str, Work], paces: dict[str, float], end: int, parallel: dict[str, int]
) -> float:
    """The seconds of baselines, then of the other stages side by side.

    No kind takes less time than its longest chain. `paces` are those of the low or the high end,
    0 or 1, of the range. `parallel` is the number of stages of a kind that run at a time.
    """
    seconds = START_SECONDS[end]
    for kind, part in work.items():
        at_once = parallel[kind]
        epochs = max(sum(part.epochs) / at_once, part.longest)
        solving = max(sum(part.seconds) / at_once, max(part.seconds, default=0.0))
        stages = SECONDS_PER_STAGE[end] * len(part.epochs) / at_once
        seconds += epochs * paces[kind] + solving + stages
    return seconds
