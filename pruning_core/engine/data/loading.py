"""Decoded images as training, validation and test sets, shared between processes.

Shapes: N images of a set out of M decoded ones, S x S pixels.
"""

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
    share; `indices` (N,) are the rows of this set; `labels` is int64 (N,). `on_gpu` holds the
    images of this set, uint8 (N, S, S, 3), in GPU memory, or is None.
    """

    images: np.ndarray
    labels: torch.Tensor
    indices: np.ndarray
    on_gpu: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.indices)

    def batch(self, positions: torch.Tensor | np.ndarray) -> torch.Tensor:
        """A copy of the images at these positions (B,) of the set: uint8 (B, S, S, 3)."""
        if self.on_gpu is not None:
            return self.on_gpu[torch.as_tensor(positions, device=self.on_gpu.device)]
        rows = self.indices[np.asarray(positions)]
        return torch.from_numpy(np.asarray(self.images)[rows])

    def largest_share(self) -> float:
        """The share of the largest class: the accuracy of always predicting it."""
        return float(self.labels.bincount().max()) / len(self)

    def sample(self, count: int, seed: int) -> ImageSet:
        """A stratified subset of `count` images; all of them where `count` is 0 or at least N."""
        chosen = stratified_subset(self.labels.numpy(), count if count < len(self) else 0, seed)
        return ImageSet(self.images, self.labels[chosen], self.indices[chosen])

    def on(self, device: str) -> ImageSet:
        """The set with its images on the GPU, if they fit into a quarter of its free memory."""
        size = len(self) * self.images.itemsize * int(np.prod(self.images.shape[1:]))
        if device != "cuda" or size > torch.cuda.mem_get_info()[0] / 4:
            return self
        pixels = torch.from_numpy(np.asarray(self.images)[self.indices])
        return replace(self, on_gpu=pixels.to(device))


@dataclass(frozen=True)
class Splits:
    """Disjoint sets. Choices use `validation`; a stage evaluates on `test` once, at its end."""

    train: ImageSet
    validation: ImageSet
    test: ImageSet


def read_splits(folder: Path, settings: dict[str, Any]) -> Splits:
    """The sets in a folder that `decode_dataset` wrote.

    `settings` holds `image_size`, `train_size`, `test_size` (0 = all), `validation_split` (a
    fraction of the training images) and `split_seed`. The validation set is stratified, with at
    least one image of each class. Raises `SpecError` where a class is too small for that, or the
    decoded images do not fit the settings.
    """
    seed = settings["split_seed"]
    train, labels = _open(folder, "train", settings)
    rows = stratified_subset(
        labels, settings["train_size"], seed, "data.train_size", MIN_PER_CLASS["train"]
    )
    _check_classes(labels[rows])
    size = round(settings["validation_split"] * len(rows))
    train_rows, validation_rows = (
        rows[chosen] for chosen in stratified_split(labels[rows], size, seed)
    )
    test, test_labels = _open(folder, "test", settings)
    test_rows = stratified_subset(test_labels, settings["test_size"], seed, "data.test_size")
    return Splits(
        _image_set(train, labels, train_rows),
        _image_set(train, labels, validation_rows),
        _image_set(test, test_labels, test_rows),
    )


def _open(folder: Path, subset: str, settings: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    images = np.load(folder / f"{subset}_images.npy", mmap_mode="r")
    size = settings["image_size"]
    if images.shape[1:] != (size, size, 3):
        raise SpecError(
            "data.image_size",
            "The images in {folder} have {decoded} pixels per side, not {size}.",
            folder=folder,
            decoded=images.shape[1],
            size=size,
        )
    return images, np.load(folder / f"{subset}_labels.npy")


def _image_set(images: np.ndarray, labels: np.ndarray, rows: np.ndarray) -> ImageSet:
    return ImageSet(images, torch.from_numpy(labels[rows]), rows)


def _check_classes(labels: np.ndarray) -> None:
    classes, counts = np.unique(labels, return_counts=True)
    if counts.min() < 2:
        raise SpecError(
            "data.train_size",
            f"Class number {classes[counts.argmin()] + 1} has a single training image. Each class "
            "needs two, one for training and one for validation. Use more images.",
        )
