"""The stages of channels really removed: one chain an amount, and the dry run before them."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from pruning_core.common.errors import SpecError
from pruning_core.methods.channel_importance import CHANNEL_IMPORTANCES
from pruning_core.methods.strategies import STRUCTURED
from pruning_core.planning.pruned import (
    final_training,
    finetune_training,
    recovery_settings,
    without_rewinding,
)
from pruning_core.planning.stage import PlannedModel, Stage
from pruning_core.settings.recovery import RecoverySpec
from pruning_core.settings.serialization import keyed, plain, to_dict
from pruning_core.settings.spec import Spec
from pruning_core.settings.strategies import Step
from pruning_core.settings.structured import StructuredSpec, chain_epochs, chain_steps
from pruning_core.settings.training import TrainSpec

# A share of the channels that any group that can be cut at all can lose.
LEAST = 0.001
MACHINE = ("seed", "device", "precision")


def inspect_groups(spec: Spec, classes: int) -> Stage:
    """The dry run: which layers are coupled, which cannot be cut, and what the cuts would leave.

    It looks at the architecture, so it takes random weights and downloads nothing.
    """
    settings = {
        "model": {**to_dict(spec.model), "weights": "none"},
        "classes": classes,
        "image_size": spec.data.image_size,
        "ratios": [repr(amount) for amount in spec.structured.ratios],
        "removal": _removal(spec),
        "torch_pruning": _library(),
    }
    return Stage("inspect_groups", "", settings)


def all_groups_spec(spec: Spec) -> Spec:
    """The spec whose dry run names every coupled group that can be cut at all.

    How a run recovers is no matter here, and must not be refused beside a cut that is not its own.
    """
    how = spec.structured.channel_importance
    own = StructuredSpec(True, (LEAST,), "channels", how, round_to=1, max_ratio=1 - LEAST)
    return replace(spec, structured=own, recovery=RecoverySpec(), lr_schedule_span="step")


def prunable_groups(found: dict[str, Any], model_facts: dict[str, Any]) -> list[str]:
    """The coupled groups of a dry run that can be cut, in the order of the model's layers."""
    places = {layer["name"]: i for i, layer in enumerate(model_facts["layers"])}
    groups = [group["group"] for group in found["groups"] if not group["reason"]]
    return sorted(groups, key=lambda name: places.get(f"{name}.weight", len(places)))


def _library() -> str:
    """The version of torch-pruning. Raises `SpecError` where it is not installed."""
    try:
        return version("torch-pruning")
    except PackageNotFoundError:
        told = "this needs torch-pruning, which is not installed: pip install torch-pruning."
        raise SpecError("structured.enabled", told) from None


def branches(spec: Spec, baseline: Stage) -> list[tuple[Stage, PlannedModel]]:
    """The chains of a baseline. A single cut is iteration 0; else the first is 1, the tail last."""
    found = list[tuple[Stage, PlannedModel]]()
    for amount in spec.structured.ratios if spec.structured.enabled else ():
        steps, parent = chain_steps(spec.structured, amount), baseline
        for i, step in enumerate(steps, start=len(steps) > 1):
            before = plain((i - 1) * spec.structured.epochs) if len(steps) > 1 else 0
            parent = _stage(spec, parent, step, before)
            seed = baseline.settings["seed"]
            found.append(
                (parent, PlannedModel(STRUCTURED, seed, i, step.target, parent.key, step.final))
            )
    return found


def _stage(spec: Spec, parent: Stage, step: Step, before: float) -> Stage:
    """A cut and its training. No momentum goes on over a cut: the weights have other shapes."""
    own = without_rewinding(spec) if step.final else spec
    train = final_training(spec) if step.final else finetune_training(spec)
    curve = _curve(spec, step, before)
    settings = {
        "target": repr(step.target),
        "removal": {} if step.final else _removal(spec),
        "pruning": {"layers": spec.pruning.layers, "exclude": list(spec.pruning.exclude)},
        "train": keyed(train if step.epochs else _untrained(spec)),
        "recovery": recovery_settings(own, step.epochs),
        "epochs": step.epochs,
        "lr_from_epoch": curve[0],
        "lr_epochs": curve[1],
        "threads": spec.finetune_threads,
        **{name: parent.settings[name] for name in MACHINE},
    }
    return Stage(STRUCTURED, parent.key, settings, threads=spec.finetune_threads)


def _removal(spec: Spec) -> dict[str, Any]:
    """The settings of a channel removal that can change it."""
    settings = keyed(spec.structured)
    names = ("ratio_of", "channel_importance", "scope", "round_to", "max_ratio")
    removal = {name: settings[name] for name in names if name in settings}
    if uses_images(spec):
        removal["calibration_images"] = spec.pruning.calibration_images
    return removal


def uses_images(spec: Spec) -> bool:
    """Whether the channel importance looks at calibration images."""
    return CHANNEL_IMPORTANCES[spec.structured.channel_importance].uses_images


def _untrained(spec: Spec) -> TrainSpec:
    """What matters of training where nothing is trained: the batches of calibration images."""
    return TrainSpec(batch_size=spec.finetune.batch_size) if uses_images(spec) else TrainSpec()


def _curve(spec: Spec, step: Step, before: float) -> tuple[float, float]:
    """Where on its learning-rate curve a step begins, and how many epochs the curve covers."""
    chain = spec.structured
    if spec.lr_schedule_span == "run":
        return before, chain_epochs(chain)
    if spec.lr_schedule_span == "pruning" and not step.final:
        return before, plain(chain.steps * chain.epochs)
    return 0, step.epochs
