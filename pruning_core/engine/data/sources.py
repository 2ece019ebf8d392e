"""The registry of data sets, and what there is to say of one before it is decoded."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np

from pruning_core.engine.data.base import Progress, Source
from pruning_core.engine.data.own_images import open_images

Opener = Callable[[str, int, Path, Progress], AbstractContextManager[Source]]


def _digits(
    path: str, split_seed: int, downloads: Path, progress: Progress
) -> AbstractContextManager[Source]:
    # Imported here because scikit-learn takes a second to import.
    from pruning_core.engine.data.digits import open_digits

    return open_digits(path, split_seed, downloads, progress)


def _published(name: str) -> Opener:
    def opener(
        path: str, split_seed: int, downloads: Path, progress: Progress
    ) -> AbstractContextManager[Source]:
        # Imported here because torchvision takes seconds to import.
        from pruning_core.engine.data.torchvision_sets import open_published

        return open_published(name, downloads, progress)

    return opener


SOURCES: dict[str, Opener] = {
    "digits": _digits,
    "cifar10": _published("cifar10"),
    "cifar100": _published("cifar100"),
    "mnist": _published("mnist"),
    "fashion_mnist": _published("fashion_mnist"),
    "images": open_images,
}


def inspect(
    settings: dict[str, Any], hints: dict[str, Any], downloads: Path, progress: Progress
) -> dict[str, Any]:
    """What there is: classes, counts and a digest of the content, as JSON values.

    `settings` holds `name` and `split_seed`; `hints` holds `path` for own images. A published
    set that is not in `downloads` is downloaded. `classes` is sorted for own images; published
    sets keep their own order, so that checkpoints trained on them fit. Raises `SpecError`.
    """
    opened = SOURCES[settings["name"]](
        hints.get("path", ""), settings["split_seed"], downloads, progress
    )
    with opened as source:
        facts = _facts(source)
    if settings["name"] == "images":
        facts["images"] = sum(facts["train_counts"]) + sum(facts["test_counts"])
    progress(1.0, "All images read")
    return facts


def _facts(source: Source) -> dict[str, Any]:
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
