"""The stage of a level: of a spec's settings those that can change its result."""

from __future__ import annotations

from typing import Any

from pruning_core.common.errors import plain
from pruning_core.methods.criteria import IMAGES, MOVEMENT, needs
from pruning_core.methods.granularity import NORMED
from pruning_core.planning.layer_checks import FLOORED
from pruning_core.planning.recovery import level_recovery
from pruning_core.planning.stage import Stage
from pruning_core.settings.spec import PruneSpec, Spec, TrainSpec, to_dict
from pruning_core.settings.strategies import Step


def level(
    spec: Spec,
    parent: Stage,
    step: Step,
    chain: tuple[float, float],
    train: TrainSpec,
    last: bool = True,
) -> Stage:
    """A cut and its training; `chain` = (epochs before, epochs in all).

    No cut follows that of the `last` level of its chain.
    The target stands there as text: rounded as other floats are, two targets that differ by
    one weight would share a key.
    """
    machine = {name: parent.settings[name] for name in ("seed", "device", "precision")}
    prune = _read_of(spec.prune, step)
    control = parent.kind == "baseline" and not step.target
    settings = {
        "target": repr(step.target),
        "prune": _pruning(prune, step),
        "train": to_dict(train if step.epochs else _untrained(train, prune)),
        "recovery": level_recovery(spec, step.epochs, control),
        "epochs": step.epochs,
        "lr_from_epoch": chain[0],
        "lr_epochs": chain[1],
        "keep_optimizer": plain(chain[0] + step.epochs) < chain[1],
        "threads": spec.level_threads,
        **_returning(step, spec.prune),
        **_norms(step, spec.prune),
        **machine,
    }
    if needs(spec.prune.criterion, MOVEMENT) and not last:
        settings["keep_movement"] = True
    return Stage("level", parent.key, settings, threads=spec.level_threads)


def _returning(step: Step, prune: PruneSpec) -> dict[str, Any]:
    """How weights come back in a step; nothing where none do."""
    if step.exchange:
        return {"exchange": step.exchange, "exchange_images": prune.score_images}
    return {"lifted": True} if step.lifted else {}


def _norms(step: Step, prune: PruneSpec) -> dict[str, str]:
    """Whether batch norm's weight and bias go with a filter: where whole outputs go, for good.

    Where filters come back they would find batch norm at 0, through which no gradient passes.
    """
    outputs = prune.granularity == "filter" and prune.dim == 0
    return {"norms": "zeroed"} if outputs and step.target and not step.returns else {}


def _read_of(prune: PruneSpec, step: Step) -> PruneSpec:
    """What is read of these settings: where nothing goes, only which layers are counted."""
    return prune if step.target else PruneSpec(layers=prune.layers, spare=prune.spare)


def _untrained(train: TrainSpec, prune: PruneSpec) -> TrainSpec:
    """What is read of these settings where nothing is trained: how a criterion takes images."""
    return TrainSpec(batch_size=train.batch_size) if _looks(prune) else TrainSpec()


def _looks(prune: PruneSpec) -> bool:
    return needs(prune.criterion, IMAGES)


def _pruning(prune: PruneSpec, step: Step) -> dict[str, Any]:
    """The settings of a cut that can change it; 2 and 2.0 are one norm."""
    joined = prune.criterion in NORMED or step.exchange > 0
    read = {
        "by_hand": prune.scope == "hand",
        "keep_floor": prune.scope in FLOORED,
        "norm": prune.granularity == "filter" and joined,
        "dim": prune.granularity == "filter",
        "score_images": _looks(prune),
    }
    settings = {**to_dict(prune), "norm": repr(float(prune.norm))}
    return {name: value for name, value in settings.items() if read.get(name, True)}
