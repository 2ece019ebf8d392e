"""Inspecting a data set: its classes, counts and digest, before it is decoded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pruning_core.engine.data.base import Progress, Source
from pruning_core.methods.datasets import DATASETS


def inspect(
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
