"""A folder of images."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from pruning_core.engine.data.folder_layout import (
    MAX_FILE_BYTES,
    Listing,
    Place,
    is_visible,
    refuse,
)


@contextmanager
def open_folder(folder: Path) -> Iterator[Listing]:
    """Every file and folder below `folder`. Raises `SpecError` where one cannot be read."""

    def stop(error: OSError) -> None:
        raise refuse(str(folder), f"a folder cannot be read ({error}).")

    files: dict[Place, Path] = {}
    folders: set[Place] = set()
    for place, below, names in os.walk(folder, onerror=stop):
        here = Path(place)
        inside = _parts(here.relative_to(folder))
        _check_links(folder, here, inside, below)
        _check_names(folder, inside, [*below, *names])
        folders.update((*inside, _same(name)) for name in below)
        files.update({(*inside, _same(name)): here / name for name in names})
    yield Listing(str(folder), files, frozenset(folders), partial(_read, folder))


def _check_links(folder: Path, here: Path, inside: Place, below: list[str]) -> None:
    # A link can lead back to a folder above it, and the walk would not end.
    for name in below:
        if is_visible((*inside, name)) and (here / name).is_symlink():
            raise refuse(
                str(folder),
                f"the folder {'/'.join((*inside, name))} is a symbolic link; "
                "put the images themselves there.",
            )


def _check_names(folder: Path, inside: Place, names: list[str]) -> None:
    # Python holds the bytes of such a name as half characters, which no text file can.
    for name in names:
        if is_visible((*inside, name)) and any("\ud800" <= c <= "\udfff" for c in name):
            raise refuse(str(folder), f"the name {name!r} is not UTF-8; rename it.")


def _read(folder: Path, file: Path) -> bytes:
    name = file.relative_to(folder).as_posix()
    try:
        if file.stat().st_size > MAX_FILE_BYTES:
            limit = MAX_FILE_BYTES // 1024**2
            raise refuse(str(folder), f"{name} is larger than {limit:,} MiB.")
        return file.read_bytes()
    except OSError as error:
        raise refuse(str(folder), f"{name} cannot be read ({error}).") from None


def _parts(path: Path) -> Place:
    return tuple(_same(name) for name in path.parts)


def _same(name: str) -> str:
    """One spelling of accented letters: macOS stores another than other systems do."""
    return unicodedata.normalize("NFC", name)
