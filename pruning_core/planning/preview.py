"""What a run trains, before it runs: sparsity and learning rate of each model over its epochs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from pruning_core.methods.layers import Layer
from pruning_core.methods.lr_schedules import rate
from pruning_core.methods.recovery import RECOVERY_METHODS
from pruning_core.methods.strategies import (
    EQUAL_SCHEDULE,
    ITERATIVE,
    ONE_SHOT,
    STRATEGIES,
    STRUCTURED,
)
from pruning_core.planning.inspection_types import InspectGroupsResult, InspectModelResult
from pruning_core.planning.inspections import data_facts, inspect_data, mask_targets, model_facts
from pruning_core.planning.model_types import ModelResult
from pruning_core.planning.pruned import (
    SCHEDULE_FIELDS,
    finetune_training,
    lr_segments,
)
from pruning_core.planning.size_estimate import COMPRESSED, ExpectedSize, expected_size
from pruning_core.planning.stage import FilesReader, Plan, PlannedModel, Reader, known
from pruning_core.planning.structured import inspect_groups, structured_segments
from pruning_core.settings.conditions import budget_controls
from pruning_core.settings.pruning_steps import (
    Step,
    last_target,
    steps,
    structured_steps,
    total_epochs,
)
from pruning_core.settings.serialization import plain
from pruning_core.settings.spec import Spec

SAMPLES = 24  # of each learning-rate schedule
Point = tuple[float, float]


@dataclass(frozen=True)
class TrainedStep:
    """A pruning step to `sparsity` (a fraction) and its training, from epoch `start` to `end`.

    Epochs count from the end of the baseline. `accuracy` is the mean over the seeds that are
    already measured, None where there is none.
    """

    start: float
    end: float
    sparsity: float
    accuracy: float | None = None


@dataclass(frozen=True)
class TrainingSeries:
    """One series over the fine-tuning epochs: a chain of pruning steps, or a single one.

    `rates` are points (epoch, learning rate).
    """

    strategy: str
    steps: tuple[TrainedStep, ...]
    rates: tuple[Point, ...]

    @property
    def epochs(self) -> float:
        """The fine-tuning epochs of the series."""
        return self.steps[-1].end


@dataclass(frozen=True)
class Work:
    """The training epochs of all models and seeds, and how many stages are computed already."""

    epochs: float
    stages: int
    done: int


def training_series(
    spec: Spec, measured: Mapping[tuple[str, int, float], float]
) -> list[TrainingSeries]:
    """Every series of a spec. `measured` is the result of `measured_accuracies`."""
    chains = [
        _one_series(
            ONE_SHOT, [Step(target, spec.one_shot.epochs)], _whole(spec, spec.one_shot.epochs)
        )
        for target in spec.one_shot.amounts
    ]
    chain = spec.iterative
    if chain.enabled:
        chains.append(_one_series(ITERATIVE, steps(chain), lr_segments(spec)))
        step = Step(last_target(chain), total_epochs(chain))
        for control in budget_controls(spec):
            equal = control == EQUAL_SCHEDULE
            segments = lr_segments(spec) if equal else _whole(spec, step.epochs)
            chains.append(_one_series(control, [step], segments))
    for ratio in spec.structured.ratios if spec.structured.enabled else ():
        planned = structured_steps(spec.structured, ratio)
        chains.append(_one_series(STRUCTURED, planned, structured_segments(spec, ratio)))
    start = _rewound_share(spec)
    return [
        TrainingSeries(
            series.strategy,
            tuple(_with_accuracy(series, i, measured) for i in range(len(series.steps))),
            tuple(_rates(segments, start)),
        )
        for series, segments in chains
    ]


def measured_accuracies(plan: Plan, store: Reader) -> dict[tuple[str, int, float], float]:
    """The mean test accuracy of each finished model, by strategy, step and target."""
    accuracies: dict[tuple[str, int, float], list[float]] = {}
    for model in plan.models:
        if result := known(store, model.key, ModelResult):
            accuracies.setdefault(_place(model), []).append(result.accuracy)
    return {place: fmean(values) for place, values in accuracies.items()}


def work(spec: Spec, plan: Plan, store: Reader) -> Work:
    """How much a run trains, and how much of it is in the store."""
    done = sum(store.exists(stage.key) for stage in plan.stages)
    return Work(training_epochs(spec), len(plan.stages), done)


def training_epochs(spec: Spec) -> float:
    """The training epochs of the baseline and of all models, for all seeds."""
    epochs = spec.baseline_epochs + sum(series.epochs for series in training_series(spec, {}))
    return plain(epochs * len(spec.seeds))


def _place(model: PlannedModel) -> tuple[str, int, float]:
    return model.strategy, model.iteration, model.target


Segments = Sequence[Mapping[str, Any]]


def _one_series(
    strategy: str, planned: Sequence[Step], segments: Segments
) -> tuple[TrainingSeries, Segments]:
    steps, before = list[TrainedStep](), 0.0
    for step in planned:
        end = plain(before + step.epochs)
        steps.append(TrainedStep(before, end, step.target))
        before = end
    return TrainingSeries(strategy, tuple(steps), ()), segments


def _with_accuracy(
    series: TrainingSeries, i: int, measured: Mapping[tuple[str, int, float], float]
) -> TrainedStep:
    step = series.steps[i]
    several = STRATEGIES[series.strategy].one_chain or len(series.steps) > 1
    place = (series.strategy, i + 1 if several else 0, step.sparsity)
    return replace(step, accuracy=measured.get(place))


def _whole(spec: Spec, epochs: float) -> Segments:
    """One learning-rate schedule over all epochs of a model."""
    train = finetune_training(spec)
    fields = {name: getattr(train, name) for name in SCHEDULE_FIELDS}
    segment = {"epochs": epochs, "lr_from_epoch": 0, "lr_epochs": epochs, "train": fields}
    return [{**segment, "final": False}] * (epochs > 0)


def _rewound_share(spec: Spec) -> float:
    """The share of its learning-rate schedule at which training starts, with rewinding."""
    if not RECOVERY_METHODS[spec.recovery.method].rewinds:
        return 0.0
    return spec.recovery.rewind_epoch / max(spec.baseline_epochs, 1)


def _rates(segments: Segments, start: float) -> Iterator[Point]:
    """Points of the learning rate over the epochs; final fine-tuning does not rewind."""
    before = 0.0
    for segment in segments:
        first = 0.0 if segment["final"] else start
        for i in range(SAMPLES + 1):
            epoch = segment["epochs"] * i / SAMPLES
            done = (segment["lr_from_epoch"] + epoch) / segment["lr_epochs"]
            yield before + epoch, rate(segment["train"], first + (1 - first) * min(done, 1.0))
        before += segment["epochs"]


def smallest_model(spec: Spec, store: FilesReader) -> ExpectedSize | None:
    """The expected size of the smallest model of a run; None until the model is inspected.

    Raises `SpecError` where the sparsities of layers cannot be chosen.
    """
    facts = model_facts(spec, store)
    if facts is None:
        return None
    layers = [Layer(**layer) for layer in facts.layers]
    sizes = [
        expected_size(spec, layers, facts.parameters, max(mask_targets(spec), default=0.0)),
        *_structured_sizes(spec, store, facts),
    ]
    return min(sizes, key=lambda size: size.bytes)


def _structured_sizes(
    spec: Spec, store: FilesReader, facts: InspectModelResult
) -> list[ExpectedSize]:
    """The sizes of the models of structured pruning, from its dry run."""
    data = data_facts(inspect_data(spec, store), store)
    if not spec.structured.enabled or data is None:
        return []
    dry_run = known(store, inspect_groups(spec, len(data.classes)).key, InspectGroupsResult)
    kept = dry_run.kept if dry_run else []
    return [
        ExpectedSize(row["parameters"], facts.parameters, COMPRESSED * row["bytes"]) for row in kept
    ]
