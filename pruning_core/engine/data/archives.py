"""A zip of images, read in place: nothing is unpacked to disk."""

from __future__ import annotations

import re
import stat
import unicodedata
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from zipfile import ZipInfo

from pruning_core.common.errors import SpecError
from pruning_core.common.files import UNREADABLE_ZIP
from pruning_core.engine.data.image_files import UnreadableImage
from pruning_core.engine.data.image_folder import FIELD, MAX_FILE_BYTES, Listing, layout_error

MAX_ENTRIES = 2_000_000
MAX_TOTAL_BYTES = 20 * 1024**3

# Other files, by the place and the bytes that tell their format.
OTHER_FORMATS = (
    (0, b"\x1f\x8b", "is compressed with gzip (.gz, .tgz). Unpack it, and give the folder"),
    (0, b"\xfd7zXZ\x00", "is compressed with xz. Unpack it, and give the folder"),
    (0, b"BZh", "is compressed with bzip2. Unpack it, and give the folder"),
    (0, b"(\xb5/\xfd", "is compressed with Zstandard. Unpack it, and give the folder"),
    (0, b"7z\xbc\xaf", "is a 7z archive. Unpack it, and give the folder"),
    (0, b"Rar!", "is a RAR archive. Unpack it, and give the folder"),
    (257, b"ustar", "is a tar archive. Unpack it, and give the folder"),
    (0, b"PAR1", "is a Parquet table. Save its images as files in class folders"),
    (0, b"<", "is a web page or XML. Open its address in a browser and download the file itself"),
    (0, b"version https://git-lfs", "is a pointer of Git LFS. Fetch the file with `git lfs pull`"),
    (0, b"\xff\xd8\xff", "is a single image. Give the folder that holds the class folders"),
    (0, b"\x89PNG", "is a single image. Give the folder that holds the class folders"),
)
HEAD_BYTES = 300
_ENCRYPTED = 0x1
_UTF8_NAME = 0x800
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


@contextmanager
def open_archive(path: Path) -> Iterator[Listing]:
    """Every entry of the zip at `path`. Raises `SpecError` where it is unsafe or damaged."""
    try:
        archive = zipfile.ZipFile(path)
    except UNREADABLE_ZIP as error:
        if other := _other_format(path):
            raise SpecError(FIELD, "{path} {reason}.", path=path, reason=other) from None
        raise SpecError(
            FIELD,
            "{path} is neither a folder nor a whole .zip file ({error}). It may have been cut "
            "short: copy it again, or choose another.",
            path=path,
            error=error,
        ) from None
    with archive:
        entries = archive.infolist()
        _check_sizes(path, entries)
        files: dict[tuple[str, ...], ZipInfo] = {}
        folders: set[tuple[str, ...]] = set()
        foreign = 0
        for entry in entries:
            parts, readable = _checked_name(path, entry)
            foreign += not readable
            if parts in files:
                raise layout_error(str(path), "The entry {name} occurs twice.", name=entry.filename)
            if _with_slashes(entry).endswith("/"):
                folders.add(parts)
            else:
                files[parts] = entry
        notes = (
            f"Names in the zip that are not UTF-8, so that letters may be wrong: {foreign:,}.",
        )
        yield Listing(
            str(path),
            files,
            frozenset(folders),
            lambda entry: _read(archive, path, entry),
            notes if foreign else (),
        )


def _other_format(path: Path) -> str:
    """What a file is that is no zip, where its first bytes tell."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError:
        return ""
    if not head:
        return "is empty. Copy or download it again"
    return next(
        (reason for place, mark, reason in OTHER_FORMATS if head[place:].startswith(mark)), ""
    )


def _check_sizes(path: Path, entries: list[ZipInfo]) -> None:
    """Refuse an archive whose headers announce more than the limits (a zip bomb)."""
    if len(entries) > MAX_ENTRIES:
        raise layout_error(
            str(path), f"There are {len(entries):,} entries; the limit is {MAX_ENTRIES:,}."
        )
    total = sum(entry.file_size for entry in entries)
    if total > MAX_TOTAL_BYTES:
        raise layout_error(
            str(path),
            f"The entries expand to {total / 1024**3:,.1f} GiB; "
            f"the limit is {MAX_TOTAL_BYTES / 1024**3:,.0f} GiB.",
        )
    for entry in entries:
        if entry.file_size > MAX_FILE_BYTES:
            raise layout_error(
                str(path),
                "{name} expands to {size} MiB; the limit for one file is {limit} MiB.",
                name=entry.filename,
                size=f"{entry.file_size / 1024**2:,.0f}",
                limit=f"{MAX_FILE_BYTES // 1024**2:,}",
            )


def _with_slashes(entry: ZipInfo) -> str:
    """The entry's path with slashes. Programs for Windows write backslashes between folders."""
    return entry.orig_filename.replace("\\", "/")


def _checked_name(path: Path, entry: ZipInfo) -> tuple[tuple[str, ...], bool]:
    """The entry's path, split, and whether its letters are known.

    Raises `SpecError` where it could point outside, or is no regular file.
    """
    name = _with_slashes(entry)
    kind = stat.S_IFMT(entry.external_attr >> 16)
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    reasons = {
        "is an absolute path": name.startswith("/") or bool(re.match("[A-Za-z]:", name)),
        "leads outside the zip (..)": ".." in parts,
        "contains a zero byte": "\0" in name,
        "has no name": not parts,
        "is a symbolic link": kind == stat.S_IFLNK,
        "is no regular file": kind not in (0, stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK),
        "is encrypted": bool(entry.flag_bits & _ENCRYPTED),
        "is compressed by a method other than deflate": entry.compress_type not in _COMPRESSIONS,
    }
    for reason, holds in reasons.items():
        if holds:
            unpack = reason.startswith(("is encrypted", "is compressed", "is an absolute"))
            remedy = (
                "Unpack the zip, and give the folder"
                if unpack
                else "Create the zip again without it"
            )
            raise layout_error(
                str(path),
                "The entry {name} {reason}. {remedy}.",
                name=repr(entry.orig_filename),
                reason=reason,
                remedy=remedy,
            )
    decoded = [_decoded(part, entry) for part in parts]
    return tuple(part for part, _ in decoded), all(known for _, known in decoded)


def _decoded(name: str, entry: ZipInfo) -> tuple[str, bool]:
    """The name as a folder would spell it, and whether its encoding is known.

    macOS writes UTF-8 without setting the flag for it; other programs use the local code page.
    """
    known = bool(entry.flag_bits & _UTF8_NAME) or name.isascii()
    if not known:
        with suppress(UnicodeError):
            name, known = name.encode("cp437").decode("utf-8"), True
    return unicodedata.normalize("NFC", name), known


def _read(archive: zipfile.ZipFile, path: Path, entry: ZipInfo) -> bytes:
    """The bytes of an entry: exactly as many as its header says, so that the limits hold.

    Raises `UnreadableImage` where the entry is damaged, `SpecError` where the file cannot be read.
    """
    try:
        with archive.open(entry) as member:
            data = member.read(entry.file_size + 1)
    except OSError as error:
        raise layout_error(
            str(path), "{name} cannot be read ({error}).", name=entry.filename, error=error
        ) from None
    except UNREADABLE_ZIP as error:
        raise UnreadableImage(f"{error}; the zip is damaged, copy or download it again") from None
    if len(data) != entry.file_size:
        raise UnreadableImage("it is cut short, or its stated size is wrong")
    return data
