"""The 1,797 handwritten digits of scikit-learn, 8x8 pixels, gray. They come with the package."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from pruning_core.engine.data.dataset import (
    OpenDataset,
    Progress,
    array_digest,
    array_image,
    array_reader,
    numbered,
)
from pruning_core.engine.data.split import stratified_split

TEST_IMAGES = 360


@contextmanager
def open_digits(
    path: str, split_seed: int, downloads: Path, progress: Progress
) -> Iterator[OpenDataset]:
    """Values 0 to 16 are scaled to 0 to 255. A stratified 360 images are the test images.

    Alpaydin and Kaynak 1998, https://doi.org/10.24432/C50P49.
    """
    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    labels = digits.target.astype(np.int64)
    classes = tuple(str(digit) for digit in digits.target_names)
    train, test = stratified_split(labels, TEST_IMAGES, split_seed)
    subsets = {"train": images[train], "test": images[test]}
    yield OpenDataset(
        field="data.name",
        location="digits",
        read=array_reader(array_digest(classes, images, labels), subsets),
        image=array_image(subsets),
        classes=classes,
        subsets={"train": numbered(labels[train]), "test": numbered(labels[test])},
        split="seeded",
        flip=False,
    )
