"""A user's own images, a folder or a zip, as a source."""

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
    PARTS,
    ImageTree,
    Listing,
    image_tree,
    open_folder,
)
from pruning_core.engine.data.split import stratified_split

TEST_SHARE = 0.2
SPLIT_NOTE = (
    "There are no folders train and test, so a fifth of each class, chosen by the split seed, "
    "is the test part."
)


@contextmanager
def open_images(
    path: str, split_seed: int, downloads: Path, progress: Progress
) -> Iterator[OpenDataset]:
    """The images at `path`, each file read once for the digest. Raises `SpecError`."""
    place = Path(path).expanduser()
    if not path or not os.path.exists(place):
        raise SpecError(FIELD, f"{path!r} does not exist; give a folder or a .zip file.")
    with (open_folder if place.is_dir() else open_archive)(place) as listing:
        tree = image_tree(listing)
        digest, deep = _digest(listing, tree, progress)
        yield OpenDataset(
            field=FIELD,
            where=listing.where,
            digest=digest,
            classes=tree.classes,
            parts=_parts(listing, tree, split_seed),
            split="given" if tree.given else "seeded",
            flip=True,
            notes=_notes(tree, deep),
        )


def _notes(tree: ImageTree, deep: int) -> tuple[str, ...]:
    notes = [*tree.notes]
    if deep:
        notes.append(f"Images of 16 bits a channel, which are scaled to 8 bits: {deep:,}.")
    return (*notes, *([] if tree.given else [SPLIT_NOTE]))


def _digest(listing: Listing, tree: ImageTree, progress: Progress) -> tuple[str, int]:
    """SHA-256 of every image's path inside the set and content, in the order of the paths.

    Also how many of the images have more than 8 bits a channel.
    """
    seen, count, deep = hashlib.sha256(), len(tree.paths), 0
    for done, (path, place) in enumerate(tree.paths.items()):
        raw = listing.read(listing.files[place])
        content, deep = hashlib.sha256(raw).hexdigest(), deep + has_16_bits(raw)
        seen.update(f"{'/'.join(path)}\0{content}\n".encode())
        if done % 500 == 0:
            progress(done / count, f"Reading images, {done:,} of {count:,}")
    return seen.hexdigest(), deep


def _parts(listing: Listing, tree: ImageTree, split_seed: int) -> dict[str, LabeledImages]:
    number = {name: label for label, name in enumerate(tree.classes)}
    paths = list(tree.paths)
    labels = np.array([number[path[-2]] for path in paths], dtype=np.int64)
    if tree.given:
        rows = [np.array([i for i, path in enumerate(paths) if path[0] == part]) for part in PARTS]
    else:
        rows = list(stratified_split(labels, round(TEST_SHARE * len(labels)), split_seed))
    places = list(tree.paths.values())
    return {
        part: _part(listing, [places[i] for i in chosen], labels[chosen])
        for part, chosen in zip(PARTS, rows, strict=True)
    }


def _part(listing: Listing, places: list[tuple[str, ...]], labels: np.ndarray) -> LabeledImages:
    return LabeledImages(
        labels=labels,
        read=lambda i: listing.read(listing.files[places[i]]),
        name=lambda i: "/".join(places[i]),
    )
