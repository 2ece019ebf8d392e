"""The layout of a user's own images: which file belongs to which part and class.

Two layouts are read, each with or without one wrapping folder: `train/<class>/<image>` with
`test/<class>/<image>`, or `<class>/<image>`.
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

PARTS = ("train", "test")
IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp"),
    *(".tif", ".tiff", ".ppm", ".pgm"),
)
MAX_FILE_BYTES = 512 * 1024**2
FIELD = "data.path"

PathParts = tuple[str, ...]


@dataclass(frozen=True)
class Listing:
    """What lies in a folder or zip. Paths are split at "/"; `read` takes a file's handle."""

    where: str
    files: dict[PathParts, Any]
    folders: frozenset[PathParts]
    read: Callable[[Any], bytes]


@dataclass(frozen=True)
class ImageTree:
    """Images sorted by path (without the wrapping folder), and what was left out.

    `paths` maps each image's path inside the set to its path in the listing.
    """

    paths: dict[PathParts, PathParts]
    classes: tuple[str, ...]
    given: bool
    notes: tuple[str, ...]


def image_tree(listing: Listing) -> ImageTree:
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
    return ImageTree({path: images[path] for path in kept}, classes, given, notes)


def layout_error(where: str, what: str) -> SpecError:
    """The error for the folder or zip `where`."""
    return SpecError(FIELD, f"in {where}, {what}")


def some(names: Iterable[str]) -> str:
    """At most five of the names, for a message."""
    all_names = sorted(names)
    more = f" and {len(all_names) - 5:,} more" if len(all_names) > 5 else ""
    return ", ".join(all_names[:5]) + more


def is_visible(path: PathParts) -> bool:
    """Whether neither the file nor a folder above it is hidden or macOS's shadow."""
    return not any(name.startswith(".") or name == "__MACOSX" for name in path)


def _is_image(path: PathParts) -> bool:
    return path[-1].lower().endswith(IMAGE_SUFFIXES) and is_visible(path)


def _folders(listing: Listing) -> set[PathParts]:
    parents = {file[:-1] for file in listing.files} | listing.folders
    return {path[:depth] for path in parents for depth in range(1, len(path) + 1)}


def _wrapping(images: list[PathParts], folders: set[PathParts]) -> int:
    """1 where a single folder wraps the class folders or the two parts, else 0."""
    tops = {path[0] for path in folders}
    return int(len(tops) == 1 and bool(images) and all(len(path) > 2 for path in images))


def _in_classes(where: str, images: dict[PathParts, PathParts], given: bool) -> list[PathParts]:
    """The images that lie in a class folder; those outside are left out."""
    depth = 3 if given else 2
    kept = [path for path in images if not given or path[0] in PARTS]
    deep = [path for path in kept if len(path) > depth]
    if deep:
        raise layout_error(
            where,
            f"{'/'.join(images[deep[0]])} lies deeper than a class folder. Name the folders "
            "train/<class>/<image> and test/<class>/<image>, or <class>/<image>.",
        )
    return [path for path in kept if len(path) == depth]


def _classes(
    where: str, images: list[PathParts], folders: set[PathParts], given: bool
) -> tuple[str, ...]:
    depth = 2 if given else 1
    homes = {path for path in folders if len(path) == depth and (not given or path[0] in PARTS)}
    counts = Counter(path[:depth] for path in images)
    _check_filled(where, homes, counts, least=1 if given else 2)
    if given:
        _check_same(where, *({path[1] for path in homes if path[0] == part} for part in PARTS))
    classes = tuple(sorted({path[-1] for path in homes}))
    if len(classes) < 2:
        found = f"only one class folder, {classes[0]}," if classes else "no class folder"
        raise layout_error(
            where, f"{found} was found; at least two are needed, one for each class."
        )
    return classes


def _check_filled(
    where: str, homes: set[PathParts], counts: Counter[PathParts], least: int
) -> None:
    empty = [f"{'/'.join(home)}/" for home in homes if not counts[home]]
    if empty:
        raise layout_error(where, f"there are no images in {some(empty)}; fill or remove it.")
    few = [f"{'/'.join(home)}/" for home in homes if counts[home] < least]
    if few:
        raise layout_error(
            where,
            f"there is a single image in {some(few)}; a class needs two or more, "
            "so that one can be a test image.",
        )


def _check_same(where: str, train: set[str], test: set[str]) -> None:
    for part, names, other in (("train", train, "test"), ("test", test, "train")):
        if not names:
            raise layout_error(
                where, f"there is a folder {other} but no folder {part} with classes."
            )
    lacks = [f"test lacks {some(train - test)}"] if train - test else []
    lacks += [f"train lacks {some(test - train)}"] if test - train else []
    if lacks:
        raise layout_error(where, f"train and test hold different classes: {'; '.join(lacks)}.")


def _notes(no_images: int, outside: int) -> tuple[str, ...]:
    notes = []
    if no_images:
        notes.append(f"Files ignored because they are hidden or no images: {no_images:,}.")
    if outside:
        notes.append(f"Images ignored because they lie outside the class folders: {outside:,}.")
    return tuple(notes)


@contextmanager
def open_folder(folder: Path) -> Iterator[Listing]:
    """Every file and folder below `folder`. Raises `SpecError` where one cannot be read."""

    def stop(error: OSError) -> None:
        raise layout_error(str(folder), f"a folder cannot be read ({error}).")

    files: dict[PathParts, Path] = {}
    folders: set[PathParts] = set()
    for place, below, names in os.walk(folder, onerror=stop):
        here = Path(place)
        inside = _parts(here.relative_to(folder))
        _check_links(folder, here, inside, below)
        _check_names(folder, inside, [*below, *names])
        folders.update((*inside, _same(name)) for name in below)
        files.update({(*inside, _same(name)): here / name for name in names})
    yield Listing(str(folder), files, frozenset(folders), partial(_read, folder))


def _check_links(folder: Path, here: Path, inside: PathParts, below: list[str]) -> None:
    # A link can lead back to a folder above it, and the walk would not end.
    for name in below:
        if is_visible((*inside, name)) and (here / name).is_symlink():
            raise layout_error(
                str(folder),
                f"the folder {'/'.join((*inside, name))} is a symbolic link; "
                "put the images themselves there.",
            )


def _check_names(folder: Path, inside: PathParts, names: list[str]) -> None:
    # Python holds the bytes of such a name as half characters, which no text file can.
    for name in names:
        if is_visible((*inside, name)) and any("\ud800" <= c <= "\udfff" for c in name):
            raise layout_error(str(folder), f"the name {name!r} is not UTF-8; rename it.")


def _read(folder: Path, file: Path) -> bytes:
    name = file.relative_to(folder).as_posix()
    try:
        if file.stat().st_size > MAX_FILE_BYTES:
            limit = MAX_FILE_BYTES // 1024**2
            raise layout_error(str(folder), f"{name} is larger than {limit:,} MiB.")
        return file.read_bytes()
    except OSError as error:
        raise layout_error(str(folder), f"{name} cannot be read ({error}).") from None


def _parts(path: Path) -> PathParts:
    return tuple(_same(name) for name in path.parts)


def _same(name: str) -> str:
    """One spelling of accented letters: macOS stores another than other systems do."""
    return unicodedata.normalize("NFC", name)
