"""scikit-learn's 1,797 handwritten digits, 8x8 grey. They come with the package."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from pruning_core.engine.data.dataset import OpenDataset, Progress, array_digest, labeled_arrays
from pruning_core.engine.data.split import stratified_split

TEST_IMAGES = 360


@contextmanager
def open_digits(
    path: str, split_seed: int, downloads: Path, progress: Progress
) -> Iterator[OpenDataset]:
    """Values 0 to 16 become 0 to 255; a stratified 360 images are the test part."""
    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    labels = digits.target.astype(np.int64)
    classes = tuple(str(digit) for digit in digits.target_names)
    rows = dict(
        zip(("train", "test"), stratified_split(labels, TEST_IMAGES, split_seed), strict=True)
    )
    yield OpenDataset(
        field="data.name",
        where="digits",
        digest=array_digest(classes, images, labels),
        classes=classes,
        parts={part: labeled_arrays(images[r], labels[r]) for part, r in rows.items()},
        split="seeded",
        flip=False,
    )
