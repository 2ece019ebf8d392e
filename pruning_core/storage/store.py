"""Finished stages on disk. A stage's folder exists if and only if the stage is done.

A stage is built in a folder of its own, written through to the disk, and moved to its place
in one `os.replace`. `manifest.json` holds the SHA-256 of every file and of itself, and each
read is checked against it: a damaged or unreadable entry is set aside and
counts as missing. A manifest that was checked is not read again while its file stays the same.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from pruning_core.common.files import sha256, write_through
from pruning_core.common.paths import Cache
from pruning_core.planning.stage import Missing

MANIFEST = "manifest.json"
UNREADABLE = (errno.EIO, errno.EACCES, errno.EPERM)
MOST_REMEMBERED = 1024
# A file can be changed twice within one tick of the clock that stamps it. One that was changed
# so lately is read each time.
SETTLED_SECONDS = 2.0
log = logging.getLogger(__name__)
_whole: set[Path] = set()


def _seal(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


class _Damaged(ValueError):
    """A manifest is not what was written."""


def _checked(path: Path) -> str:
    """A manifest's text without its seal, which it matches. Raises `_Damaged`, `OSError`."""
    try:
        body: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        seal = body.pop("seal")
    except (ValueError, KeyError, AttributeError, TypeError):
        raise _Damaged(path) from None
    if seal != _seal(body):
        raise _Damaged(path)
    return json.dumps(body)


@lru_cache(maxsize=MOST_REMEMBERED)
def _remembered(path: Path, stamp: tuple[int, ...]) -> str:
    """The same, read once for each state of the file: whatever changes it changes its stamp."""
    return _checked(path)


def _manifest_text(path: Path) -> str:
    stat = path.stat()
    if not stat.st_ctime < time.time() - SETTLED_SECONDS:
        return _checked(path)
    return _remembered(path, (stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns))


class Store:
    """Reads and publishes the stages of one cache."""

    def __init__(self, cache: Cache) -> None:
        self.cache = cache

    def exists(self, key: str) -> bool:
        return (self.cache.stage(key) / MANIFEST).is_file()

    def intact(self, key: str) -> bool:
        """Whether a stage is done and its manifest is what was written."""
        try:
            self._manifest(key)
        except Missing:
            return False
        return True

    def read(self, key: str) -> dict[str, Any]:
        """What a stage found. Raises `Missing`."""
        result: dict[str, Any] = self._manifest(key)["result"]
        return result

    def settings(self, key: str) -> dict[str, Any]:
        """What a stage was asked, with its kind and its parent's key. Raises `Missing`."""
        body = self._manifest(key)
        return {name: body[name] for name in ("kind", "parent", "settings")}

    def file(self, key: str, name: str) -> Path:
        """A file of a stage, its digest checked. Raises `Missing`."""
        path = self.cache.stage(key) / name
        written = self._manifest(key)["files"].get(name)
        with self._reading(key):
            if not path.is_file() or sha256(path) != written:
                self.set_aside(key, f"{name} is not what was written")
                raise Missing(key)
        return path

    def content(self, key: str, name: str) -> bytes:
        """The bytes of such a file. Raises `Missing`."""
        return self.file(key, name).read_bytes()

    def folder(self, key: str) -> Path:
        """A stage's folder, its files digested once in this process. Raises `Missing`."""
        self._manifest(key)
        folder = self.cache.stage(key)
        if folder not in _whole:
            if not self.verify(key):
                raise Missing(key)
            _whole.add(folder)
        return folder

    @contextmanager
    def building(self, key: str) -> Iterator[Path]:
        """A fresh folder to build a stage in; gone afterwards unless it was published."""
        folder = self.cache.building / f"{key}.{os.getpid()}.{uuid.uuid4().hex}"
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def publish(
        self, key: str, folder: Path, *, kind: str, parent: str, settings: Any, result: Any
    ) -> None:
        """Move a built folder to its place; where the stage stands already, nothing changes."""
        files = {path.name: sha256(path) for path in sorted(folder.iterdir())}
        body = {
            "kind": kind,
            "parent": parent,
            "settings": settings,
            "result": result,
            "files": files,
        }
        sealed = json.dumps({**body, "seal": _seal(body)}, indent=1)
        (folder / MANIFEST).write_text(sealed, encoding="utf-8")
        for path in folder.iterdir():
            write_through(path)
        write_through(folder)
        self._move_in(key, folder)

    def remove(self, key: str) -> None:
        """Forget a stage: out of sight in one step, then deleted."""
        folder = self.cache.stage(key)
        if folder.is_dir():
            doomed = self.cache.building / f"{key}.{uuid.uuid4().hex}"
            doomed.parent.mkdir(parents=True, exist_ok=True)
            os.replace(folder, doomed)
            shutil.rmtree(doomed, ignore_errors=True)

    def discard(self, key: str, pid: int) -> None:
        """Delete what an ended process had half built of a stage, and nobody else's part."""
        for folder in self.cache.building.glob(f"{key}.{pid}.*"):
            shutil.rmtree(folder, ignore_errors=True)
        self.cache.checkpoint(key).with_suffix(f".{pid}.part").unlink(missing_ok=True)

    def leftovers(self) -> list[Path]:
        """What is half built, was set aside, or is a checkpoint. A name begins with its key."""
        places = (self.cache.building, self.cache.damaged, self.cache.checkpoint("x").parent)
        return [path for place in places if place.is_dir() for path in place.iterdir()]

    def finished(self) -> list[str]:
        """Every stage that is done."""
        return sorted(path.parent.name for path in self.cache.stages.glob(f"*/*/{MANIFEST}"))

    def verify(self, key: str) -> bool:
        """Whether every file of a stage is what was written; a damaged stage is set aside.

        What was remembered does not count here.
        """
        _remembered.cache_clear()
        try:
            for name in self._manifest(key)["files"]:
                self.file(key, name)
        except Missing:
            return False
        return True

    def set_aside(self, key: str, reason: str) -> None:
        """Move a damaged stage out of the way, for a person to look at."""
        target = self.cache.damaged / f"{key}.{uuid.uuid4().hex[:8]}"
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(self.cache.stage(key), target)
        except FileNotFoundError:
            return
        except OSError as error:
            log.warning("Stage %s is damaged (%s) and stays: %s.", key[:12], reason, error)
            return
        log.warning("Stage %s was damaged (%s) and is set aside in %s.", key[:12], reason, target)

    def _move_in(self, key: str, folder: Path) -> None:
        target = self.cache.stage(key)
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_dir() and not self.exists(key):
            self.set_aside(key, "there is no manifest")
        try:
            os.replace(folder, target)
        except OSError:
            if not self.exists(key):
                raise
        write_through(target.parent)

    def _manifest(self, key: str) -> dict[str, Any]:
        try:
            with self._reading(key):
                body: dict[str, Any] = json.loads(_manifest_text(self.cache.stage(key) / MANIFEST))
        except (FileNotFoundError, NotADirectoryError):
            raise Missing(key) from None
        except _Damaged:
            self.set_aside(key, "the manifest does not match its seal")
            raise Missing(key) from None
        return body

    @contextmanager
    def _reading(self, key: str) -> Iterator[None]:
        """A file that the disk does not give back is as good as damaged."""
        try:
            yield
        except OSError as error:
            if error.errno not in UNREADABLE:
                raise
            self.set_aside(key, f"it cannot be read: {error.strerror}")
            raise Missing(key) from error
