"""The settings of a sensitivity analysis."""

from __future__ import annotations

from dataclasses import dataclass

from pruning_core.common.errors import check
from pruning_core.methods.registry import Method, Registry
from pruning_core.settings.conditions import GROUP, SENSITIVITY
from pruning_core.settings.fields import SHARE, check_fields, setting

SENSITIVITY_UNITS = Registry(
    "sensitivity unit",
    (
        Method("layer", "Layer", "The weights of one layer, by a mask."),
        Method(
            GROUP,
            "Dependency group (coupled layers)",
            "The channels of one dependency group, removed as in structured pruning.",
        ),
    ),
)


@dataclass(frozen=True)
class SensitivitySpec:
    """Each layer of the baseline pruned alone to each sparsity, on `images` validation images.

    With the unit `dependency_group` the channels of each group are removed instead, by the
    channel importance of structured pruning. 0 images means all.
    """

    enabled: bool = setting(
        False,
        "Sensitivity analysis",
        help="Prunes one layer of the baseline at a time, at several sparsities, and measures "
        "validation accuracy without training. Layers shows it.",
        flag="--sensitivity",
    )
    sparsities: tuple[float, ...] = setting(
        (0.3, 0.5, 0.7, 0.8, 0.9, 0.95),
        "Sparsities (sensitivity)",
        help="Sparsities of each layer, the lowest first. A layer stops where accuracy reaches "
        "chance.",
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
        help="What is pruned alone: a layer, or a dependency group of coupled layers.",
        flag="--sensitivity-unit",
        choices=SENSITIVITY_UNITS,
        read_when=SENSITIVITY,
    )

    def __post_init__(self) -> None:
        check_fields(self, "sensitivity.")
        check(bool(self.sparsities), "sensitivity.sparsities", "give at least one sparsity.")
        rising = list(self.sparsities) == sorted(set(self.sparsities))
        check(rising, "sensitivity.sparsities", "give each sparsity once, the lowest first.")
