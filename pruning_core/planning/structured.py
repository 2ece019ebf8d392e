"""The stages of channels really removed: one chain an amount, and the dry run before them."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from pruning_core.methods.channel_importance import looks
from pruning_core.methods.strategies import STRUCTURED
from pruning_core.planning.levels import calm, level_recovery, level_training, tail_training
from pruning_core.planning.stage import Point, Stage
from pruning_core.settings.recovery import RecoverySpec
from pruning_core.settings.serialization import plain
from pruning_core.settings.spec import Spec, SpecError, TrainSpec, to_dict
from pruning_core.settings.strategies import Step
from pruning_core.settings.structured import StructuredSpec, chain_epochs, chain_steps

# A share of the channels that any group that can be cut at all can lose.
LEAST = 0.001
MACHINE = ("seed", "device", "precision")


def inspection(spec: Spec, classes: int) -> Stage:
    """The dry run: which layers are coupled, which cannot be cut, and what the cuts would leave.

    It looks at the architecture, so it takes random weights and downloads nothing.
    """
    settings = {
        "model": {**to_dict(spec.model), "weights": "none"},
        "classes": classes,
        "image_size": spec.data.image_size,
        "amounts": [repr(amount) for amount in spec.structured.amounts],
        "cut": _cut(spec),
        "torch_pruning": _library(),
    }
    return Stage("inspect_structure", "", settings)


def groups_to_scan(spec: Spec) -> Spec:
    """The spec whose dry run names every coupled group that can be cut at all.

    How a run recovers is no matter here, and must not be refused beside a cut that is not its own.
    """
    how = spec.structured.importance
    own = StructuredSpec(True, (LEAST,), "channels", how, round_to=1, max_ratio=1 - LEAST)
    return replace(spec, structured=own, recovery=RecoverySpec(), lr_span="step")


def cuttable(found: dict[str, Any], model_facts: dict[str, Any]) -> list[str]:
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


def branches(spec: Spec, baseline: Stage) -> list[tuple[Stage, Point]]:
    """The chains of a baseline. A single cut is iteration 0; else the first is 1, the tail last."""
    found = list[tuple[Stage, Point]]()
    for amount in spec.structured.amounts if spec.structured.enabled else ():
        steps, parent = chain_steps(spec.structured, amount), baseline
        for i, step in enumerate(steps, start=len(steps) > 1):
            before = plain((i - 1) * spec.structured.epochs) if len(steps) > 1 else 0
            parent = _stage(spec, parent, step, before)
            seed = baseline.settings["seed"]
            found.append((parent, Point(STRUCTURED, seed, i, step.target, parent.key, step.tail)))
    return found


def _stage(spec: Spec, parent: Stage, step: Step, before: float) -> Stage:
    """A cut and its training. No momentum goes on over a cut: the weights have other shapes."""
    own = calm(spec) if step.tail else spec
    train = tail_training(spec) if step.tail else level_training(spec)
    curve = _curve(spec, step, before)
    settings = {
        "target": repr(step.target),
        "cut": {} if step.tail else _cut(spec),
        "prune": {"layers": spec.prune.layers, "spare": list(spec.prune.spare)},
        "train": to_dict(train if step.epochs else _untrained(spec)),
        "recovery": level_recovery(own, step.epochs),
        "epochs": step.epochs,
        "lr_from_epoch": curve[0],
        "lr_epochs": curve[1],
        "threads": spec.level_threads,
        **{name: parent.settings[name] for name in MACHINE},
    }
    return Stage(STRUCTURED, parent.key, settings, threads=spec.level_threads)


def _cut(spec: Spec) -> dict[str, Any]:
    """The settings of a cut that can change it."""
    own = to_dict(spec.structured)
    names = ("of", "importance", "scope", "round_to", "max_ratio")
    cut = {name: own[name] for name in names}
    if looks(spec.structured.importance):
        cut["score_images"] = spec.prune.score_images
    return cut


def _untrained(spec: Spec) -> TrainSpec:
    """What is read of training where there is none: how an importance takes images."""
    reads = looks(spec.structured.importance)
    return TrainSpec(batch_size=spec.finetune.batch_size) if reads else TrainSpec()


def _curve(spec: Spec, step: Step, before: float) -> tuple[float, float]:
    """Where on its learning-rate curve a step begins, and how many epochs the curve covers."""
    chain = spec.structured
    if spec.lr_span == "whole":
        return before, chain_epochs(chain)
    if spec.lr_span == "chain" and not step.tail:
        return before, plain(chain.steps * chain.epochs)
    return 0, step.epochs
