"""The files of a folder of images: their list, and how one is read."""

from __future__ import annotations

import os
import stat
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pruning_core.common.errors import SpecError
from pruning_core.common.files import is_visible
from pruning_core.engine.data.image_files import IMAGE_SUFFIXES, UnreadableImage

MAX_FILE_BYTES = 512 * 1024**2
FIELD = "data.path"
SOME = 5
# Kinds of file that are no images: reading one may never end.
SPECIAL_FILES = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a link to a folder",
    stat.S_IFLNK: "a broken link",
}

PathParts = tuple[str, ...]


@dataclass(frozen=True)
class Listing:
    """The content of a folder or zip. Paths are split at "/"; `read` takes a value of `files`.

    `read` raises `UnreadableImage` for a damaged file, `SpecError` for one without access.

    `notes` tell how names were read.
    """

    location: str
    files: dict[PathParts, Any]
    folders: frozenset[PathParts]
    read: Callable[[Any], bytes]
    notes: tuple[str, ...] = ()


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
        folders.update((*parts, _normalized(name)) for name in subfolders)
        subfolders[:] = [name for name in subfolders if is_visible((*parts, name))]
        _check_links(folder, here, parts, subfolders)
        _check_names(folder, parts, [*subfolders, *names])
        for name in names:
            path = (*parts, _normalized(name))
            if path in files:
                raise layout_error(
                    str(folder),
                    "There are two files {name}: their paths differ only in how accented letters "
                    "are stored. Rename one.",
                    name="/".join(path),
                )
            files[path] = here / name
    _check_special(folder, [file for path, file in files.items() if is_image(path)])
    yield Listing(str(folder), files, frozenset(folders), partial(_read, folder))


def _check_links(folder: Path, here: Path, parts: PathParts, subfolders: list[str]) -> None:
    # A link can lead back to a folder above it, and the walk would not end.
    for name in subfolders:
        if (here / name).is_symlink():
            raise layout_error(
                str(folder),
                "The folder {name} is a symbolic link. Put the images themselves there, or choose "
                "the folder that holds the images.",
                name="/".join((*parts, name)),
            )


def _check_names(folder: Path, parts: PathParts, names: list[str]) -> None:
    # Python decodes other bytes to lone surrogates, which no text file can hold.
    for name in names:
        if is_visible((*parts, name)) and any("\ud800" <= c <= "\udfff" for c in name):
            raise layout_error(
                str(folder), "The name {name} is not UTF-8. Rename it.", name=repr(name)
            )


def _check_special(folder: Path, images: list[Path]) -> None:
    """Refuse pipes, sockets, devices and broken links with the name of an image."""
    special = {file: kind for file in images if (kind := _special(file))}
    if special:
        named = (
            f"{file.relative_to(folder).as_posix()} ({kind})" for file, kind in special.items()
        )
        raise layout_error(
            str(folder),
            "{count} with the name of an image cannot be read as a file: {names}. Remove them.",
            count="1 entry" if len(special) == 1 else f"{len(special):,} entries",
            names=some(named),
        )


def _special(file: Path) -> str:
    """What an entry is where it is no regular file, else an empty text."""
    try:
        kind = stat.S_IFMT(file.stat().st_mode)
    except OSError:
        kind = stat.S_IFLNK
    return "" if stat.S_ISREG(kind) else SPECIAL_FILES.get(kind, "no regular file")


def _read(folder: Path, file: Path) -> bytes:
    """The bytes of a file; a pipe or a device is not waited for.

    Raises `UnreadableImage` for a file above the limit, `SpecError` for one that cannot be read.
    """
    name = file.relative_to(folder).as_posix()
    try:
        with open(file, "rb", opener=_open_at_once) as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise OSError(f"it is {_special(file)}")
            raw = stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise layout_error(
            str(folder), "{name} cannot be read ({error}).", name=name, error=error
        ) from None
    if len(raw) > MAX_FILE_BYTES:
        raise UnreadableImage(f"it is larger than {MAX_FILE_BYTES // 1024**2:,} MiB")
    return raw


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _normalized(name: str) -> str:
    """One spelling of accented letters; macOS stores a different one from other systems."""
    return unicodedata.normalize("NFC", name)


def is_image(path: PathParts) -> bool:
    """Whether a file has the ending of an image, and is visible."""
    return path[-1].lower().endswith(IMAGE_SUFFIXES) and is_visible(path)


def all_folders(listing: Listing) -> set[PathParts]:
    """The folders of a listing, those included that a zip names only in its files' paths."""
    parents = {file[:-1] for file in listing.files} | listing.folders
    return {path[:depth] for path in parents for depth in range(1, len(path) + 1)}


def some(names: Iterable[str]) -> str:
    """At most five of the names, for a message."""
    ordered = sorted(names)
    more = f" and {len(ordered) - SOME:,} more" if len(ordered) > SOME else ""
    return ", ".join(ordered[:SOME]) + more
