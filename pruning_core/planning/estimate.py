"""How long a run takes on this machine, from measured speeds.

Before the first run the speed comes from a short trial of the model. After it, the speed comes
from the finished stages of the plan.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from pruning_core.common.formatting import format_seconds
from pruning_core.methods.datasets import DATASETS
from pruning_core.planning.costs import (
    KeyedStages,
    Sizes,
    Work,
    expected_work,
    planned_work,
)
from pruning_core.planning.inspection_types import InspectModelResult
from pruning_core.planning.inspections import data_facts, inspect_data, inspect_model, known_layers
from pruning_core.planning.model_types import ModelResult
from pruning_core.planning.stage import FilesReader, Plan, Stage, known
from pruning_core.planning.stage_kinds import ESTIMATED_KINDS, STAGE_KINDS
from pruning_core.settings.recovery import RecoverySpec
from pruning_core.settings.spec import Spec

SECONDS_PER_STAGE = 2.0
START_SECONDS = 8.0
# The trial is forward and backward passes alone; training also steps the optimizer, augments and
# validates. Measured on 2 cores: 0.72 of the trial's speed for baselines, 0.93 for pruned models.
TRAINING_SHARE = 0.8
# Knowledge distillation adds the teacher's forward pass, a third of a training step.
DISTILLATION_STEPS = 4 / 3


@dataclass(frozen=True)
class Estimate:
    """Seconds of a whole run, and of the stages that are not in the cache yet."""

    total: float
    remaining: float


def probe(spec: Spec, store: FilesReader) -> Stage | None:
    """The inspection that measures the speed; None while the data set is unknown.

    It uses random weights, so that a preset can be inspected without a download.
    """
    size = _data_size(spec, store)
    if size is None:
        return None
    model = replace(spec.model, weights="none")
    # A recovery method may be refused without the weights, and does not change the speed.
    return inspect_model(replace(spec, model=model, recovery=RecoverySpec()), size[1])


def estimate(spec: Spec, plan: Plan, store: FilesReader, cores: int) -> Estimate | None:
    """The seconds of a run on this number of cores; None until the speed is measured."""
    stages = [(stage.key, stage) for stage in plan.stages]  # a key is a hash: compute each once
    done = {key for key, _ in stages if store.exists(key)}
    total, remaining = (
        planned_work(stages, finished, _sizes(spec, store))
        if plan.complete
        else expected_work(spec)
        for finished in (set[str](), done)
    )
    all_done = plan.complete and not any(work.epochs for work in remaining.values())
    paces = _paces(spec, [pair for pair in stages if pair[0] in done], store)
    if paces is None:
        return None
    return Estimate(
        _seconds(spec, total, paces, cores),
        0.0 if all_done else _seconds(spec, remaining, paces, cores),
    )


def estimate_text(estimated: Estimate | None) -> str:
    """The remaining time, rounded to the precision of the estimate."""
    if estimated is None:
        return "measuring"
    seconds = estimated.remaining
    if seconds == 0:
        return "instant (all results cached)"
    unit = 5 if seconds < 60 else 10 if seconds < 600 else 60
    return f"about {format_seconds(max(unit, unit * round(seconds / unit)))}"


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


def _paces(spec: Spec, done: KeyedStages, store: FilesReader) -> dict[str, float] | None:
    """Seconds per epoch for each kind of stage: of finished stages, or else of the trial."""
    facts = _trial(spec, store)
    if facts is None:
        return None
    pace = _sizes(spec, store).train / (facts.images_per_second * TRAINING_SHARE)
    paces = dict.fromkeys(ESTIMATED_KINDS, pace)
    if spec.recovery.distillation_weight:
        # For structured pruning the pace of the dense model: no pruned model is slower.
        pruning = (name for name, kind in STAGE_KINDS.items() if kind.prunes)
        paces |= dict.fromkeys(pruning, pace * DISTILLATION_STEPS)
    return {kind: _measured_pace(kind, done, store) or paces[kind] for kind in ESTIMATED_KINDS}


def _trial(spec: Spec, store: FilesReader) -> InspectModelResult | None:
    """The inspection of the model: with random weights, or with the weights of the spec."""
    stage, size = probe(spec, store), _data_size(spec, store)
    if stage is None or size is None:
        return None
    inspection = inspect_model(spec, size[1])
    keys = (stage.key, inspection.key)
    return next((facts for key in keys if (facts := known(store, key, InspectModelResult))), None)


def _measured_pace(kind: str, done: KeyedStages, store: FilesReader) -> float | None:
    """Seconds per epoch over the finished stages of a kind; None where none is finished."""
    trained = [key for key, stage in done if stage.kind == kind and stage.epochs]
    results = [known(store, key, ModelResult) for key in trained]
    timed = [result for result in results if result and result.seconds]
    epochs = sum(result.epochs for result in timed)
    return sum(result.seconds for result in timed) / epochs if epochs else None


def _seconds(spec: Spec, work: dict[str, Work], paces: dict[str, float], cores: int) -> float:
    """The seconds of baselines, then of the other stages side by side.

    No kind takes less time than its longest chain.
    """
    threads = dict.fromkeys(ESTIMATED_KINDS, spec.finetune_threads)
    threads["baseline"] = spec.baseline_threads
    seconds = START_SECONDS
    for kind, part in work.items():
        parallel = max(1, cores // threads[kind])
        epochs = max(sum(part.epochs) / parallel, part.longest)
        solving = max(sum(part.seconds) / parallel, max(part.seconds, default=0.0))
        stages = SECONDS_PER_STAGE * len(part.epochs) / parallel
        seconds += epochs * paces[kind] + solving + stages
    return seconds
