"""The settings of a sensitivity scan."""

from __future__ import annotations

from dataclasses import dataclass

from pruning_core.common.errors import at_least, check, one_of

GROUP = "group"
SCAN_UNITS = {
    "layer": "Each layer's weights",
    GROUP: "Each coupled group of channels",
}


@dataclass(frozen=True)
class ScanSpec:
    """Each layer of the baseline cut alone to each sparsity, on `images` validation images.

    With the unit `group` the channels of each coupled group are taken out instead, by the
    importance that removing channels has. 0 images take all there are.
    """

    enabled: bool = False
    sparsities: tuple[float, ...] = (0.3, 0.5, 0.7, 0.8, 0.9, 0.95)
    images: int = 1000
    unit: str = "layer"

    def __post_init__(self) -> None:
        check(bool(self.sparsities), "scan.sparsities", "give at least one sparsity.")
        for sparsity in self.sparsities:
            message = f"{sparsity} is not a fraction between 0 and 1."
            check(0 < sparsity < 1, "scan.sparsities", message)
        rising = list(self.sparsities) == sorted(set(self.sparsities))
        check(rising, "scan.sparsities", "give each sparsity once, the lowest first.")
        at_least("scan.images", self.images, 0)
        one_of("scan.unit", self.unit, tuple(SCAN_UNITS))
