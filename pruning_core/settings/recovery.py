"""How accuracy is won back after a cut, as settings, and what goes together with them."""

from __future__ import annotations

from dataclasses import dataclass

from pruning_core.common.errors import at_least, check, one_of
from pruning_core.methods.recovery import IN_WORDS, RECOVERIES, RESTARTS, REWINDS
from pruning_core.methods.sparsity_schedules import RETURNING


@dataclass(frozen=True)
class RecoverySpec:
    """From which weights a level trains after its cut, by which curve, and taught by whom.

    `fine_tune` goes on from the weights as they are, with fine-tuning's own learning rate.
    The others train with the baseline's learning-rate curve from epoch `rewind_epoch` of its
    `baseline_epochs` to its end: `lr_rewind` goes on from the weights as they are (Renda et al.
    2020), `weight_rewind` puts the surviving ones back to that epoch (Renda et al. 2020; epoch 0
    is the lottery ticket of Frankle and Carbin 2019), `random_reinit` draws them anew, the
    control of that paper, with the whole curve. This part of the curve is run through in the
    level's own epochs, so that every way has the same budget. It is the paper's run where these
    are `baseline_epochs - rewind_epoch`. The optimizer begins anew each time.

    Knowledge distillation (Hinton et al. 2015) has the baseline teach the levels:
    loss = (1 - w) * cross-entropy + w * T^2 * KL(softmax(teacher / T) || softmax(student / T))
    with w the `distill_weight` (0: off) and T the `distill_temperature`.
    """

    method: str = "fine_tune"
    rewind_epoch: int = 0
    distill_weight: float = 0.0
    distill_temperature: float = 4.0

    def __post_init__(self) -> None:
        one_of("recovery.method", self.method, RECOVERIES)
        at_least("recovery.rewind_epoch", self.rewind_epoch, 0)
        check(
            self.rewind_epoch == 0 or self.method in REWINDS,
            "recovery.rewind_epoch",
            f"{IN_WORDS[self.method]} goes back to no epoch of the baseline, so "
            f"{self.rewind_epoch} has no meaning. Give 0, or rewind the weights or the rate.",
        )
        check(
            0 <= self.distill_weight <= 1,
            "recovery.distill_weight",
            f"{self.distill_weight} is outside 0 to 1.",
        )
        check(
            0 < self.distill_temperature <= 1000,
            "recovery.distill_temperature",
            f"{self.distill_temperature} is not above 0 and up to 1000.",
        )


def check_recovery(
    recovery: RecoverySpec,
    baseline_epochs: int,
    weights: str,
    optimizers: tuple[str, str],
    lr_span: str,
) -> None:
    """Refuse what does not go together with the way to recover. Raises `SpecError`.

    `weights` are those the baseline starts from, `optimizers` the baseline's and fine-tuning's,
    `lr_span` what a curve of the iterative chain covers.
    """
    check(
        not recovery.distill_weight or baseline_epochs > 0 or weights != "none",
        "recovery.distill_weight",
        "the teacher would be a baseline with random weights and 0 epochs, which knows nothing. "
        "Train the baseline, load weights, or give 0.",
    )
    if recovery.method != "fine_tune":
        _check_curve(recovery, baseline_epochs)
        _check_same_curve(IN_WORDS[recovery.method], optimizers, lr_span)


def check_returning(recovery: RecoverySpec, schedule: str) -> None:
    """Refuse to rewind the weights of a chain in which they come back. Raises `SpecError`."""
    check(
        recovery.method not in RESTARTS or schedule not in RETURNING,
        "recovery.method",
        f"{IN_WORDS[recovery.method]} gives all weights other values after each cut, which "
        f"forgets what `{schedule}` has trained before. Fine-tune, or choose another schedule.",
    )


def _check_curve(recovery: RecoverySpec, baseline_epochs: int) -> None:
    """Refuse an epoch after which nothing of the baseline's curve is left."""
    check(
        recovery.method != "lr_rewind" or baseline_epochs > 0,
        "recovery.method",
        "learning-rate rewinding goes back on the baseline's curve, but the baseline has 0 "
        "epochs and so no curve. Train the baseline or choose another way.",
    )
    last = max(baseline_epochs - 1, 0)
    check(
        recovery.rewind_epoch <= last,
        "recovery.rewind_epoch",
        f"the baseline has {baseline_epochs} epochs: at epoch {recovery.rewind_epoch} nothing of "
        f"its learning-rate curve is left to train with. Give 0{f' to {last}' if last else ''}.",
    )


def _check_same_curve(way: str, optimizers: tuple[str, str], lr_span: str) -> None:
    check(
        optimizers[0] == optimizers[1],
        "finetune.optimizer",
        f"{way} trains with the baseline's learning rates, which are those of {optimizers[0]}, "
        f"not of {optimizers[1]}. Choose the same optimizer for both.",
    )
    check(
        lr_span == "step",
        "lr_span",
        f"{way} begins the baseline's curve anew after each cut, so one curve cannot cover the "
        "whole chain. Choose one for each step.",
    )
