"""A user's images, in a folder or a zip, as a data set."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from pruning_core.common.errors import SpecError
from pruning_core.engine.data.archives import open_archive
from pruning_core.engine.data.dataset import LabeledImages, OpenDataset, Progress, Visit
from pruning_core.engine.data.image_files import RawImage, UnreadableImage
from pruning_core.engine.data.image_folder import (
    FIELD,
    Listing,
    PathParts,
    all_folders,
    layout_error,
    open_folder,
    some,
)
from pruning_core.engine.data.image_layout import SUBSETS, ImageTree, image_tree
from pruning_core.engine.data.split import stratified_split

TEST_SHARE = 0.2


@contextmanager
def open_images(
    path: str, split_seed: int, downloads: Path, progress: Progress
) -> Iterator[OpenDataset]:
    """The images at `path`. `read` reads every file once, for the digest and for its caller.

    Raises `SpecError` where there is no such path or the folder layout is wrong.
    """
    location = Path(path).expanduser()
    if not path or not os.path.exists(location):
        raise SpecError(
            FIELD, "{path} does not exist. Choose a folder or a .zip file.", path=repr(path)
        )
    if not location.is_dir() and not location.is_file():
        raise SpecError(FIELD, "{path} is neither a folder nor a file.", path=location)
    with (open_folder if location.is_dir() else open_archive)(location) as listing:
        yield _dataset(listing, split_seed)


def _dataset(listing: Listing, split_seed: int, left_out: Collection[str] = ()) -> OpenDataset:
    """The images of a listing as a data set, as if the files in `left_out` were not there.

    Their folders stay: a class without any other image is refused, not forgotten.
    """
    files = {path: file for path, file in listing.files.items() if "/".join(path) not in left_out}
    listing = replace(listing, files=files, folders=frozenset(all_folders(listing)))
    tree = image_tree(listing)
    labels, rows = _split(tree, split_seed)
    paths = list(tree.paths.values())
    return OpenDataset(
        field=FIELD,
        location=listing.location,
        read=partial(_read, listing, tree, rows),
        image=lambda subset, row: listing.read(listing.files[paths[rows[subset][row]]]),
        classes=tree.classes,
        subsets={
            name: LabeledImages(labels[chosen], partial(_name, paths, chosen))
            for name, chosen in rows.items()
        },
        split="given" if tree.given_split else "seeded",
        flip=True,
        notes=_notes(tree, split_seed),
        without=lambda names: _dataset(listing, split_seed, frozenset(names)),
    )


def _notes(tree: ImageTree, split_seed: int) -> tuple[str, ...]:
    if tree.given_split:
        return tree.notes
    return (
        *tree.notes,
        f"{tree.split_reason}: {100 * TEST_SHARE:.0f} % of each class is held out for testing "
        f"(split seed {split_seed}).",
    )


def _read(listing: Listing, tree: ImageTree, rows: dict[str, np.ndarray], visit: Visit) -> str:
    """SHA-256 of the path and content of every image; each is read once, and visited.

    Paths are those inside the data set, in order, so a copy elsewhere has the same digest. An
    order of the classes that is not that of their names enters, too: it decides the labels.
    """
    places = {index: (name, i) for name, chosen in rows.items() for i, index in enumerate(chosen)}
    digest = hashlib.sha256()
    errors: list[SpecError] = []
    for index, (path, listed_path) in enumerate(tree.paths.items()):
        raw: RawImage
        try:
            raw = listing.read(listing.files[listed_path])
            content = hashlib.sha256(raw).hexdigest()
        except UnreadableImage as error:
            raw, content = error, "unreadable"
        except SpecError as error:
            errors.append(error)
            continue
        digest.update(f"{'/'.join(path)}\0{content}\n".encode())
        visit(*places[index], raw)
    if errors:
        raise _unreadable(listing.location, errors)
    if list(tree.classes) != sorted(tree.classes):
        digest.update("\0".join(("classes", *tree.classes)).encode())
    return digest.hexdigest()


def _unreadable(location: str, errors: list[SpecError]) -> SpecError:
    """One error for all files that cannot be read."""
    if len(errors) == 1:
        return errors[0]
    return layout_error(
        location,
        "{count} files cannot be read, for example {names}. The first of them: {reason}",
        count=f"{len(errors):,}",
        names=some(str(error.values.get("name", error.message)) for error in errors),
        reason=errors[0].message,
    )


def _split(tree: ImageTree, split_seed: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The labels of all images (N,), and the images of each subset by their index."""
    label_of = {name: label for label, name in enumerate(tree.classes)}
    paths = list(tree.paths)
    labels = np.array([label_of[path[-2]] for path in paths], dtype=np.int64)
    if tree.given_split:
        return labels, {
            name: np.array([i for i, path in enumerate(paths) if path[0] == name])
            for name in SUBSETS
        }
    train, test = stratified_split(labels, round(TEST_SHARE * len(labels)), split_seed)
    return labels, dict(zip(SUBSETS, (train, test), strict=True))


def _name(paths: list[PathParts], chosen: np.ndarray, row: int) -> str:
    return "/".join(paths[chosen[row]])
