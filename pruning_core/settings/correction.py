"""The settings of training-free correction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pruning_core.common.errors import Ref, check
from pruning_core.settings.conditions import CORRECTION
from pruning_core.settings.fields import check_fields, setting


@dataclass(frozen=True)
class CorrectionSpec:
    """All corrections for each one-shot sparsity above 0, with `images` training images."""

    enabled: bool = setting(
        False,
        "Training-free correction",
        help="Measures for each one-shot sparsity how much accuracy returns without training: "
        "BN recalibration, bias correction, weight reconstruction.",
        flag="--correction",
    )
    images: int = setting(
        512,
        "Calibration images (correction)",
        help="Number of training images that the corrections use.",
        flag="--correction-images",
        unit="images",
        minimum=16,
        maximum=100_000,
        read_when=CORRECTION,
    )

    def __post_init__(self) -> None:
        check_fields(self, "correction.")


def check_correction(correction: CorrectionSpec, amounts: Sequence[float]) -> None:
    """Refuse corrections without a pruned model. Raises `SpecError`."""
    check(
        not correction.enabled or any(amount > 0 for amount in amounts),
        "correction.enabled",
        "training-free correction needs a one-shot sparsity above 0. Add one to {amounts}, or "
        "switch the correction off.",
        amounts=Ref("one_shot.amounts"),
    )
