"""The stage of a pruned model, with those settings of a spec that can change its result."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from pruning_core.common.formatting import format_count
from pruning_core.methods.criteria import MOVEMENT, needs
from pruning_core.methods.recovery import FINE_TUNING, RECOVERY_METHODS
from pruning_core.planning.model_types import ModelSettings, PrunedSettings
from pruning_core.planning.stage import Stage
from pruning_core.planning.stage_types import Json, restored, stored
from pruning_core.settings.pruning import PruningSpec
from pruning_core.settings.pruning_steps import Step, pruning_epochs, steps, total_epochs
from pruning_core.settings.relevance import effective_settings, has_effect, keyed_for
from pruning_core.settings.serialization import keyed, plain
from pruning_core.settings.spec import Spec
from pruning_core.settings.training import TrainSpec

FINAL_SCHEDULE = "cosine"
SCHEDULE_FIELDS = ("lr", "lr_schedule", "warmup")
CONTROL_WITHOUT_TEACHER = (
    "The fine-tuned dense control is trained without distillation, because its teacher would be "
    "the same model."
)
LOADED_WEIGHTS_NOTE = (
    "Epoch 0 is before the baseline training, so the remaining weights are reset to the loaded "
    "initial weights."
)
# Stands for the target of a step that prunes nothing, where conditions ask for one above 0.
ANY_SPARSITY = 0.5


def pruned_stage(
    spec: Spec,
    parent: Stage,
    step: Step,
    schedule: tuple[float, float],
    train: TrainSpec,
    last: bool = True,
    before: float = 0,
    segments: list[Json] | None = None,
    sensitivity: Sequence[str] = (),
) -> Stage:
    """A pruning step and its training, `before` epochs after the baseline.

    `schedule` is (epochs before this step, epochs in all) of the learning-rate schedule;
    `segments` are the parts of a training with several schedules. No pruning step follows the
    `last` one. `sensitivity` are the keys of the sensitivity analysis that the allocation
    reads. The target is stored as text: rounded as other floats are, two targets that differ
    by one weight would share a key.
    """
    origin = restored(ModelSettings, parent.settings)
    step_spec = _step_spec(spec, step)
    control = parent.kind == "baseline" and not step.target
    settings = PrunedSettings(
        target=repr(step.target),
        pruning=pruning_settings(step_spec),
        train=keyed_for(spec, train if step.epochs else _untrained(train, step_spec)),
        recovery=recovery_settings(spec, step.epochs, control),
        epochs=step.epochs,
        lr_from_epoch=schedule[0],
        lr_epochs=schedule[1],
        keep_optimizer=plain(schedule[0] + step.epochs) < schedule[1],
        replicas=spec.replicas_of_finetuning(origin.device, step.epochs),
        regrowth=step.regrowth or None,
        dense=(step.dense and not step.regrowth) or None,
        norms="zeroed" if _zeroes_batch_norm(step, spec.pruning) else None,
        keep_movement=(needs(spec.pruning.criterion, MOVEMENT) and not last) or None,
        first_epoch=rounded_after(before, step.epochs, schedule),
        lr_segments=segments,
        sensitivity=list(sensitivity) if sensitivity and step.target else None,
        seed=origin.seed,
        device=origin.device,
        precision=origin.precision,
    )
    return Stage("pruned", parent.key, stored(settings), threads=settings.replicas)


def rounded_after(before: float, epochs: float, schedule: tuple[float, float]) -> float | None:
    """The epochs before a stage, where they decide how a fraction of an epoch is rounded.

    The engine rounds a fraction of an epoch to batches together with all epochs before it, and the
    learning rates follow. Stages that begin and end with whole epochs, and those that train alone,
    do not depend on it, and their keys do not either.
    """
    end = plain(schedule[0] + epochs)
    inside = _fractional(end) and end < schedule[1]
    return before if _fractional(before) or inside else None


def _fractional(epochs: float) -> bool:
    return not isinstance(plain(epochs), int)


def lr_segments(spec: Spec) -> list[Json]:
    """The learning rates of the iterative run, as the parts of one training without its cuts."""
    return step_segments(spec, steps(spec.iterative), schedule_place)


def step_segments(
    spec: Spec, planned: Iterable[Step], place: Callable[[Spec, Step, float], tuple[float, float]]
) -> list[Json]:
    """The learning rates of a chain of steps; `place` is as `schedule_place`."""
    segments, before = list[Json](), 0.0
    for step in planned:
        lr_from_epoch, lr_epochs = place(spec, step, before)
        train = final_training(spec) if step.final else finetune_training(spec)
        segment = {
            "epochs": step.epochs,
            "lr_from_epoch": lr_from_epoch,
            "lr_epochs": lr_epochs,
            "final": step.final,
            "train": {name: getattr(train, name) for name in SCHEDULE_FIELDS},
        }
        segments += [segment] * (step.epochs > 0)
        before = plain(before + step.epochs)
    return segments


def _step_spec(spec: Spec, step: Step) -> Spec:
    """A spec that contains this step only, to evaluate conditions on it.

    Structured pruning, the sensitivity analysis and regrowth in other steps do not matter here.
    At sparsity 0 only the layers matter, because their zeros are counted; the other settings of
    pruning have their defaults, so that all specs share the dense control.
    """
    pruning = spec.pruning
    if not step.target:
        pruning = PruningSpec(layers=pruning.layers, exclude=pruning.exclude)
    return replace(
        spec,
        seeds=spec.seeds[:1],  # else a plan would check all seeds for each of its stages
        pruning=pruning,
        iterative=replace(spec.iterative, enabled=step.regrowth > 0),
        one_shot=replace(spec.one_shot, amounts=(step.target or ANY_SPARSITY,)),
        structured=replace(spec.structured, enabled=False),
        sensitivity=replace(spec.sensitivity, enabled=False),
        correction=replace(spec.correction, enabled=False),
        recovery=replace(spec.recovery, method=FINE_TUNING, rewind_epoch=0),
        lr_schedule_span="step",
    )


def _zeroes_batch_norm(step: Step, pruning: PruningSpec) -> bool:
    """Whether the weight and bias of batch norm are set to zero with a filter of output channels.

    False where filters are regrown: no gradient passes through a batch norm at 0, so a regrown
    filter could not train.
    """
    outputs = pruning.granularity == "filter" and pruning.filter_dim == 0
    return outputs and bool(step.target) and not step.returns


def _untrained(train: TrainSpec, step_spec: Spec) -> TrainSpec:
    """The settings of a step without training: calibration images come in batches."""
    images = has_effect("pruning.calibration_images", step_spec)
    return TrainSpec(batch_size=train.batch_size) if images else TrainSpec()


def pruning_settings(spec: Spec) -> dict[str, Any]:
    """The settings of pruning that have an effect; "2" and "2.0" are one norm."""
    settings = effective_settings(spec, "pruning")
    if "filter_norm" in settings:
        settings["filter_norm"] = repr(float(settings["filter_norm"]))
    return settings


def finetune_training(spec: Spec) -> TrainSpec:
    """How pruned models are trained: fine-tuning, with the baseline's schedule when rewinding."""
    if not RECOVERY_METHODS[spec.recovery.method].baseline_schedule:
        return spec.finetune
    schedule = {name: getattr(spec.baseline, name) for name in SCHEDULE_FIELDS}
    return replace(spec.finetune, **schedule)


def without_rewinding(spec: Spec) -> Spec:
    """The spec for final fine-tuning, which continues with the weights as they are."""
    if not RECOVERY_METHODS[spec.recovery.method].baseline_schedule:
        return spec
    return replace(spec, recovery=replace(spec.recovery, method=FINE_TUNING, rewind_epoch=0))


def final_training(spec: Spec) -> TrainSpec:
    """How final fine-tuning trains: along a cosine to 0, or along the schedule of the whole run."""
    if spec.lr_schedule_span == "run":
        return spec.finetune
    return replace(spec.finetune, lr_schedule=FINAL_SCHEDULE, warmup=0.0)


def schedule_place(spec: Spec, step: Step, before: float) -> tuple[float, float]:
    """Where on its learning-rate schedule a step begins, and the epochs of the schedule."""
    if spec.lr_schedule_span == "run":
        return before, total_epochs(spec.iterative)
    if spec.lr_schedule_span == "pruning" and not step.final:
        return before, pruning_epochs(spec.iterative)
    return 0, step.epochs


def recovery_settings(spec: Spec, epochs: float, control: bool = False) -> dict[str, Any]:
    """The part of a `RecoverySpec` that can change a model with this number of epochs.

    The dense `control` has no teacher: it starts as the teacher itself.
    """
    recovery = keyed(spec.recovery)
    names = ["method"]
    names += ["rewind_epoch"] if RECOVERY_METHODS[spec.recovery.method].rewinds else []
    distilled = bool(epochs and spec.recovery.distillation_weight and not control)
    names += ["distillation_weight", "distillation_temperature"] if distilled else []
    return {name: recovery[name] for name in names if name in recovery}


def kept_epoch(spec: Spec) -> int | None:
    """The epoch at which the baseline keeps its weights, for weight rewinding; else None."""
    method = RECOVERY_METHODS[spec.recovery.method]
    return spec.recovery.rewind_epoch if method.rewinds_weights else None


def recovery_notes(spec: Spec) -> list[str]:
    """Sentences on how the recovery method changes the effect of other settings."""
    distilled = spec.recovery.distillation_weight and 0 in spec.one_shot.amounts
    return [CONTROL_WITHOUT_TEACHER] * bool(distilled) + _rewinding_notes(spec)


def _rewinding_notes(spec: Spec) -> list[str]:
    method = RECOVERY_METHODS[spec.recovery.method]
    if not method.baseline_schedule:
        return []
    total, start = spec.baseline_epochs, spec.recovery.rewind_epoch
    notes = [
        f"{method.title} uses the learning rate, schedule and "
        f"warm-up of the baseline from epoch {start} of {total} to the end, compressed into the "
        "epochs of each pruning step."
    ]
    epochs = {spec.one_shot.epochs} if spec.one_shot.amounts else set()
    epochs |= {chain.epochs for chain in (spec.iterative, spec.structured) if chain.enabled}
    if total and epochs != {total - start}:
        notes.append(f"The paper uses {format_count(total - start, 'epoch')} per step.")
    if any(chain.enabled and chain.final_epochs for chain in (spec.iterative, spec.structured)):
        notes.append("Final fine-tuning does not rewind; it uses the learning rate of fine-tuning.")
    if 0 in epochs:
        notes.append("With 0 epochs, there is no training after rewinding.")
    loaded = spec.model.weights != "none" and start == 0
    return notes + [LOADED_WEIGHTS_NOTE] * (loaded and method.rewinds_weights)
