"""The settings of a sensitivity scan."""

from __future__ import annotations

from dataclasses import dataclass

from pruning_core.settings import at_least, check


@dataclass(frozen=True)
class ScanSpec:
    """Each layer of the baseline cut alone to each sparsity, on `images` validation images.

    0 images take all there are.
    """

    enabled: bool = False
    sparsities: tuple[float, ...] = (0.3, 0.5, 0.7, 0.8, 0.9, 0.95)
    images: int = 1000

    def __post_init__(self) -> None:
        check(bool(self.sparsities), "scan.sparsities", "give at least one sparsity.")
        for sparsity in self.sparsities:
            message = f"{sparsity} is not a fraction between 0 and 1."
            check(0 < sparsity < 1, "scan.sparsities", message)
        rising = list(self.sparsities) == sorted(set(self.sparsities))
        check(rising, "scan.sparsities", "give each sparsity once, the lowest first.")
        at_least("scan.images", self.images, 0)
