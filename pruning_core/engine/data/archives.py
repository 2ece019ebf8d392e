"""A zip of images, read in place: nothing is unpacked to disk."""

from __future__ import annotations

import re
import stat
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from zipfile import ZipInfo

from pruning_core.common.errors import SpecError
from pruning_core.engine.data.image_folder import FIELD, MAX_FILE_BYTES, Listing, layout_error

MAX_ENTRIES = 2_000_000
MAX_TOTAL_BYTES = 20 * 1024**3

_ENCRYPTED = 0x1
_UTF8_NAME = 0x800
_PLAIN = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, ValueError)


@contextmanager
def open_archive(path: Path) -> Iterator[Listing]:
    """Every entry of the zip at `path`. Raises `SpecError` where it is unsafe or broken."""
    try:
        archive = zipfile.ZipFile(path)
    except _BROKEN as error:
        raise SpecError(
            FIELD,
            f"{path} is neither a folder nor a whole .zip file ({error}). It may have been cut "
            "short: copy it again, or give another.",
        ) from None
    with archive:
        entries = archive.infolist()
        _check_sizes(path, entries)
        files: dict[tuple[str, ...], ZipInfo] = {}
        folders: set[tuple[str, ...]] = set()
        for entry in entries:
            parts = _checked_name(path, entry)
            if parts in files:
                raise layout_error(str(path), f"{entry.filename} stands twice.")
            if entry.is_dir():
                folders.add(parts)
            else:
                files[parts] = entry
        yield Listing(
            str(path), files, frozenset(folders), lambda entry: _read(archive, path, entry)
        )


def _check_sizes(path: Path, entries: list[ZipInfo]) -> None:
    if len(entries) > MAX_ENTRIES:
        raise layout_error(
            str(path), f"there are {len(entries):,} entries; the limit is {MAX_ENTRIES:,}."
        )
    total = sum(entry.file_size for entry in entries)
    if total > MAX_TOTAL_BYTES:
        raise layout_error(
            str(path),
            f"the entries expand to {total / 1024**3:,.1f} GiB; "
            f"the limit is {MAX_TOTAL_BYTES / 1024**3:,.0f} GiB.",
        )
    for entry in entries:
        if entry.file_size > MAX_FILE_BYTES:
            limit = MAX_FILE_BYTES // 1024**2
            raise layout_error(
                str(path),
                f"{entry.filename} expands to {entry.file_size / 1024**2:,.0f} MiB; "
                f"the limit for one file is {limit:,} MiB.",
            )


def _checked_name(path: Path, entry: ZipInfo) -> tuple[str, ...]:
    """The entry's path, split. Raises `SpecError` where it could point outside, or is a link."""
    name = entry.orig_filename
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    reasons = {
        "holds a backslash": "\\" in name,
        "is an absolute path": name.startswith("/") or bool(re.match("[A-Za-z]:", name)),
        "leads outside the zip (..)": ".." in parts,
        "holds a zero byte": "\0" in name,
        "has no name": not parts,
        "is a symbolic link": stat.S_ISLNK(entry.external_attr >> 16),
        "is encrypted": bool(entry.flag_bits & _ENCRYPTED),
        "is compressed by a method other than deflate": entry.compress_type not in _PLAIN,
    }
    for reason, holds in reasons.items():
        if holds:
            raise layout_error(
                str(path), f"the entry {name!r} {reason}. Make the zip anew without it."
            )
    return tuple(_decoded(part, entry) for part in parts)


def _decoded(name: str, entry: ZipInfo) -> str:
    """The name as a folder would spell it: macOS writes UTF-8 without saying so."""
    if not entry.flag_bits & _UTF8_NAME:
        with suppress(UnicodeError):
            name = name.encode("cp437").decode("utf-8")
    return unicodedata.normalize("NFC", name)


def _read(archive: zipfile.ZipFile, path: Path, entry: ZipInfo) -> bytes:
    """A member's bytes: exactly as many as its header says, so the limits hold for them too."""
    try:
        with archive.open(entry) as member:
            data = member.read(entry.file_size + 1)
    except _BROKEN as error:
        raise layout_error(str(path), f"{entry.filename} cannot be read ({error}).") from None
    if len(data) != entry.file_size:
        raise layout_error(str(path), f"{entry.filename} is cut short or its stated size is wrong.")
    return data
