"""The layout of a user's own images: which file belongs to which part and class.

Two layouts are read, each with or without one wrapping folder: `train/<class>/<image>` with
`test/<class>/<image>`, or `<class>/<image>`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from pruning_core.common.errors import SpecError

PARTS = ("train", "test")
IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp"),
    *(".tif", ".tiff", ".ppm", ".pgm"),
)
MAX_FILE_BYTES = 512 * 1024**2
FIELD = "data.path"

Place = tuple[str, ...]


@dataclass(frozen=True)
class Listing:
    """What lies in a folder or zip. Paths are split at "/"; `read` takes a file's handle."""

    where: str
    files: dict[Place, Any]
    folders: frozenset[Place]
    read: Callable[[Any], bytes]


@dataclass(frozen=True)
class Tree:
    """Images sorted by path (without the wrapping folder), and what was left out.

    `paths` maps each image's path inside the set to its path in the listing.
    """

    paths: dict[Place, Place]
    classes: tuple[str, ...]
    given: bool
    notes: tuple[str, ...]


def arrange(listing: Listing) -> Tree:
    """The listing as parts and classes. Raises `SpecError` where the layout is wrong."""
    seen = [path for path in listing.files if _is_image(path)]
    folders = {path for path in _folders(listing) if is_visible(path)}
    skip = _wrapping(seen, folders)
    images = {path[skip:]: path for path in sorted(seen)}
    folders = {path[skip:] for path in folders if len(path) > skip}
    given = any(len(path) > 2 and path[0] in PARTS for path in images)
    kept = _in_classes(listing.where, images, given)
    classes = _classes(listing.where, kept, folders, given)
    notes = _notes(len(listing.files) - len(seen), len(images) - len(kept))
    return Tree({path: images[path] for path in kept}, classes, given, notes)


def refuse(where: str, what: str) -> SpecError:
    """The error for the folder or zip `where`."""
    return SpecError(FIELD, f"in {where}, {what}")


def some(names: Iterable[str]) -> str:
    """At most five of the names, for a message."""
    all_names = sorted(names)
    more = f" and {len(all_names) - 5:,} more" if len(all_names) > 5 else ""
    return ", ".join(all_names[:5]) + more


def is_visible(path: Place) -> bool:
    """Whether neither the file nor a folder above it is hidden or macOS's shadow."""
    return not any(name.startswith(".") or name == "__MACOSX" for name in path)


def _is_image(path: Place) -> bool:
    return path[-1].lower().endswith(IMAGE_SUFFIXES) and is_visible(path)


def _folders(listing: Listing) -> set[Place]:
    parents = {file[:-1] for file in listing.files} | listing.folders
    return {path[:depth] for path in parents for depth in range(1, len(path) + 1)}


def _wrapping(images: list[Place], folders: set[Place]) -> int:
    """1 where a single folder wraps the class folders or the two parts, else 0."""
    tops = {path[0] for path in folders}
    return int(len(tops) == 1 and bool(images) and all(len(path) > 2 for path in images))


def _in_classes(where: str, images: dict[Place, Place], given: bool) -> list[Place]:
    """The images that lie in a class folder; those outside are left out."""
    depth = 3 if given else 2
    kept = [path for path in images if not given or path[0] in PARTS]
    deep = [path for path in kept if len(path) > depth]
    if deep:
        raise refuse(
            where,
            f"{'/'.join(images[deep[0]])} lies deeper than a class folder. Name the folders "
            "train/<class>/<image> and test/<class>/<image>, or <class>/<image>.",
        )
    return [path for path in kept if len(path) == depth]


def _classes(where: str, images: list[Place], folders: set[Place], given: bool) -> tuple[str, ...]:
    depth = 2 if given else 1
    homes = {path for path in folders if len(path) == depth and (not given or path[0] in PARTS)}
    counts = Counter(path[:depth] for path in images)
    _check_filled(where, homes, counts, least=1 if given else 2)
    if given:
        _check_same(where, *({path[1] for path in homes if path[0] == part} for part in PARTS))
    classes = tuple(sorted({path[-1] for path in homes}))
    if len(classes) < 2:
        found = f"only one class folder, {classes[0]}," if classes else "no class folder"
        raise refuse(where, f"{found} was found; at least two are needed, one for each class.")
    return classes


def _check_filled(where: str, homes: set[Place], counts: Counter[Place], least: int) -> None:
    empty = [f"{'/'.join(home)}/" for home in homes if not counts[home]]
    if empty:
        raise refuse(where, f"there are no images in {some(empty)}; fill or remove it.")
    few = [f"{'/'.join(home)}/" for home in homes if counts[home] < least]
    if few:
        raise refuse(
            where,
            f"there is a single image in {some(few)}; a class needs two or more, "
            "so that one can be a test image.",
        )


def _check_same(where: str, train: set[str], test: set[str]) -> None:
    for part, names, other in (("train", train, "test"), ("test", test, "train")):
        if not names:
            raise refuse(where, f"there is a folder {other} but no folder {part} with classes.")
    lacks = [f"test lacks {some(train - test)}"] if train - test else []
    lacks += [f"train lacks {some(test - train)}"] if test - train else []
    if lacks:
        raise refuse(where, f"train and test hold different classes: {'; '.join(lacks)}.")


def _notes(no_images: int, outside: int) -> tuple[str, ...]:
    notes = []
    if no_images:
        notes.append(f"Files ignored because they are hidden or no images: {no_images:,}.")
    if outside:
        notes.append(f"Images ignored because they lie outside the class folders: {outside:,}.")
    return tuple(notes)
