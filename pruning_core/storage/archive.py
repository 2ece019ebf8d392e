"""A finished stage as one file, with which it travels to another cache.

The archive is a zip without compression: the files of a stage are weights and masks, which compress
little or are compressed already. Archives of the same stage have the same bytes. Nothing of an
archive is used before it was checked against the key and the digests of its manifest.
"""

from __future__ import annotations

import re
import shutil
import zipfile
from pathlib import Path
from typing import BinaryIO

from pruning_core.common.files import UNREADABLE_ZIP
from pruning_core.storage.store import MANIFEST, Damaged, Store

# The names that stages give to their files: no folders, no hidden files.
FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
FIRST_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip can hold
MOST_FILES = 1_000


def pack(store: Store, key: str, path: Path | BinaryIO) -> None:
    """Write the archive of a stage, after its files were checked. Raises `Missing`."""
    folder = store.folder(key)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for file in sorted(folder.iterdir()):
            entry = zipfile.ZipInfo(file.name, FIRST_DATE)
            with file.open("rb") as source, archive.open(entry, "w", force_zip64=True) as target:
                shutil.copyfileobj(source, target)


def unpack(store: Store, key: str, path: Path | BinaryIO) -> None:
    """Publish the stage of an archive. A stage that exists already does not change.

    Raises `Damaged` where the archive is not that of this stage, or is not as it was written.
    """
    with store.building(key) as folder:
        try:
            _extract(path, folder)
        except UNREADABLE_ZIP as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # of the disk, which may be full
            raise Damaged(f"The archive of stage {key[:12]} cannot be read: {error}") from error
        if not (folder / MANIFEST).is_file():
            raise Damaged(f"The archive of stage {key[:12]} has no manifest.")
        store.receive(key, folder)


def _extract(path: Path | BinaryIO, folder: Path) -> None:
    """Write the entries of an archive into a new folder. Raises `UNREADABLE_ZIP`.

    Without compression an entry cannot be larger than the archive.
    """
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if len(entries) > MOST_FILES:
            raise ValueError(f"it has {len(entries)} files")
        for entry in entries:
            if not FILE_NAME.fullmatch(entry.filename):
                raise ValueError(f"{entry.filename!r} is no name of a file in it")
            if entry.compress_type != zipfile.ZIP_STORED:
                raise ValueError(f"{entry.filename} is compressed")
            with archive.open(entry) as source, (folder / entry.filename).open("xb") as target:
                shutil.copyfileobj(source, target)
