"""Digests of the user's files, which enter keys instead of their names, and flushing to disk."""

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
# A page asks for the fingerprint of a folder several times while it is drawn.
FINGERPRINT_SECONDS = 5.0


def expand_path(path: str) -> Path:
    """A path that the user typed, with `~` expanded where the home folder is known."""
    return Path(os.path.expanduser(path))


def fingerprint(path: str) -> str:
    """A digest of file names, sizes and times: a cheap test of whether images may have changed.

    Raises `SpecError` for `data.path` where there is no folder or file that can be read.
    """
    expanded = expand_path(path)
    if not os.path.exists(expanded):
        raise SpecError("data.path", "{path} does not exist.", path=expanded)
    if not expanded.is_dir() and not expanded.is_file():
        raise SpecError("data.path", "{path} is neither a folder nor a file.", path=expanded)
    try:
        return _recent_fingerprint(expanded, int(time.monotonic() / FINGERPRINT_SECONDS))
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
        raise SpecError("model.weights", "there is no file {path}.", path=path)
    try:
        stat = path.stat()
        return _weights_digest(path, stat.st_size, stat.st_mtime_ns)
    except OSError as error:
        raise _unreadable("model.weights", path, error) from None


@lru_cache(maxsize=8)
def _recent_fingerprint(path: Path, moment: int) -> str:
    """A fingerprint that is computed once for each path and moment."""
    return _fingerprint(path)


def _fingerprint(path: Path) -> str:
    if path.is_file():
        return hashlib.sha256(_entry(path, path.suffix)).hexdigest()
    digest = hashlib.sha256()
    files = list(islice(path.rglob("*"), MOST_FILES + 1))
    if len(files) > MOST_FILES:
        message = "{path} holds more than {most} files; give the folder of the images."
        raise SpecError("data.path", message, path=path, most=f"{MOST_FILES:,}")
    for file in sorted(files):
        name = str(file.relative_to(path))
        digest.update(_encoded(f"{name}/\n") if file.is_dir() else _entry(file, name))
    return digest.hexdigest()


def _entry(file: Path, name: str) -> bytes:
    # A link counts as its target. A broken link fails later, when it is opened as an image.
    stat = file.stat() if os.path.exists(file) else file.lstat()
    return _encoded(f"{name}\0{stat.st_size}\0{stat.st_mtime_ns}\n")


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
def _weights_digest(path: Path, size: int, changed: int) -> str:
    """The digest of a file, computed once while its size and time stay the same."""
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
