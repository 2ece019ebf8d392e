"""Digests of the user's files, which enter keys instead of their names, and flushing to disk."""

from __future__ import annotations

import hashlib
import os
import re
import struct
import time
import zipfile
import zlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from pruning_core.common.errors import SpecError

PLAIN_WEIGHTS = ("none", "pretrained")
# An address of the internet, whose two slashes are one in a path.
ADDRESS = re.compile(r"\b([a-z][a-z0-9]+:)//?([^/].*)")
MOST_FILES = 2_000_000
# Longer than a tick of the clock of any usual file system.
CLOCK_TICK_SECONDS = 0.05
MOST_LISTINGS = 10
# Files and folders that operating systems, network drives and programs add, in lower case.
SYSTEM_NAMES = frozenset(
    (
        *("__macosx", "thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "icon\r"),
        *("@eadir", "#recycle", "#snapshot", "@recycle", "@recently-snapshot", "@__thumb"),
        *("@tmp", "@sharebin", "$recycle.bin", "recycler", "system volume information"),
        *("lost+found", "found.000", "network trash folder", "temporary items", "__pycache__"),
        *("~snapshot", "synoindex_media_info", "aquota.user", "aquota.group"),
        *("sthumbs.dat", "picasa.ini", "zbthumbnail.info"),
    )
)
SYSTEM_SUFFIXES = (
    "@synoeastream",
    "@synoresource",
    "~",
    ".part",
    ".crdownload",
    ":zone.identifier",
)
# What zipfile raises on damaged files.
UNREADABLE_ZIP = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    OSError,
    NotImplementedError,
    ValueError,
    struct.error,
)


def is_visible(path: Sequence[str]) -> bool:
    """Whether neither a file nor a folder above it is hidden, or added by a system.

    `path` holds their names.
    """
    return not any(
        name.startswith((".", "~$"))
        or name.lower() in SYSTEM_NAMES
        or name.lower().endswith(SYSTEM_SUFFIXES)
        for name in path
    )


def expand_path(path: str) -> Path:
    """A path that the user typed, with `~` expanded where the home folder is known."""
    return Path(os.path.expanduser(path))


def fingerprint(path: str) -> str:
    """A digest that changes whenever the user's images may have changed, without reading them.

    It covers the names, sizes, inodes and times of a folder's files, the time of change included,
    and of a zip also its table of contents with the checksum of each entry. All files are listed
    anew at each call, so it may take seconds. Raises `SpecError` for `data.path` where there is no
    folder or file that can be read.
    """
    expanded = expand_path(path)
    if not os.path.exists(expanded):
        raise SpecError("data.path", "{path} does not exist.", path=expanded)
    if not expanded.is_dir() and not expanded.is_file():
        raise SpecError("data.path", "{path} is neither a folder nor a file.", path=expanded)
    try:
        for _ in range(MOST_LISTINGS):
            digest, changed = _fingerprint(expanded)
            # A second change within the same tick of the file system's clock would not be seen.
            if not 0 <= (age := time.time() - changed) < CLOCK_TICK_SECONDS:
                break
            time.sleep(CLOCK_TICK_SECONDS - age)
        return digest
    except OSError as error:
        raise _unreadable("data.path", expanded, error) from None


def weights_identity(weights: str) -> str:
    """The text that stands for initial weights in a key: of a file its digest.

    Raises `SpecError` for `model.weights` where there is no file that can be read.
    """
    if weights in PLAIN_WEIGHTS:
        return weights
    path = expand_path(weights)
    if os.path.isdir(path):
        message = "{path} is a folder. Give the checkpoint file in it."
        raise SpecError("model.weights", message, path=path)
    if not os.path.isfile(path):
        raise no_weights_file(path)
    try:
        return _weights_digest(path, _entry(path, "")[0])
    except OSError as error:
        raise _unreadable("model.weights", path, error) from None


def no_weights_file(path: Path) -> SpecError:
    """The error for initial weights at a path where there is no regular file."""
    if address := ADDRESS.search(str(path)):
        message = "{path} is an address. Download the checkpoint, and give the path of its file."
        return SpecError("model.weights", message, path="//".join(address.groups()))
    if os.path.exists(path):
        message = "{path} is no regular file, but a pipe or a device. Give a checkpoint file."
        return SpecError("model.weights", message, path=path)
    message = "there is no file {path}. Give a checkpoint file, " + " or ".join(PLAIN_WEIGHTS) + "."
    return SpecError("model.weights", message, path=path)


def _fingerprint(path: Path) -> tuple[str, float]:
    """The fingerprint of a file or folder, and the latest time of change, seconds since 1970.

    Hidden files do not count: programs may write them all the time.
    """
    digest = hashlib.sha256()
    if path.is_file():
        line, changed = _entry(path, path.suffix)
        digest.update(line)
        digest.update(_table_of_contents(path))
        return digest.hexdigest(), changed
    latest, count = path.stat().st_ctime, 0
    for folder, subfolders, names in os.walk(path):
        subfolders[:] = sorted(name for name in subfolders if is_visible([name]))
        count += len(names)
        if count > MOST_FILES:
            message = "{path} holds more than {most} files; give the folder of the images."
            raise SpecError("data.path", message, path=path, most=f"{MOST_FILES:,}")
        digest.update(_encoded(f"{os.path.relpath(folder, path)}/\n"))
        for name in sorted(name for name in names if is_visible([name])):
            line, changed = _entry(Path(folder, name), name)
            digest.update(line)
            latest = max(latest, changed)
        for name in subfolders:
            if os.path.islink(os.path.join(folder, name)):
                digest.update(_entry(Path(folder, name), f"{name}@")[0])
    return digest.hexdigest(), latest


def _entry(file: Path, name: str) -> tuple[bytes, float]:
    """What identifies a file without reading it, and its time of change."""
    # A link counts as its target. A broken link fails later, when it is opened as an image.
    try:
        stat = file.stat()
    except OSError:
        stat = file.lstat()
    numbers = (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino, stat.st_dev)
    return _encoded("\0".join(map(str, (name, *numbers))) + "\n"), stat.st_ctime


def _table_of_contents(path: Path) -> bytes:
    """The name, size and checksum of each entry of a zip; nothing for another file."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except UNREADABLE_ZIP:
        return b""  # the inspection of the images tells what is wrong
    lines = (f"{e.orig_filename}\0{e.file_size}\0{e.CRC}\0{e.header_offset}\n" for e in entries)
    return b"".join(map(_encoded, lines))


def _encoded(name: str) -> bytes:
    """The bytes of a file name, which need not be valid UTF-8."""
    return name.encode("utf-8", "surrogateescape")


def _unreadable(field: str, path: Path, error: OSError) -> SpecError:
    return SpecError(
        field,
        "{path} cannot be read ({reason}).",
        path=error.filename or path,
        reason=error.strerror or str(error),
    )


@lru_cache
def _weights_digest(path: Path, entry: bytes) -> str:
    """The digest of a file, computed once while its size, inode and times stay the same."""
    return f"sha256:{sha256(path)}"


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_through(path: Path) -> None:
    """Have the system write a file's or a folder's content to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
