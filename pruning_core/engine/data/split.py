"""Seeded, stratified subsets and splits of labeled images.

Labels are int64 of shape (N,); results are sorted int64 indices.
"""

from __future__ import annotations

import numpy as np

from pruning_core.common.errors import SpecError

# Images of each class in a subset. One of the training images is needed for validation.
MIN_PER_CLASS = {"train": 2, "test": 1}


def permutation(count: int, seed: int) -> np.ndarray:
    """The numbers 0 to count - 1 in an order that depends on `seed` only, int64 (count,).

    NumPy guarantees the raw stream of a bit generator across versions, but not `shuffle`.
    """
    if seed < 0:
        raise SpecError("data.split_seed", f"{seed} is negative; use a whole number from 0 up.")
    return np.argsort(np.random.PCG64(seed).random_raw(count), kind="stable")


def class_quotas(counts: np.ndarray, size: int, minimum: int = 1) -> np.ndarray:
    """How many of `size` images each class gets: in proportion to `counts`, by largest remainder.

    Each class gets `minimum`, or all its images if it has fewer, where `size` allows it. Needs
    `0 < size <= counts.sum()`.
    """
    total = counts.sum()
    quotas, remainders = size * counts // total, size * counts % total
    by_remainder = np.argsort(-remainders, kind="stable")
    quotas[by_remainder[: size - quotas.sum()]] += 1
    if size >= minimum * len(counts):
        # Move images from the largest quota to classes below the minimum.
        lowest = np.minimum(minimum, counts)
        while (quotas < lowest).any():
            quotas[quotas.argmax()] -= 1
            quotas[(quotas < lowest).argmax()] += 1
    return quotas


def stratified_subset(
    labels: np.ndarray, size: int, seed: int, field: str = "data.train_size", minimum: int = 1
) -> np.ndarray:
    """The indices of `size` images, chosen by `seed`, with the class proportions of `labels`.

    A size of 0 or N returns all. Each class keeps at least `minimum` images where it has as many
    and `size` allows it. Raises `SpecError` for the setting `field` where `size` is above N.
    """
    if size > len(labels):
        raise SpecError(
            field,
            f"{size:,} images are too many: there are {len(labels):,}. Use fewer, or 0 for all.",
        )
    if size in (0, len(labels)):
        return np.arange(len(labels))
    order = permutation(len(labels), seed)
    classes, counts = np.unique(labels, return_counts=True)
    chosen = [
        order[labels[order] == label][:quota]
        for label, quota in zip(classes, class_quotas(counts, size, minimum), strict=True)
    ]
    return np.sort(np.concatenate(chosen))


def stratified_split(labels: np.ndarray, size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Disjoint indices (kept, held out); about `size` images are held out, stratified.

    At least one image of each class is held out. A class of two or more keeps at least one
    where `size` is at most half of the images.
    """
    held_out = stratified_subset(labels, max(size, len(np.unique(labels))), seed)
    return np.setdiff1d(np.arange(len(labels)), held_out), held_out
