"""An opened data set: labeled training and test images with a digest of their content."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pruning_core.engine.data.image_files import HIGHEST_VALUE, RawImage, image_facts, value_counts
from pruning_core.methods.datasets import DATASETS
from pruning_core.planning.inspection_types import InspectDatasetResult, InspectDatasetSettings

Progress = Callable[[float, str], None]
# Takes the subset, the row in it, and the content of an image.
Visit = Callable[[str, int, RawImage], None]
# Where 16-bit images use less than this of their range, the upper 8 bits would lose too much.
FULL_RANGE = 2**15
# Of the values, the lowest and the highest of this share are left out to see how many gray levels
# the others keep; below `FEW_LEVELS` of 256 a note says so.
OUTLIERS, FEW_LEVELS = 0.005, 64


@dataclass(frozen=True)
class LabeledImages:
    """The training or the test images. Their order depends on content and paths only.

    `labels` is int64 of shape (N,). `name(i)` is for messages.
    """

    labels: np.ndarray
    name: Callable[[int], str]


@dataclass(frozen=True)
class OpenDataset:
    """A data set whose images can be read.

    `read(visit)` reads every image once, passes it to `visit`, and returns the digest of what was
    read: an image is the bytes of its file, or uint8 of shape (H, W) or (H, W, 3). `field` is the
    setting that an error about an image names, `location` the name of the data set in messages.
    `subsets` holds "train" and "test". `split` is "given", or "seeded" where the split seed chose
    the test images. `flip` is true where a mirrored image keeps its class.
    """

    field: str
    location: str
    read: Callable[[Visit], str]
    classes: tuple[str, ...]
    subsets: dict[str, LabeledImages]
    split: str
    flip: bool
    notes: tuple[str, ...] = ()


def inspect_dataset(
    settings: InspectDatasetSettings, hints: dict[str, Any], downloads: Path, progress: Progress
) -> InspectDatasetResult:
    """Classes, counts and a digest of the content.

    `hints` holds the `path` of the user's images. A
    published data set is downloaded if it is not in `downloads`. `classes` is sorted for the
    user's images; published data sets keep their order, so that checkpoints trained on them fit.
    Raises `SpecError` where the data set cannot be opened.
    """
    opened = DATASETS.load(settings.name)(
        hints.get("path", ""), settings.split_seed, downloads, progress
    )
    with opened as dataset:
        facts = _facts(dataset, progress)
    if DATASETS[settings.name].user_images:
        facts = replace(facts, images=sum(facts.train_counts) + sum(facts.test_counts))
    progress(1.0, "All images read")
    return facts


def _facts(dataset: OpenDataset, progress: Progress) -> InspectDatasetResult:
    counts = {
        name: np.bincount(images.labels, minlength=len(dataset.classes)).tolist()
        for name, images in dataset.subsets.items()
    }
    survey = _Survey(sum(len(images.labels) for images in dataset.subsets.values()), progress)
    digest = dataset.read(survey.visit)
    return InspectDatasetResult(
        digest=digest,
        classes=list(dataset.classes),
        train_counts=counts["train"],
        test_counts=counts["test"],
        split=dataset.split,
        notes=[*dataset.notes, *survey.notes()],
        flip=dataset.flip,
        not_square=survey.not_square or None,
        value_range=survey.value_range(),
    )


class _Survey:
    """What the headers of image files say, and the values of 16-bit training images."""

    def __init__(self, total: int, progress: Progress) -> None:
        self.total, self.progress, self.done = total, progress, 0
        self.not_square = self.sixteen_bits = self.frames = 0
        self.counts = np.zeros(HIGHEST_VALUE + 1, np.int64)

    def visit(self, subset: str, row: int, raw: RawImage) -> None:
        if isinstance(raw, np.ndarray):
            return
        if self.done % 500 == 0:
            share = self.done / self.total
            self.progress(share, f"Reading images, {self.done:,} of {self.total:,}")
        self.done += 1
        facts = image_facts(raw)
        self.not_square += not facts.square
        self.sixteen_bits += facts.sixteen_bits
        self.frames += facts.frames
        if facts.sixteen_bits and subset == "train":
            counts = value_counts(raw)
            self.counts += 0 if counts is None else counts

    def value_range(self) -> list[int] | None:
        """The lowest and highest value of all training images; None where most bits are used."""
        used = np.flatnonzero(self.counts)
        if not len(used):
            return None
        low, high = int(used[0]), int(used[-1])
        return [low, high] if low < high < low + FULL_RANGE else None

    def notes(self) -> list[str]:
        notes = []
        if self.frames:
            notes.append(
                f"Images with several pages or frames: {self.frames:,}. Only the first one of "
                "each is used."
            )
        if not self.sixteen_bits:
            return notes
        note = f"Images with 16 bits per channel, scaled to 8 bits: {self.sixteen_bits:,}."
        if limits := self.value_range():
            low, high = limits
            note += (
                f" The training images use the values {low:,} to {high:,} of 0 to 65,535. In all "
                f"images {low:,} becomes 0 and {high:,} becomes 255; values outside are clipped."
            )
        return [*notes, note + self._few_levels(limits)]

    def _few_levels(self, limits: list[int] | None) -> str:
        """A sentence where a few very low or high values leave few gray levels to the others."""
        total = np.cumsum(self.counts)
        if not total[-1]:
            return ""
        inner = (OUTLIERS, 1 - OUTLIERS)
        low, high = (int(np.searchsorted(total, share * total[-1])) for share in inner)
        lowest, highest = limits or (0, HIGHEST_VALUE)
        levels = int((high - low) * 256 / (highest - lowest)) + 1
        used = np.flatnonzero(self.counts)
        if levels >= FEW_LEVELS or low == high or (used[0], used[-1]) == (low, high):
            return ""
        return (
            f" 99 % of the values are between {low:,} and {high:,} and become about {levels} of "
            "256 gray levels. To keep more, clip the highest and lowest values of the images."
        )


def numbered(labels: np.ndarray) -> LabeledImages:
    """The labels (N,) of images in memory, which have numbers for names."""
    return LabeledImages(labels, lambda i: f"image {i}")


def array_reader(digest: str, images: dict[str, np.ndarray]) -> Callable[[Visit], str]:
    """The function `read` for images in memory, (N, H, W) or (N, H, W, 3), with a known digest."""

    def read(visit: Visit) -> str:
        for subset, array in images.items():
            for row in range(len(array)):
                visit(subset, row, array[row])
        return digest

    return read


def array_digest(classes: Sequence[str], *arrays: np.ndarray) -> str:
    """SHA-256 of the class names and of each array's type, shape and bytes."""
    digest = hashlib.sha256("\0".join(classes).encode())
    for array in arrays:
        digest.update(f"\n{array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def rescaled(progress: Progress, low: float, high: float) -> Progress:
    """A progress report whose fraction is mapped from [0, 1] to [low, high]."""
    return lambda fraction, text: progress(low + fraction * (high - low), text)
