"""The settings of a sensitivity analysis."""

from __future__ import annotations

from dataclasses import dataclass

from pruning_core.common.errors import check
from pruning_core.methods.sensitivity_units import SENSITIVITY_UNITS
from pruning_core.settings.conditions import LAYER_SENSITIVITY, SENSITIVITY
from pruning_core.settings.fields import SHARE, check_fields, setting


@dataclass(frozen=True)
class SensitivitySpec:
    """The accuracy with one layer of the baseline pruned, for each layer and each sparsity.

    It is measured on `images` validation images; 0 means all. With the unit `dependency_group`
    the channels of one group are removed instead, by the channel importance of structured
    pruning.
    """

    enabled: bool = setting(
        False,
        "Sensitivity analysis",
        help="Prunes one layer of the baseline at a time, at several sparsities, and measures "
        "validation accuracy without training. The Layers page shows the result.",
        flag="--sensitivity",
    )
    sparsities: tuple[float, ...] = setting(
        (0.3, 0.5, 0.7, 0.8, 0.9, 0.95),
        "Sparsities (sensitivity)",
        help="Sparsities of each layer, the lowest first. The analysis of a layer stops once "
        "accuracy reaches chance.",
        flag="--sensitivity-sparsities",
        metavar="0.5,0.9",
        placeholder="30, 50, 90 %",
        unit=SHARE,
        above=0,
        below=1,
        read_when=SENSITIVITY,
    )
    images: int = setting(
        1000,
        "Validation images (sensitivity)",
        help="Validation images to measure on; 0 means all.",
        flag="--sensitivity-images",
        unit="images",
        minimum=0,
        read_when=SENSITIVITY,
    )
    unit: str = setting(
        "layer",
        "Unit (sensitivity)",
        help="Prune one layer at a time, or one dependency group (coupled layers) at a time.",
        flag="--sensitivity-unit",
        choices=SENSITIVITY_UNITS,
        read_when=SENSITIVITY,
    )
    correction_images: int = setting(
        0,
        "Images for least squares (sensitivity)",
        help="Also measures each layer after least squares has corrected its remaining weights, "
        "on so many training images; 0 leaves this out.",
        flag="--sensitivity-correction-images",
        unit="images",
        minimum=0,
        maximum=100_000,
        neutral=0,
        read_when=LAYER_SENSITIVITY,
    )

    def __post_init__(self) -> None:
        check_fields(self, "sensitivity.")
        check(bool(self.sparsities), "sensitivity.sparsities", "give at least one sparsity.")
        rising = list(self.sparsities) == sorted(set(self.sparsities))
        check(rising, "sensitivity.sparsities", "give each sparsity once, the lowest first.")
