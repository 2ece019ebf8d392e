"""Finished stages on disk. A stage's folder exists if and only if the stage is done.

A stage is built in a temporary folder, synced to disk, and moved to its place by one `os.replace`.
`manifest.json` holds the SHA-256 of every file and of itself, and each read is checked against
it: a damaged or unreadable stage is set aside and counts as missing. A checked manifest is not
read again while its file does not change.
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
from functools import cached_property, lru_cache
from pathlib import Path
from stat import S_ISREG
from typing import Any

from pruning_core.common.files import fingerprint, sha256, write_through
from pruning_core.common.paths import Cache
from pruning_core.planning.stage import Missing, Stage
from pruning_core.planning.stage_kinds import STAGE_KINDS
from pruning_core.planning.stage_types import restored
from pruning_core.storage.cluster_record import training_cores, training_place
from pruning_core.storage.connections import CLUSTER, Connections

MANIFEST = "manifest.json"
UNREADABLE = (errno.EIO, errno.EACCES, errno.EPERM)
MAX_CACHED_MANIFESTS = 1024
# Two changes within one tick of the file system's clock have the same time stamp. A file that was
# changed more recently than this is therefore read each time.
SETTLED_SECONDS = 2.0
log = logging.getLogger(__name__)
_verified_folders: set[Path] = set()


def _seal(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


class Damaged(ValueError):
    """The files of a stage are not those that were written; the message is a sentence."""


def _checked(path: Path) -> str:
    """The text of a manifest without its seal. Raises `Damaged` and `OSError`."""
    try:
        body: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        seal = body.pop("seal")
    except (ValueError, KeyError, AttributeError, TypeError):
        raise Damaged(f"{path} is no manifest.") from None
    if seal != _seal(body):
        raise Damaged(f"{path} does not match its seal.")
    return json.dumps(body)


@lru_cache(maxsize=MAX_CACHED_MANIFESTS)
def _checked_once(path: Path, stamp: tuple[int, ...]) -> str:
    """`_checked`, run once for each state of the file; any change of it changes its stamp."""
    return _checked(path)


def _manifest_text(path: Path) -> str:
    stat = path.stat()
    if not S_ISREG(stat.st_mode):  # such as a pipe, which would be waited for
        raise Damaged(f"{path} is no file.")
    if not stat.st_ctime < time.time() - SETTLED_SECONDS:
        return _checked(path)
    return _checked_once(path, (stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns))


class Store:
    """Reads and publishes the stages of one cache."""

    def __init__(self, cache: Cache) -> None:
        self.cache = cache

    def exists(self, key: str) -> bool:
        """Whether a stage is done; its files are not checked. A folder without access is not."""
        return os.path.isfile(self.cache.stage(key) / MANIFEST)

    def intact(self, key: str) -> bool:
        """Whether a stage is done and its manifest matches its seal."""
        try:
            self._manifest(key)
        except Missing:
            return False
        return True

    def read(self, key: str) -> dict[str, Any]:
        """The result of a stage. Raises `Missing`."""
        result: dict[str, Any] = self._manifest(key)["result"]
        return result

    def fingerprint(self, path: str) -> str | Stage:
        """The fingerprint of a user's images; see `common.files`. Raises `SpecError`."""
        return fingerprint(path)

    def seal(self, key: str) -> str:
        """The SHA-256 that stands for a stage with all its files; empty where it is missing."""
        try:
            return _seal(self._manifest(key))
        except Missing:
            return ""

    @property
    def machine(self) -> str:
        """The address of the cluster that trains the models; empty for this machine."""
        return self._connections.get(CLUSTER).address

    @property
    def cores(self) -> int:
        """The cores that the stages run on, of the cluster or of this machine."""
        return training_cores(self.cache.queue)

    @property
    def place(self) -> str:
        """Where these cores are, to follow "on"."""
        return training_place(self.cache.queue)

    @cached_property
    def _connections(self) -> Connections:
        return Connections(self.cache.queue)

    def settings(self, key: str) -> dict[str, Any]:
        """Kind, parent and settings of a stage, by these names. Raises `Missing`."""
        body = self._manifest(key)
        return {name: body[name] for name in ("kind", "parent", "settings")}

    def file(self, key: str, name: str) -> Path:
        """The path of a file of a stage, after its digest was checked. Raises `Missing`."""
        path = self.cache.stage(key) / name
        written = self._manifest(key)["files"].get(name)
        with self._reading(key):
            if not path.is_file() or sha256(path) != written:
                self.set_aside(key, f"{name} does not match its digest")
                raise Missing(key)
        return path

    def content(self, key: str, name: str) -> bytes:
        """The bytes of a file of a stage. Raises `Missing`."""
        return self.file(key, name).read_bytes()

    def folder(self, key: str) -> Path:
        """The folder of a stage; a process checks its files once. Raises `Missing`."""
        self._manifest(key)
        folder = self.cache.stage(key)
        if folder not in _verified_folders:
            if not self.verify(key):
                raise Missing(key)
            _verified_folders.add(folder)
        return folder

    @contextmanager
    def building(self, key: str) -> Iterator[Path]:
        """A new folder in which a stage is built; deleted afterwards unless it is published."""
        folder = self.cache.building / f"{key}.{os.getpid()}.{uuid.uuid4().hex}"
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def publish(
        self, key: str, folder: Path, *, kind: str, parent: str, settings: Any, result: Any
    ) -> None:
        """Move a built folder to its place; a stage that exists already does not change."""
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
        self._move_in(key, folder)

    def receive(self, key: str, folder: Path) -> None:
        """Publish a stage that was computed elsewhere; `folder` holds its files and manifest.

        Raises `Damaged` unless the manifest is that of this key and of these very files. The
        manifest was made for this key if its kind, parent and settings have this key.
        """
        body = json.loads(_checked(folder / MANIFEST))
        try:
            if Stage(body["kind"], body["parent"], body["settings"]).key != key:
                raise Damaged(f"The files are not those of stage {key[:12]}.")
            restored(STAGE_KINDS[body["kind"]].result, body["result"])
            files = body["files"]
        except (KeyError, TypeError, AttributeError) as error:
            raise Damaged(f"The manifest of stage {key[:12]} is not of this version.") from error
        names = sorted(path.name for path in folder.iterdir() if path.name != MANIFEST)
        if {name: sha256(folder / name) for name in names} != files:
            raise Damaged(f"A file of stage {key[:12]} does not match its digest.")
        self._move_in(key, folder)

    def remove(self, key: str) -> None:
        """Delete a stage; it disappears in one step, before its files are deleted."""
        folder = self.cache.stage(key)
        if folder.is_dir():
            trash = self.cache.building / f"{key}.{uuid.uuid4().hex}"
            trash.parent.mkdir(parents=True, exist_ok=True)
            os.replace(folder, trash)
            shutil.rmtree(trash, ignore_errors=True)

    def discard(self, key: str, pid: int) -> None:
        """Delete the unfinished files of a stage that the ended process `pid` has left."""
        for folder in self.cache.building.glob(f"{key}.{pid}.*"):
            shutil.rmtree(folder, ignore_errors=True)
        self.cache.checkpoint(key).with_suffix(f".{pid}.part").unlink(missing_ok=True)

    def leftovers(self) -> list[Path]:
        """Unfinished and damaged folders, and checkpoints. Each name begins with the key."""
        folders = (self.cache.building, self.cache.damaged, self.cache.checkpoints)
        return [path for folder in folders if folder.is_dir() for path in folder.iterdir()]

    def finished(self) -> list[str]:
        """The keys of all finished stages in folders that can be read."""
        paths = [path.parent for path in self.cache.stages.glob(f"*/*/{MANIFEST}")]
        return sorted(path.name for path in paths if path == self.cache.stage(path.name))

    def stamp(self) -> tuple[int, ...] | None:
        """The times of the last changes: equal while no stage is published or removed.

        None soon after a change, because the next one may have the same time.
        """
        try:
            with os.scandir(self.cache.stages) as folders:
                times = tuple(sorted(folder.stat().st_mtime_ns for folder in folders))
        except OSError:
            return None
        settled = not times or times[-1] < 1e9 * (time.time() - SETTLED_SECONDS)
        return times if settled else None

    def verify(self, key: str) -> bool:
        """Whether every file of a stage matches its digest; a damaged stage is set aside.

        All files are read again, whatever was checked before.
        """
        _checked_once.cache_clear()
        try:
            for name in self._manifest(key)["files"]:
                self.file(key, name)
        except Missing:
            return False
        return True

    def set_aside(self, key: str, reason: str) -> None:
        """Move a damaged stage to the folder of damaged stages, where a person can inspect it."""
        target = self.cache.damaged / f"{key}.{uuid.uuid4().hex[:8]}"
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(self.cache.stage(key), target)
        except FileNotFoundError:
            return
        except OSError as error:
            log.warning(
                "Stage %s is damaged (%s) and cannot be moved: %s.", key[:12], reason, error
            )
            return
        log.warning("Stage %s was damaged (%s) and was moved to %s.", key[:12], reason, target)

    def _move_in(self, key: str, folder: Path) -> None:
        """Write a built folder to the disk, then move it to its place in one step."""
        for path in folder.iterdir():
            write_through(path)
        write_through(folder)
        target = self.cache.stage(key)
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_dir() and not self.exists(key):
            self.set_aside(key, "it has no manifest")
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
        except Damaged:
            self.set_aside(key, "the manifest does not match its seal")
            raise Missing(key) from None
        return body

    @contextmanager
    def _reading(self, key: str) -> Iterator[None]:
        """Treat a file that the disk cannot read as damaged."""
        try:
            yield
        except OSError as error:
            if error.errno not in UNREADABLE:
                raise
            self.set_aside(key, f"it cannot be read: {error.strerror}")
            raise Missing(key) from error


class FixedFiles(Store):
    """A store that lists the user's images once, for the many plans of one estimate."""

    def __init__(self, cache: Cache) -> None:
        super().__init__(cache)
        self.fingerprints: dict[str, str | Stage] = {}

    def fingerprint(self, path: str) -> str | Stage:
        if path not in self.fingerprints:
            self.fingerprints[path] = super().fingerprint(path)
        return self.fingerprints[path]
