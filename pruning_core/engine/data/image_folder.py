"""A folder of images: its files, and the layout that gives each image a subset and a class.

Folder layout: `train/<class>/<image>` and `test/<class>/<image>`, or `<class>/<image>`; each with
or without one folder around it.
"""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pruning_core.common.errors import SpecError

SUBSETS = ("train", "test")
IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp"),
    *(".tif", ".tiff", ".ppm", ".pgm"),
)
MAX_FILE_BYTES = 512 * 1024**2
FIELD = "data.path"

PathParts = tuple[str, ...]


@dataclass(frozen=True)
class Listing:
    """The content of a folder or zip. Paths are split at "/"; `read` takes a value of `files`."""

    location: str
    files: dict[PathParts, Any]
    folders: frozenset[PathParts]
    read: Callable[[Any], bytes]


@dataclass(frozen=True)
class ImageTree:
    """The images of a listing, sorted by path without the outer folder.

    `paths` maps each image's path inside the data set to its path in the listing. `given_split`
    is true where there are train and test folders. `notes` tell which files are ignored.
    """

    paths: dict[PathParts, PathParts]
    classes: tuple[str, ...]
    given_split: bool
    notes: tuple[str, ...]


def layout_error(location: str, template: str, **values: Any) -> SpecError:
    """The error for a folder or zip. `template` is a sentence with a `{name}` for each value."""
    return SpecError(FIELD, "{location}: " + template, location=location, **values)


@contextmanager
def open_folder(folder: Path) -> Iterator[Listing]:
    """Every file and folder below `folder`. Raises `SpecError` where one cannot be read."""

    def stop(error: OSError) -> None:
        raise layout_error(str(folder), "A folder cannot be read ({error}).", error=error)

    files: dict[PathParts, Path] = {}
    folders: set[PathParts] = set()
    for current, subfolders, names in os.walk(folder, onerror=stop):
        here = Path(current)
        parts = tuple(_normalized(name) for name in here.relative_to(folder).parts)
        _check_links(folder, here, parts, subfolders)
        _check_names(folder, parts, [*subfolders, *names])
        folders.update((*parts, _normalized(name)) for name in subfolders)
        files.update({(*parts, _normalized(name)): here / name for name in names})
    yield Listing(str(folder), files, frozenset(folders), partial(_read, folder))


def _check_links(folder: Path, here: Path, parts: PathParts, subfolders: list[str]) -> None:
    # A link can lead back to a folder above it, and the walk would not end.
    for name in subfolders:
        if is_visible((*parts, name)) and (here / name).is_symlink():
            raise layout_error(
                str(folder),
                "The folder {name} is a symbolic link. Put the images themselves there.",
                name="/".join((*parts, name)),
            )


def _check_names(folder: Path, parts: PathParts, names: list[str]) -> None:
    # Python decodes other bytes to lone surrogates, which no text file can hold.
    for name in names:
        if is_visible((*parts, name)) and any("\ud800" <= c <= "\udfff" for c in name):
            raise layout_error(
                str(folder), "The name {name} is not UTF-8. Rename it.", name=repr(name)
            )


def _read(folder: Path, file: Path) -> bytes:
    name = file.relative_to(folder).as_posix()
    try:
        if file.stat().st_size > MAX_FILE_BYTES:
            limit = f"{MAX_FILE_BYTES // 1024**2:,} MiB"
            raise layout_error(
                str(folder), "{name} is larger than {limit}.", name=name, limit=limit
            )
        return file.read_bytes()
    except OSError as error:
        raise layout_error(
            str(folder), "{name} cannot be read ({error}).", name=name, error=error
        ) from None


def _normalized(name: str) -> str:
    """One spelling of accented letters; macOS stores a different one from other systems."""
    return unicodedata.normalize("NFC", name)


def image_tree(listing: Listing) -> ImageTree:
    """The images of a listing with their classes. Raises `SpecError` for a wrong layout."""
    image_paths = [path for path in listing.files if _is_image(path)]
    folders = {path for path in _all_folders(listing) if is_visible(path)}
    outer = _outer_depth(image_paths, folders)
    images = {path[outer:]: path for path in sorted(image_paths)}
    folders = {path[outer:] for path in folders if len(path) > outer}
    given_split = any(len(path) > 2 and path[0] in SUBSETS for path in images)
    kept = _in_class_folders(listing.location, images, given_split)
    classes = _classes(listing.location, kept, folders, given_split)
    notes = _notes(len(listing.files) - len(image_paths), len(images) - len(kept))
    return ImageTree({path: images[path] for path in kept}, classes, given_split, notes)


def is_visible(path: PathParts) -> bool:
    """Whether neither the file nor a folder above it is hidden, or metadata of macOS."""
    return not any(name.startswith(".") or name == "__MACOSX" for name in path)


def _is_image(path: PathParts) -> bool:
    return path[-1].lower().endswith(IMAGE_SUFFIXES) and is_visible(path)


def _all_folders(listing: Listing) -> set[PathParts]:
    """The folders of a listing, those included that a zip names only in its files' paths."""
    parents = {file[:-1] for file in listing.files} | listing.folders
    return {path[:depth] for path in parents for depth in range(1, len(path) + 1)}


def _outer_depth(images: list[PathParts], folders: set[PathParts]) -> int:
    """1 where a single folder holds the class folders, or train and test; else 0."""
    top_folders = {path[0] for path in folders}
    return int(len(top_folders) == 1 and bool(images) and all(len(path) > 2 for path in images))


def _in_class_folders(
    location: str, images: dict[PathParts, PathParts], given_split: bool
) -> list[PathParts]:
    """The images in class folders; images outside are ignored, deeper ones refused."""
    depth = 3 if given_split else 2
    candidates = [path for path in images if not given_split or path[0] in SUBSETS]
    deeper = [path for path in candidates if len(path) > depth]
    if deeper:
        raise layout_error(
            location,
            "{name} is deeper than a class folder. Folder layout: train/<class>/<image> and "
            "test/<class>/<image>, or <class>/<image>.",
            name="/".join(images[deeper[0]]),
        )
    return [path for path in candidates if len(path) == depth]


def _classes(
    location: str, images: list[PathParts], folders: set[PathParts], given_split: bool
) -> tuple[str, ...]:
    """The class names, sorted. Raises `SpecError` where a class has too few images."""
    depth = 2 if given_split else 1
    class_folders = {
        path for path in folders if len(path) == depth and (not given_split or path[0] in SUBSETS)
    }
    counts = Counter(path[:depth] for path in images)
    _check_counts(location, class_folders, counts, minimum=1 if given_split else 2)
    if given_split:
        train, test = ({path[1] for path in class_folders if path[0] == name} for name in SUBSETS)
        _check_same_classes(location, train, test)
    classes = tuple(sorted({path[-1] for path in class_folders}))
    if len(classes) == 1:
        raise layout_error(
            location,
            "There is only one class folder, {name}. At least two are needed.",
            name=classes[0],
        )
    if not classes:
        raise layout_error(location, "There is no class folder. At least two are needed.")
    return classes


def _check_counts(
    location: str, class_folders: set[PathParts], counts: Counter[PathParts], minimum: int
) -> None:
    empty = [f"{'/'.join(folder)}/" for folder in class_folders if not counts[folder]]
    if empty:
        raise layout_error(
            location, "There are no images in {names}. Add images or remove it.", names=_some(empty)
        )
    single = [f"{'/'.join(folder)}/" for folder in class_folders if counts[folder] < minimum]
    if single:
        raise layout_error(
            location,
            "There is a single image in {names}. A class needs two or more, so that one can be a "
            "test image.",
            names=_some(single),
        )


def _check_same_classes(location: str, train: set[str], test: set[str]) -> None:
    for name, classes, other in (("train", train, "test"), ("test", test, "train")):
        if not classes:
            raise layout_error(
                location, f"There is a folder {other}, but no folder {name} with classes."
            )
    differences = [f"test lacks {_some(train - test)}"] if train - test else []
    differences += [f"train lacks {_some(test - train)}"] if test - train else []
    if differences:
        raise layout_error(
            location,
            "The classes of train and test differ: {differences}.",
            differences="; ".join(differences),
        )


def _some(names: Iterable[str]) -> str:
    """At most five of the names, for a message."""
    ordered = sorted(names)
    more = f" and {len(ordered) - 5:,} more" if len(ordered) > 5 else ""
    return ", ".join(ordered[:5]) + more


def _notes(other_files: int, outside: int) -> tuple[str, ...]:
    notes = []
    if other_files:
        notes.append(f"Files ignored because they are hidden or not images: {other_files:,}.")
    if outside:
        notes.append(f"Images ignored because they are outside the class folders: {outside:,}.")
    return tuple(notes)
