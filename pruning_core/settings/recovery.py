"""How accuracy is recovered after a pruning step: the recovery method and distillation."""

from __future__ import annotations

from dataclasses import dataclass

from pruning_core.common.errors import Choice, Ref, SpecError, check
from pruning_core.common.formatting import format_count
from pruning_core.methods.recovery import FINE_TUNING, RECOVERY_METHODS
from pruning_core.methods.sparsity_schedules import SPARSITY_SCHEDULES
from pruning_core.settings.conditions import DISTILLS, REWINDS, TRAINS
from pruning_core.settings.fields import check_fields, setting


@dataclass(frozen=True)
class RecoverySpec:
    """The weights and learning rates with which training continues after pruning.

    Fine-tuning continues with the remaining weights and its own learning-rate schedule. The
    other methods use the baseline's schedule from epoch `rewind_epoch` of its `baseline_epochs`
    to the end, compressed or stretched to the epochs of the pruning step, so that all methods
    have the same budget. With `baseline_epochs - rewind_epoch` epochs per step it is the run of
    the papers. The optimizer starts without momentum.

    Knowledge distillation (Hinton et al. 2015, https://arxiv.org/abs/1503.02531) adds the dense
    baseline as teacher:
    loss = (1 - w) * cross-entropy + w * T^2 * KL(softmax(teacher / T) || softmax(student / T))
    with w the `distillation_weight` and T the `distillation_temperature`.
    """

    method: str = setting(
        FINE_TUNING,
        "Recovery method",
        help="How training restarts after a pruning step.",
        flag="--recovery",
        choices=RECOVERY_METHODS,
    )
    rewind_epoch: int = setting(
        0,
        "Rewind epoch",
        help="Epoch of the baseline training to rewind to; 0 is before the first training step.",
        minimum=0,
        read_when=REWINDS,
    )
    distillation_weight: float = setting(
        0.0,
        "Distillation weight",
        help="Share of the loss that comes from knowledge distillation from the dense baseline "
        "(Hinton et al. 2015). 0 turns it off. Training takes about a third longer.",
        minimum=0,
        maximum=1,
        slider=(0.0, 1.0),
        step=0.05,
        read_when=TRAINS,
    )
    distillation_temperature: float = setting(
        4.0,
        "Distillation temperature",
        help="Divides the logits of teacher and student. Higher values give more weight to "
        "unlikely classes; 1 to 10 is usual.",
        above=0,
        maximum=1000,
        step=0.5,
        read_when=DISTILLS,
    )

    def __post_init__(self) -> None:
        check_fields(self, "recovery.")
        check(
            self.rewind_epoch == 0 or RECOVERY_METHODS[self.method].rewinds,
            "recovery.rewind_epoch",
            "{method} does not rewind. Give 0, or choose a rewinding method.",
            method=Choice("recovery.method", self.method),
        )


def check_recovery(
    recovery: RecoverySpec,
    baseline_epochs: int,
    weights: str,
    optimizers: tuple[str, str],
    lr_schedule_span: str,
) -> None:
    """Refuse settings that contradict the recovery method. Raises `SpecError`.

    `weights` are the initial weights of the baseline, `optimizers` the baseline's and
    fine-tuning's.
    """
    check(
        not recovery.distillation_weight or baseline_epochs > 0 or weights != "none",
        "recovery.distillation_weight",
        "the teacher would be an untrained baseline with random weights. Train the baseline, load "
        "weights, or give 0.",
    )
    if RECOVERY_METHODS[recovery.method].baseline_schedule:
        _check_rewind(recovery, baseline_epochs)
        _check_schedule(recovery, optimizers, lr_schedule_span)


def check_regrowth(recovery: RecoverySpec, schedule: str) -> None:
    """Refuse a method that leaves regrown weights without training. Raises `SpecError`."""
    method = RECOVERY_METHODS[recovery.method]
    if not SPARSITY_SCHEDULES[schedule].regrows or (method.trains_weights and not method.restarts):
        return
    reason = (
        "{method} replaces all weights after each pruning step, so the weights that {schedule} "
        "regrew would lose their training."
        if method.restarts
        else "{method} trains no weights of convolutions, so the weights that {schedule} regrows "
        "would stay zero."
    )
    raise SpecError(
        "recovery.method",
        reason + " Choose {fine_tuning}, or another {setting}.",
        method=Choice("recovery.method", recovery.method),
        schedule=Choice("iterative.schedule", schedule),
        fine_tuning=Choice("recovery.method", FINE_TUNING),
        setting=Ref("iterative.schedule"),
    )


def _check_rewind(recovery: RecoverySpec, baseline_epochs: int) -> None:
    """Refuse an epoch after which nothing of the baseline's schedule remains."""
    method = RECOVERY_METHODS[recovery.method]
    check(
        not method.rewinds or method.restarts or baseline_epochs > 0,
        "recovery.method",
        "{method} uses the baseline's learning-rate schedule, but the baseline has 0 epochs. "
        "Train the baseline, or choose another method.",
        method=Choice("recovery.method", recovery.method),
    )
    last = max(baseline_epochs - 1, 0)
    check(
        recovery.rewind_epoch <= last,
        "recovery.rewind_epoch",
        f"the baseline has {format_count(baseline_epochs, 'epoch')}, so nothing of its "
        f"learning-rate schedule remains after epoch {recovery.rewind_epoch}. Give "
        f"0{f' to {last}' if last else ''}.",
    )


def _check_schedule(
    recovery: RecoverySpec, optimizers: tuple[str, str], lr_schedule_span: str
) -> None:
    """Refuse an optimizer or a schedule span that contradicts the baseline's schedule."""
    method = Choice("recovery.method", recovery.method)
    check(
        optimizers[0] == optimizers[1],
        "finetune.optimizer",
        "{method} trains with the baseline's learning rates, which are for {baseline}, not for "
        "{finetune}. Choose the same optimizer for both.",
        method=method,
        baseline=Choice("baseline.optimizer", optimizers[0]),
        finetune=Choice("finetune.optimizer", optimizers[1]),
    )
    check(
        lr_schedule_span == "step",
        "lr_schedule_span",
        "{method} restarts the baseline's schedule after each pruning step, so one schedule cannot "
        "span several steps. Choose {step}.",
        method=method,
        step=Choice("lr_schedule_span", "step"),
    )
