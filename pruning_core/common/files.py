"""What stands for the user's own files in a key: never their names."""

from __future__ import annotations

import hashlib
import os
import time
from functools import lru_cache
from itertools import islice
from pathlib import Path

from pruning_core.common.errors import SpecError

PLAIN_WEIGHTS = ("none", "pretrained")
MOST_FILES = 2_000_000
FRESH_SECONDS = 5.0


def expand_path(path: str) -> Path:
    """A path as the user wrote it, `~` resolved where it can be."""
    return Path(os.path.expanduser(path))


def fingerprint(path: str) -> str:
    """A digest of names, sizes and times: tells cheaply whether images may have changed.

    Raises `SpecError` for `data.path` where there is no folder or file that can be read.
    """
    found = expand_path(path)
    if not os.path.exists(found):
        raise SpecError("data.path", f"{found} does not exist.")
    if not found.is_dir() and not found.is_file():
        raise SpecError("data.path", f"{found} is neither a folder nor a file.")
    try:
        return _recent(found, int(time.monotonic() / FRESH_SECONDS))
    except OSError as error:
        raise _unreadable("data.path", found, error) from None


def weights_identity(weights: str) -> str:
    """What stands for the weights in a key: a file's digest.

    Raises `SpecError` for `model.weights` where there is no file that can be read.
    """
    if weights in PLAIN_WEIGHTS:
        return weights
    path = expand_path(weights)
    if not os.path.isfile(path):
        raise SpecError("model.weights", f"there is no file {path}.")
    try:
        stat = path.stat()
        return _file_identity(path, stat.st_size, stat.st_mtime_ns)
    except OSError as error:
        raise _unreadable("model.weights", path, error) from None


@lru_cache(maxsize=8)
def _recent(path: Path, moment: int) -> str:
    """A page asks for the same folder several times while it is drawn: one walk answers."""
    return _fingerprint(path)


def _fingerprint(path: Path) -> str:
    if path.is_file():
        return hashlib.sha256(_entry(path, path.suffix)).hexdigest()
    seen = hashlib.sha256()
    files = list(islice(path.rglob("*"), MOST_FILES + 1))
    if len(files) > MOST_FILES:
        message = f"{path} holds more than {MOST_FILES:,} files; name the folder of the images."
        raise SpecError("data.path", message)
    for file in sorted(files):
        inside = str(file.relative_to(path))
        seen.update(_coded(f"{inside}/\n") if file.is_dir() else _entry(file, inside))
    return seen.hexdigest()


def _entry(file: Path, name: str) -> bytes:
    # What a link leads to counts; one that leads nowhere is judged when it is opened.
    stat = file.stat() if os.path.exists(file) else file.lstat()
    return _coded(f"{name}\0{stat.st_size}\0{stat.st_mtime_ns}\n")


def _coded(name: str) -> bytes:
    """The bytes of a file's name, also of one that is not UTF-8."""
    return name.encode("utf-8", "surrogateescape")


def _unreadable(field: str, path: Path, error: OSError) -> SpecError:
    reason = error.strerror or str(error)
    return SpecError(field, f"{error.filename or path} cannot be read ({reason}).")


@lru_cache
def _file_identity(path: Path, size: int, changed: int) -> str:
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
