"""Seeded, stratified choices of images."""

from __future__ import annotations

import numpy as np

from pruning_core.common.errors import SpecError

# Images of each class that a subset holds: of the training ones, one is to validate with.
MIN_PER_CLASS = {"train": 2, "test": 1}


def permutation(count: int, seed: int) -> np.ndarray:
    """The numbers 0 to count - 1 in an order that depends on `seed` only, as int64.

    NumPy promises the raw stream of a bit generator to stay the same over its versions, and
    does not promise it for `shuffle`.
    """
    if seed < 0:
        raise SpecError("data.split_seed", f"{seed} is negative; give a whole number from 0 up.")
    return np.argsort(np.random.PCG64(seed).random_raw(count), kind="stable")


def class_quotas(counts: np.ndarray, size: int, least: int = 1) -> np.ndarray:
    """How many of `size` each class gets: its share of `counts`, by largest remainder.

    Each class gets `least`, or all it has, when `size` allows it. Needs
    `0 < size <= counts.sum()`.
    """
    total = counts.sum()
    given, remainders = size * counts // total, size * counts % total
    most = np.argsort(-remainders, kind="stable")
    given[most[: size - given.sum()]] += 1
    if size >= least * len(counts):
        floor = np.minimum(least, counts)
        while (given < floor).any():
            given[given.argmax()] -= 1
            given[(given < floor).argmax()] += 1
    return given


def stratified_subset(
    labels: np.ndarray, size: int, seed: int, field: str = "data.train_size", least: int = 1
) -> np.ndarray:
    """Sorted int64 indices of `size` images, every class in its share, chosen by `seed`.

    `labels` is int64 of shape (N,). A size of 0 or N gives all, in order. Of every class at
    least `least` are chosen where there are so many and `size` allows it. Raises `SpecError`
    for the setting `field` when `size` is more than N.
    """
    if size > len(labels):
        raise SpecError(
            field,
            f"{size:,} images were asked for, there are {len(labels):,}; "
            "ask for fewer, or give 0 for all.",
        )
    if size in (0, len(labels)):
        return np.arange(len(labels))
    order = permutation(len(labels), seed)
    classes, counts = np.unique(labels, return_counts=True)
    picks = [
        order[labels[order] == label][:share]
        for label, share in zip(classes, class_quotas(counts, size, least), strict=True)
    ]
    return np.sort(np.concatenate(picks))


def stratified_split(labels: np.ndarray, size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Sorted indices (kept, held out), disjoint; a stratified `size` of them is held out.

    At least one image of each class is held out. A class of two or more keeps at least one
    when `size` is at most half of the images.
    """
    chosen = stratified_subset(labels, max(size, len(np.unique(labels))), seed)
    return np.setdiff1d(np.arange(len(labels)), chosen), chosen
