"""The stages of structured pruning: the dry run, and a chain of pruning steps for each ratio."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from pruning_core.common.errors import SpecError
from pruning_core.methods.channel_importance import CHANNEL_IMPORTANCES
from pruning_core.methods.layers import Layer
from pruning_core.methods.strategies import STRUCTURED
from pruning_core.planning.inspection_types import InspectGroupsResult, InspectGroupsSettings
from pruning_core.planning.model_types import BaselineSettings, ModelSettings, StructuredSettings
from pruning_core.planning.pruned import (
    final_training,
    finetune_training,
    recovery_settings,
    rounded_after,
    step_segments,
    without_rewinding,
)
from pruning_core.planning.stage import PlannedModel, Stage
from pruning_core.planning.stage_types import Json, restored, stored
from pruning_core.settings.pruning_steps import (
    Step,
    epochs_before,
    structured_epochs,
    structured_steps,
)
from pruning_core.settings.recovery import RecoverySpec
from pruning_core.settings.relevance import effective_settings, keyed_for
from pruning_core.settings.spec import Spec
from pruning_core.settings.structured import StructuredSpec
from pruning_core.settings.training import TrainSpec

# A ratio so small that every dependency group that can be pruned at all can reach it.
SMALLEST_RATIO = 0.001


def inspect_groups(spec: Spec, classes: int) -> Stage:
    """The dry run: the dependency groups, the layers that cannot be pruned, and the widths.

    It needs the architecture only, so it uses random weights and downloads nothing.
    """
    settings = InspectGroupsSettings(
        model={**keyed_for(spec, spec.model), "weights": "none"},
        classes=classes,
        image_size=spec.data.image_size,
        ratios=[repr(ratio) for ratio in spec.structured.ratios],
        removal=_removal(spec),
        torch_pruning=_library(),
    )
    return Stage("inspect_groups", "", stored(settings))


def all_groups_spec(spec: Spec) -> Spec:
    """The spec whose dry run names every dependency group that can be pruned at all.

    The recovery method is reset: nothing is trained, and some methods would refuse the steps.
    """
    structured = StructuredSpec(
        enabled=True,
        ratios=(SMALLEST_RATIO,),
        ratio_of="channels",
        channel_importance=spec.structured.channel_importance,
        round_to=1,
        max_ratio=1 - SMALLEST_RATIO,
    )
    return replace(spec, structured=structured, recovery=RecoverySpec(), lr_schedule_span="step")


def prunable_groups(dry_run: InspectGroupsResult, layers: Sequence[Layer]) -> list[str]:
    """The dependency groups of a dry run that can be pruned, in the order of the layers."""
    places = {layer.name: i for i, layer in enumerate(layers)}
    groups = [group["group"] for group in dry_run.groups if not group["reason"]]
    return sorted(groups, key=lambda name: places.get(f"{name}.weight", len(places)))


def _library() -> str:
    """The version of torch-pruning. Raises `SpecError` where it is not installed."""
    try:
        return version("torch-pruning")
    except PackageNotFoundError:
        message = "this needs torch-pruning, which is not installed: pip install torch-pruning."
        raise SpecError("structured.enabled", message) from None


def structured_branches(spec: Spec, baseline: Stage) -> list[tuple[Stage, PlannedModel]]:
    """For each ratio a chain of pruning steps from the baseline.

    A single step is iteration 0. Several are numbered from 1; final fine-tuning is the last.
    """
    branches = list[tuple[Stage, PlannedModel]]()
    seed = restored(BaselineSettings, baseline.settings).seed
    for ratio in spec.structured.ratios if spec.structured.enabled else ():
        steps, parent = structured_steps(spec.structured, ratio), baseline
        for i, step in enumerate(steps, start=len(steps) > 1):
            before = epochs_before(spec.structured.epochs, i - 1) if len(steps) > 1 else 0
            parent = _stage(spec, parent, step, before)
            model = PlannedModel(STRUCTURED, seed, i, step.target, parent.key, step.final)
            branches.append((parent, model))
    return branches


def _stage(spec: Spec, parent: Stage, step: Step, before: float) -> Stage:
    """A pruning step and its training, `before` epochs after the start of the chain.

    The optimizer's state is not kept over a pruning step: the weights have other shapes.
    """
    origin = restored(ModelSettings, parent.settings)
    step_spec = without_rewinding(spec) if step.final else spec
    train = final_training(spec) if step.final else finetune_training(spec)
    from_epoch, schedule_epochs = _schedule_place(spec, step, before)
    settings = StructuredSettings(
        target=repr(step.target),
        removal={} if step.final else _removal(spec),
        pruning={"layers": spec.pruning.layers, "exclude": list(spec.pruning.exclude)},
        train=keyed_for(spec, train if step.epochs else _untrained(spec)),
        recovery=recovery_settings(step_spec, step.epochs),
        epochs=step.epochs,
        lr_from_epoch=from_epoch,
        lr_epochs=schedule_epochs,
        first_epoch=rounded_after(before, step.epochs, (from_epoch, schedule_epochs)),
        replicas=spec.replicas_of_finetuning(origin.device, step.epochs),
        seed=origin.seed,
        device=origin.device,
        precision=origin.precision,
    )
    return Stage(STRUCTURED, parent.key, stored(settings), threads=settings.replicas)


def _removal(spec: Spec) -> dict[str, Any]:
    """The settings of a channel removal that can change it."""
    settings = effective_settings(spec, "structured")
    names = ("ratio_of", "channel_importance", "scope", "round_to", "max_ratio")
    removal = {name: settings[name] for name in names if name in settings}
    if uses_images(spec):
        removal["calibration_images"] = spec.pruning.calibration_images
    return removal


def uses_images(spec: Spec) -> bool:
    """Whether the channel importance uses calibration images."""
    return CHANNEL_IMPORTANCES[spec.structured.channel_importance].uses_images


def _untrained(spec: Spec) -> TrainSpec:
    """The settings of a step without training: calibration images come in batches."""
    return TrainSpec(batch_size=spec.finetune.batch_size) if uses_images(spec) else TrainSpec()


def structured_segments(spec: Spec, ratio: float) -> list[Json]:
    """The learning rates of the chain to a ratio, as the parts of one training."""
    return step_segments(spec, structured_steps(spec.structured, ratio), _schedule_place)


def _schedule_place(spec: Spec, step: Step, before: float) -> tuple[float, float]:
    """Where on its learning-rate schedule a step begins, and the epochs of the schedule."""
    chain = spec.structured
    if spec.lr_schedule_span == "run":
        return before, structured_epochs(chain)
    if spec.lr_schedule_span == "pruning" and not step.final:
        return before, epochs_before(chain.epochs, chain.steps)
    return 0, step.epochs
