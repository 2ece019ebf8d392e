"""What every data set looks like to the rest: two parts of labelled images and a digest."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pruning_core.methods.datasets import DATASETS

Progress = Callable[[float, str], None]
RawImage = bytes | np.ndarray


@dataclass(frozen=True)
class LabeledImages:
    """Training or test images, in an order that depends on their content and paths only.

    `labels` is int64 of shape (N,). `read(i)` gives image `i` as a file's bytes or as a uint8
    array (H, W) or (H, W, 3); it is called from one thread. `name(i)` is for people.
    """

    labels: np.ndarray
    read: Callable[[int], RawImage]
    name: Callable[[int], str]


@dataclass(frozen=True)
class OpenDataset:
    """An opened data set. `field` is the setting that an unreadable image puts in question.

    `where` names the set in messages; `flip` tells whether a mirrored image still belongs to
    its class; `split` is "given" or "seeded".
    """

    field: str
    where: str
    digest: str
    classes: tuple[str, ...]
    parts: dict[str, LabeledImages]
    split: str
    flip: bool
    notes: tuple[str, ...] = ()


def labeled_arrays(images: np.ndarray, labels: np.ndarray) -> LabeledImages:
    """A part that is in memory already: images (N, H, W) or (N, H, W, 3), labels (N,)."""
    return LabeledImages(labels, lambda i: images[i], lambda i: f"image {i}")


def array_digest(classes: Sequence[str], *arrays: np.ndarray) -> str:
    """SHA-256 of class names and of each array's type, shape and bytes."""
    seen = hashlib.sha256("\0".join(classes).encode())
    for array in arrays:
        seen.update(f"\n{array.dtype.str} {array.shape}\n".encode())
        seen.update(np.ascontiguousarray(array).data)
    return seen.hexdigest()


def rescaled(progress: Progress, low: float, high: float) -> Progress:
    """The same report, its fraction mapped from [0, 1] to [low, high]."""
    return lambda fraction, text: progress(low + fraction * (high - low), text)


def inspect_dataset(
    settings: dict[str, Any], hints: dict[str, Any], downloads: Path, progress: Progress
) -> dict[str, Any]:
    """What there is: classes, counts and a digest of the content, as JSON values.

    `settings` holds `name` and `split_seed`; `hints` holds `path` for own images. A published
    set that is not in `downloads` is downloaded. `classes` is sorted for own images; published
    sets keep their own order, so that checkpoints trained on them fit. Raises `SpecError`.
    """
    opened = DATASETS.load(settings["name"])(
        hints.get("path", ""), settings["split_seed"], downloads, progress
    )
    with opened as source:
        facts = _facts(source)
    if settings["name"] == "images":
        facts["images"] = sum(facts["train_counts"]) + sum(facts["test_counts"])
    progress(1.0, "All images read")
    return facts


def _facts(source: OpenDataset) -> dict[str, Any]:
    counts = {
        part: np.bincount(images.labels, minlength=len(source.classes)).tolist()
        for part, images in source.parts.items()
    }
    return {
        "digest": source.digest,
        "classes": list(source.classes),
        "train_counts": counts["train"],
        "test_counts": counts["test"],
        "split": source.split,
        "notes": list(source.notes),
        "flip": source.flip,
    }
