"""The settings of one-shot and iterative pruning."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

from pruning_core.common.errors import Choice, Ref, Share, check, once
from pruning_core.methods.lr_schedules import LR_SCHEDULES
from pruning_core.methods.sparsity_schedules import CUSTOM, SPARSITY_SCHEDULES
from pruning_core.settings.conditions import ITERATIVE, ONE_SHOT, RESTARTS_SCHEDULE
from pruning_core.settings.fields import SHARE, check_fields, setting
from pruning_core.settings.serialization import plain

MAX_EPOCHS = 10_000
LEAST_EPOCHS = 0.001
NEAR_ZERO = 1e-6
EPOCHS_FLAG = "--epochs"
# The range of all epochs of fine-tuning.
EPOCHS: dict[str, Any] = {
    "unit": "epochs",
    "minimum": 0,
    "maximum": MAX_EPOCHS,
    "slider": (0.0, 20.0),
    "step": 0.5,
}
EPOCHS_HELP = (
    "Fine-tuning epochs after each pruning step, such as 0.5 or 2. An epoch is one pass over the "
    "training images."
)


@dataclass(frozen=True)
class OneShotSpec:
    """For each sparsity in `amounts` one pruning step from the baseline, and `epochs` after it."""

    amounts: tuple[float, ...] = setting(
        (0.0, 0.3, 0.5, 0.7, 0.9),
        "One-shot sparsity levels",
        help="Sparsities of the one-shot models, each pruned from the baseline in one step. 0 is "
        "the fine-tuned dense control.",
        flag="--amounts",
        metavar="0.3,0.5",
        placeholder="0, 30, 50, 70, 90 %",
        unit=SHARE,
        minimum=0,
        below=1,
    )
    epochs: float = setting(
        1.0,
        "Fine-tuning epochs (one-shot)",
        help="Fine-tuning epochs of one-shot pruning.",
        flag="--one-shot-epochs",
        shared_flag=EPOCHS_FLAG,
        shared_help=EPOCHS_HELP,
        **EPOCHS,
        read_when=ONE_SHOT,
    )

    def __post_init__(self) -> None:
        check_fields(self, "one_shot.")
        once("one_shot.amounts", self.amounts, shares=True)
        check_epochs("one_shot.epochs", self.epochs)


@dataclass(frozen=True)
class IterativeSpec:
    """Pruning steps to `target`; `equal_budget` and `equal_schedule` add one-shot controls.

    With the custom schedule the sparsities are `custom_schedule`: `iterations` is their number
    and `target` the last of them. After the last step `final_epochs` are trained, in which the
    learning rate falls to 0: from its peak along a cosine, or along the schedule of the whole
    run.
    """

    enabled: bool = setting(
        True,
        "Iterative pruning",
        help="Several small pruning steps with fine-tuning after each.",
        flag="--no-iterative",
    )
    target: float = setting(
        0.9,
        "Target sparsity",
        help="Sparsity of the prunable weights after the last pruning step.",
        flag="--target",
        unit=SHARE,
        above=0,
        below=1,
        slider=(0.01, 0.999),
        step=0.001,
        read_when=ITERATIVE,
    )
    iterations: int = setting(
        5,
        "Pruning steps",
        help="Number of pruning steps of the iterative run.",
        flag="--iterations",
        minimum=1,
        maximum=100,
        slider=(1, 20),
        read_when=ITERATIVE,
    )
    epochs: float = setting(
        1.0,
        "Fine-tuning epochs per step",
        help="Fine-tuning epochs after each pruning step. Half an epoch is half of the batches.",
        flag="--iterative-epochs",
        shared_flag=EPOCHS_FLAG,
        **EPOCHS,
        read_when=ITERATIVE,
    )
    schedule: str = setting(
        "geometric",
        "Sparsity schedule",
        help="How the sparsity grows over the pruning steps.",
        flag="--schedule",
        choices=SPARSITY_SCHEDULES,
        read_when=ITERATIVE,
    )
    custom_schedule: tuple[float, ...] = setting(
        (),
        "Custom schedule",
        help="Sparsity after each pruning step. On the command line it also sets the schedule, the "
        "number of steps and the target.",
        flag="--custom-schedule",
        metavar="0.5,0.8",
        placeholder="30, 60, 80, 90 %",
        unit=SHARE,
        minimum=0,
        below=1,
        read_when=ITERATIVE,
    )
    final_epochs: float = setting(
        0.0,
        "Final fine-tuning epochs",
        help="Epochs after the last pruning step, in which the learning rate falls to 0. They "
        "count in the training budget.",
        flag="--final-epochs",
        **EPOCHS,
        read_when=ITERATIVE,
    )
    equal_budget: bool = setting(
        True,
        "One-shot, equal training budget",
        help="Also run one-shot pruning with the fine-tuning epochs of the iterative run, on one "
        "learning-rate schedule over all of them.",
        flag="--no-equal-budget",
        read_when=ITERATIVE,
    )
    equal_schedule: bool = setting(
        False,
        "One-shot, equal learning-rate schedule",
        help="Also run one-shot pruning with the epochs and the learning rates of the iterative "
        "run, step by step: only the number of pruning steps differs.",
        flag="--equal-schedule",
        neutral=False,
        read_when=RESTARTS_SCHEDULE,
    )

    def __post_init__(self) -> None:
        check_fields(self, "iterative.")
        check_epochs("iterative.epochs", self.epochs)
        check_epochs("iterative.final_epochs", self.final_epochs)
        _check_schedule(self)
        _check_regrowth(self)


def check_epochs(field: str, value: float) -> None:
    """Refuse a number of epochs above 0 that is too small to train a batch. Raises `SpecError`."""
    check(
        not 0 < value < LEAST_EPOCHS,
        field,
        f"{plain(value)} is too small; give 0, or {LEAST_EPOCHS} or more.",
    )


def check_run_schedule(lr_schedule: str, final_epochs: float) -> None:
    """Refuse one schedule over the whole run that does not fall to 0. Raises `SpecError`."""
    falls = LR_SCHEDULES[lr_schedule].factor(1.0) < NEAR_ZERO
    check(
        falls or not final_epochs,
        "lr_schedule_span",
        "final fine-tuning ends with a learning rate of 0, but the schedule {schedule} does not "
        "fall to it. Choose {cosine} or {one_cycle} as {setting}, or another span.",
        schedule=Choice("finetune.lr_schedule", lr_schedule),
        cosine=Choice("finetune.lr_schedule", "cosine"),
        one_cycle=Choice("finetune.lr_schedule", "one_cycle"),
        setting=Ref("finetune.lr_schedule"),
    )


def _check_schedule(chain: IterativeSpec) -> None:
    """Refuse a custom schedule that falls, or that another setting contradicts."""
    name = "iterative.custom_schedule"
    custom = Choice("iterative.schedule", CUSTOM)
    for before, after in itertools.pairwise(chain.custom_schedule):
        check(
            before <= after,
            name,
            "{after} comes after {before}; sparsities must not decrease.",
            after=Share(after),
            before=Share(before),
        )
    if chain.schedule == CUSTOM:
        check(
            bool(chain.custom_schedule),
            name,
            "the schedule {custom} needs at least one sparsity.",
            custom=custom,
        )
        _check_agreement(chain)
    else:
        check(
            not chain.custom_schedule,
            name,
            "it belongs to the schedule {custom}, not to {schedule}; leave it empty.",
            custom=custom,
            schedule=Choice("iterative.schedule", chain.schedule),
        )


def _check_regrowth(chain: IterativeSpec) -> None:
    """Refuse regrown weights without training, and regrowth with a single step."""
    if not chain.enabled or not SPARSITY_SCHEDULES[chain.schedule].regrows:
        return
    schedule = Choice("iterative.schedule", chain.schedule)
    check(
        chain.iterations >= 2,
        "iterative.iterations",
        "{schedule} regrows pruned weights after the first step, so it needs at least 2 steps, "
        "not {steps}.",
        schedule=schedule,
        steps=chain.iterations,
    )
    check(
        chain.epochs > 0,
        "iterative.epochs",
        "{schedule} regrows pruned weights as zeros, which must be trained; give more than 0 "
        "epochs per step.",
        schedule=schedule,
    )


def _check_agreement(chain: IterativeSpec) -> None:
    """Refuse a custom schedule that does not agree with `iterations` and `target`."""
    number, last = len(chain.custom_schedule), chain.custom_schedule[-1]
    custom_schedule = Ref("iterative.custom_schedule")
    check(
        number == chain.iterations,
        "iterative.iterations",
        "{given} is not the number of sparsities in {setting}, which is {number}.",
        given=chain.iterations,
        setting=custom_schedule,
        number=number,
    )
    check(
        abs(last - chain.target) < 1e-6,
        "iterative.target",
        "{given} is not the last sparsity in {setting}, which is {last}.",
        given=Share(chain.target),
        setting=custom_schedule,
        last=Share(last),
    )
