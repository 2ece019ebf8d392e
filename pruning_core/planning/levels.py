"""The stage of a level: of a spec's settings those that can change its result."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pruning_core.common.formatting import format_count
from pruning_core.methods.allocation import FLOORED
from pruning_core.methods.criteria import IMAGES, MOVEMENT, needs
from pruning_core.methods.granularity import NORMED
from pruning_core.methods.recovery import IN_WORDS, REWINDS
from pruning_core.planning.stage import Stage
from pruning_core.settings.serialization import plain
from pruning_core.settings.spec import PruneSpec, Spec, TrainSpec, to_dict
from pruning_core.settings.strategies import Step, cut_epochs, total_epochs

TAIL_CURVE = "cosine"
CURVE = ("lr", "lr_schedule", "warm_up")
UNTAUGHT = (
    "The dense control has no teacher: it begins as the very model that teaches, so it is "
    "fine-tuned on the labels alone."
)
LOADED = (
    "Epoch 0 of the baseline is before its own training: the surviving weights go back to the "
    "loaded weights."
)


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


def level_training(spec: Spec) -> TrainSpec:
    """How the levels are trained: fine-tuning, with the baseline's curve where that is rewound."""
    if spec.recovery.method == "fine_tune":
        return spec.finetune
    return replace(spec.finetune, **{name: getattr(spec.baseline, name) for name in CURVE})


def calm(spec: Spec) -> Spec:
    """The same for a tail, which goes on with the weights as they are: it rewinds nothing."""
    return replace(spec, recovery=replace(spec.recovery, method="fine_tune", rewind_epoch=0))


def tail_training(spec: Spec) -> TrainSpec:
    """How a tail is trained: fine-tuned, from the peak to a rate of 0 or down the one curve."""
    if spec.lr_span == "whole":
        return spec.finetune
    return replace(spec.finetune, lr_schedule=TAIL_CURVE, warm_up=0.0)


def curve(spec: Spec, step: Step, before: float) -> tuple[float, float]:
    """Where on its learning-rate curve a step begins, and how many epochs the curve covers."""
    if spec.lr_span == "whole":
        return before, total_epochs(spec.iterative)
    if spec.lr_span == "chain" and not step.tail:
        return before, cut_epochs(spec.iterative)
    return 0, step.epochs


def level_recovery(spec: Spec, epochs: float, control: bool = False) -> dict[str, Any]:
    """The part of a `RecoverySpec` that can change the result of a level with so many epochs.

    A dense `control` has no teacher: it is what would teach it, and would hardly move.
    """
    recovery = to_dict(spec.recovery)
    names = ["method"]
    names += ["rewind_epoch"] if recovery["method"] in REWINDS else []
    taught = bool(epochs and recovery["distill_weight"] and not control)
    names += ["distill_weight", "distill_temperature"] if taught else []
    return {name: recovery[name] for name in names}


def kept_epoch(spec: Spec) -> dict[str, int]:
    """The epoch at which the baseline must keep its weights; nothing where no level needs them."""
    if spec.recovery.method != "weight_rewind":
        return {}
    return {"keep_epoch": spec.recovery.rewind_epoch}


def remarks(spec: Spec) -> list[str]:
    """Sentences on what the way to recover makes of other settings, for people to read before."""
    taught = spec.recovery.distill_weight and 0 in spec.one_shot.amounts
    return [UNTAUGHT] * bool(taught) + _of_rewinding(spec)


def _of_rewinding(spec: Spec) -> list[str]:
    if spec.recovery.method == "fine_tune":
        return []
    whole, start = spec.baseline_epochs, spec.recovery.rewind_epoch
    way = IN_WORDS[spec.recovery.method]
    said = [
        f"{way[0].upper()}{way[1:]} takes the learning rate, its curve and its warm-up from the "
        f"baseline, not from fine-tuning: from epoch {start} of {whole} to the end, in as many "
        "epochs as each cut is given."
    ]
    epochs = {spec.one_shot.epochs} if spec.one_shot.amounts else set()
    epochs |= {chain.epochs for chain in (spec.iterative, spec.structured) if chain.enabled}
    if whole and epochs != {whole - start}:
        said.append(f"As published it would be {format_count(whole - start, 'epoch')} each.")
    if any(chain.enabled and chain.tail for chain in (spec.iterative, spec.structured)):
        said.append("The tail rewinds nothing: it fine-tunes, with fine-tuning's own rate.")
    if 0 in epochs:
        said.append("With 0 epochs nothing is trained after it.")
    loaded = spec.model.weights != "none" and start == 0
    return said + [LOADED] * (loaded and spec.recovery.method == "weight_rewind")
