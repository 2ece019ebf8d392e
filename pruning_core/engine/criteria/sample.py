"""A seeded sample of training images for the criteria that look at some."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pruning_core.engine.criteria.inputs import Batch
from pruning_core.engine.data.augment import normalize
from pruning_core.engine.data.loading import ImageSet


@dataclass(frozen=True)
class Sample:
    """Batches of the images at these positions of a set, normalized and not augmented.

    `data` holds the `mean` and `std` of a `DataSpec`; the batches are on the device.
    """

    images: ImageSet
    positions: Tensor
    data: dict[str, Any]
    batch: int
    device: str

    def __iter__(self) -> Iterator[Batch]:
        for positions in self.positions.split(self.batch):
            pixels = self.images.batch(positions).to(self.device)
            labels = self.images.labels[positions].to(self.device)
            yield normalize(pixels, self.data["mean"], self.data["std"]), labels


def draw(
    images: ImageSet, count: int, seed: int, data: dict[str, Any], batch: int, device: str
) -> Sample:
    """A sample of `count` images, or of all where there are fewer, drawn by the seed."""
    generator = torch.Generator().manual_seed(seed)
    positions = torch.randperm(len(images), generator=generator)[:count]
    return Sample(images, positions, data, batch, device)
