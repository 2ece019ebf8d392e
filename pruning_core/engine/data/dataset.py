"""An opened data set: labeled training and test images with a digest of their content."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pruning_core.methods.datasets import DATASETS
from pruning_core.planning.stage_types import InspectDatasetResult, InspectDatasetSettings

Progress = Callable[[float, str], None]
RawImage = bytes | np.ndarray


@dataclass(frozen=True)
class LabeledImages:
    """The training or the test images. Their order depends on content and paths only.

    `labels` is int64 of shape (N,). `read(i)` returns image `i` as the bytes of its file or as
    uint8 of shape (H, W) or (H, W, 3); one thread calls it. `name(i)` is for messages.
    """

    labels: np.ndarray
    read: Callable[[int], RawImage]
    name: Callable[[int], str]


@dataclass(frozen=True)
class OpenDataset:
    """A data set whose images can be read.

    `field` is the setting that an error about an image names, `location` the name of the data set
    in messages. `subsets` holds "train" and "test". `split` is "given", or "seeded" where the
    split seed chose the test images. `flip` is true where a mirrored image keeps its class.
    """

    field: str
    location: str
    digest: str
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
        facts = _facts(dataset)
    if DATASETS[settings.name].user_images:
        facts = replace(facts, images=sum(facts.train_counts) + sum(facts.test_counts))
    progress(1.0, "All images read")
    return facts


def _facts(dataset: OpenDataset) -> InspectDatasetResult:
    counts = {
        name: np.bincount(images.labels, minlength=len(dataset.classes)).tolist()
        for name, images in dataset.subsets.items()
    }
    return InspectDatasetResult(
        digest=dataset.digest,
        classes=list(dataset.classes),
        train_counts=counts["train"],
        test_counts=counts["test"],
        split=dataset.split,
        notes=list(dataset.notes),
        flip=dataset.flip,
    )


def labeled_arrays(images: np.ndarray, labels: np.ndarray) -> LabeledImages:
    """Images in memory, (N, H, W) or (N, H, W, 3), with their labels (N,)."""
    return LabeledImages(labels, lambda i: images[i], lambda i: f"image {i}")


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
