"""A user's images, in a folder or a zip, as a data set."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from pruning_core.common.errors import SpecError
from pruning_core.engine.data.archives import open_archive
from pruning_core.engine.data.dataset import LabeledImages, OpenDataset, Progress
from pruning_core.engine.data.image_files import has_16_bits
from pruning_core.engine.data.image_folder import (
    FIELD,
    SUBSETS,
    ImageTree,
    Listing,
    PathParts,
    image_tree,
    open_folder,
)
from pruning_core.engine.data.split import stratified_split

TEST_SHARE = 0.2


@contextmanager
def open_images(
    path: str, split_seed: int, downloads: Path, progress: Progress
) -> Iterator[OpenDataset]:
    """The images at `path`; every file is read once for the digest.

    Raises `SpecError` where there is no such path or the folder layout is wrong.
    """
    location = Path(path).expanduser()
    if not path or not os.path.exists(location):
        raise SpecError(
            FIELD, "{path} does not exist. Choose a folder or a .zip file.", path=repr(path)
        )
    with (open_folder if location.is_dir() else open_archive)(location) as listing:
        tree = image_tree(listing)
        digest, deep_images = _digest(listing, tree, progress)
        yield OpenDataset(
            field=FIELD,
            location=listing.location,
            digest=digest,
            classes=tree.classes,
            subsets=_subsets(listing, tree, split_seed),
            split="given" if tree.given_split else "seeded",
            flip=True,
            notes=_notes(tree, deep_images, split_seed),
        )


def _notes(tree: ImageTree, deep_images: int, split_seed: int) -> tuple[str, ...]:
    notes = [*tree.notes]
    if deep_images:
        notes.append(f"Images with 16 bits per channel, scaled to 8 bits: {deep_images:,}.")
    if not tree.given_split:
        notes.append(
            f"No train/ and test/ folders: {100 * TEST_SHARE:.0f} % of each class is held out for "
            f"testing (split seed {split_seed})."
        )
    return tuple(notes)


def _digest(listing: Listing, tree: ImageTree, progress: Progress) -> tuple[str, int]:
    """SHA-256 of the path and content of every image, and the number of 16-bit images.

    Paths are those inside the data set, in order, so a copy elsewhere has the same digest.
    """
    digest, count, deep_images = hashlib.sha256(), len(tree.paths), 0
    for done, (path, listed_path) in enumerate(tree.paths.items()):
        raw = listing.read(listing.files[listed_path])
        deep_images += has_16_bits(raw)
        content = hashlib.sha256(raw).hexdigest()
        digest.update(f"{'/'.join(path)}\0{content}\n".encode())
        if done % 500 == 0:
            progress(done / count, f"Reading images, {done:,} of {count:,}")
    return digest.hexdigest(), deep_images


def _subsets(listing: Listing, tree: ImageTree, split_seed: int) -> dict[str, LabeledImages]:
    label_of = {name: label for label, name in enumerate(tree.classes)}
    paths = list(tree.paths)
    labels = np.array([label_of[path[-2]] for path in paths], dtype=np.int64)
    if tree.given_split:
        rows = [
            np.array([i for i, path in enumerate(paths) if path[0] == name]) for name in SUBSETS
        ]
    else:
        rows = list(stratified_split(labels, round(TEST_SHARE * len(labels)), split_seed))
    listed_paths = list(tree.paths.values())
    return {
        name: _labeled_images(listing, [listed_paths[i] for i in chosen], labels[chosen])
        for name, chosen in zip(SUBSETS, rows, strict=True)
    }


def _labeled_images(listing: Listing, paths: list[PathParts], labels: np.ndarray) -> LabeledImages:
    return LabeledImages(
        labels=labels,
        read=lambda i: listing.read(listing.files[paths[i]]),
        name=lambda i: "/".join(paths[i]),
    )
