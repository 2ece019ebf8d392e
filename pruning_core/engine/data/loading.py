"""Decoded images as training, validation and test sets, shared between processes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pruning_core.common.errors import SpecError
from pruning_core.engine.data.split import MIN_PER_CLASS, stratified_split, stratified_subset


@dataclass(frozen=True)
class ImageSet:
    """Some rows of a decoded array.

    `images` is the whole array, uint8 (M, S, S, 3), a read-only memory map that processes
    share; `indices` (N,) are the rows of this set; `labels` is int64 of shape (N,). `resident`
    holds the images of this set (N, S, S, 3) in the memory of a GPU, where there is room.
    """

    images: np.ndarray
    labels: torch.Tensor
    indices: np.ndarray
    resident: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.indices)

    def batch(self, positions: torch.Tensor | np.ndarray) -> torch.Tensor:
        """The images at these positions of the set, copied: uint8 (n, S, S, 3)."""
        if self.resident is not None:
            return self.resident[torch.as_tensor(positions, device=self.resident.device)]
        rows = self.indices[np.asarray(positions)]
        return torch.from_numpy(np.asarray(self.images)[rows])

    def sample(self, count: int, seed: int) -> ImageSet:
        """So many of the images, every class in its share; all where `count` is 0 or too many."""
        chosen = stratified_subset(self.labels.numpy(), count if count < len(self) else 0, seed)
        return ImageSet(self.images, self.labels[chosen], self.indices[chosen])

    def on(self, device: str) -> ImageSet:
        """The set with its images on a GPU, where a quarter of its free memory holds them."""
        size = len(self) * self.images.itemsize * int(np.prod(self.images.shape[1:]))
        if device != "cuda" or size > torch.cuda.mem_get_info()[0] / 4:
            return self
        pixels = torch.from_numpy(np.asarray(self.images)[self.indices])
        return replace(self, resident=pixels.to(device))


@dataclass(frozen=True)
class Splits:
    """Disjoint sets: every choice is made on `validation`, `test` is looked at once a stage."""

    train: ImageSet
    validation: ImageSet
    test: ImageSet


def read_splits(folder: Path, settings: dict[str, Any]) -> Splits:
    """The sets in a folder that `decode` wrote.

    `settings` holds `image_size`, `train_size`, `test_size` (0 = all), `validation` (a fraction
    of the training images) and `split_seed`. The validation part is stratified, with one image
    of each class at least. Raises `SpecError` where a class is too small for that.
    """
    seed = settings["split_seed"]
    train, labels = _open(folder, "train", settings)
    rows = stratified_subset(
        labels, settings["train_size"], seed, "data.train_size", MIN_PER_CLASS["train"]
    )
    _check_classes(labels[rows])
    size = round(settings["validation_split"] * len(rows))
    kept, validation = (rows[chosen] for chosen in stratified_split(labels[rows], size, seed))
    test, test_labels = _open(folder, "test", settings)
    test_rows = stratified_subset(test_labels, settings["test_size"], seed, "data.test_size")
    return Splits(
        _image_set(train, labels, kept),
        _image_set(train, labels, validation),
        _image_set(test, test_labels, test_rows),
    )


def _open(folder: Path, part: str, settings: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    images = np.load(folder / f"{part}_images.npy", mmap_mode="r")
    size = settings["image_size"]
    if images.shape[1:] != (size, size, 3):
        raise SpecError(
            "data.image_size", f"{folder} holds images of {images.shape[1]} pixels, not {size}."
        )
    return images, np.load(folder / f"{part}_labels.npy")


def _image_set(images: np.ndarray, labels: np.ndarray, rows: np.ndarray) -> ImageSet:
    return ImageSet(images, torch.from_numpy(labels[rows]), rows)


def _check_classes(labels: np.ndarray) -> None:
    classes, counts = np.unique(labels, return_counts=True)
    if counts.min() < 2:
        raise SpecError(
            "data.train_size",
            f"class number {classes[counts.argmin()] + 1} has a single training image; each "
            "class needs two, one to train on and one to validate with. Take more images.",
        )
