"""A store that several caches share: archives of finished stages in an object store or a folder.

It is a second level behind a cache. A stage that the cache lacks is read from it before it would be
computed, and stages that the cache has computed are written to it. The first archive of a stage
stays: it is put only where there is none, as in a cache.

The address is a URL of fsspec (https://filesystem-spec.readthedocs.io): `s3://bucket/folder`,
`gs://bucket/folder`, or the path of a folder.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pruning_core.common.errors import brief
from pruning_core.common.files import write_through
from pruning_core.common.paths import KEY
from pruning_core.storage.archive import pack, unpack
from pruning_core.storage.store import Damaged, Store

ARCHIVES, DAMAGED = "archives", "damaged_archives"
SUFFIX = ".zip"
PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs"}
NAME = re.compile(rf"(?P<key>{KEY}){re.escape(SUFFIX)}$")
# What `os.link` reports where the file system has no hard links.
WITHOUT_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
log = logging.getLogger(__name__)


class SharedStoreError(RuntimeError):
    """The shared store cannot be used; the message is a sentence."""


class SharedStore:
    """The archives at one address. Raises `SharedStoreError` where it cannot be used."""

    def __init__(self, url: str) -> None:
        from fsspec.core import url_to_fs

        self.url = url
        with self._using("opened"):
            self.files, self.root = url_to_fs(url)

    def keys(self) -> set[str]:
        """The keys of all stages in it."""
        with self._using("listed"):
            # Other caches write to it, so no listing is kept.
            self.files.invalidate_cache()
            try:
                names = self.files.find(f"{self.root}/{ARCHIVES}")
            except FileNotFoundError:
                return set()
        return {match["key"] for name in names if (match := NAME.search(name))}

    def fetch(self, store: Store, key: str) -> bool:
        """Publish a stage of it in a cache. False where it does not have the stage.

        A damaged archive is set aside in it, as a damaged stage is in a cache.
        """
        with store.building(key) as folder:
            path = folder / "archive"
            with self._using("read"):
                try:
                    self.files.get_file(self._name(key), str(path))
                except FileNotFoundError:
                    return False
            try:
                unpack(store, key, path)
            except Damaged as error:
                log.warning("%s It is set aside in the shared store.", error)
                self._set_aside(key)
                return False
        return True

    def put(self, store: Store, key: str) -> bool:
        """Write a stage of a cache to it. False where it has the stage. Raises `Missing`."""
        with store.building(key) as folder:
            path = folder / "archive"
            pack(store, key, path)
            with self._using("written"):
                return self._put(path, self._name(key))

    def _set_aside(self, key: str) -> None:
        """Move the archive of a stage to the damaged ones, where a person can inspect it."""
        target = f"{self.root}/{DAMAGED}/{key}.{uuid.uuid4().hex[:8]}{SUFFIX}"
        with self._using("written"), suppress(FileNotFoundError):  # another cache was faster
            self.files.makedirs(f"{self.root}/{DAMAGED}", exist_ok=True)
            self.files.mv(self._name(key), target)

    def _name(self, key: str) -> str:
        return f"{self.root}/{ARCHIVES}/{key[:2]}/{key}{SUFFIX}"

    def _put(self, path: Path, name: str) -> bool:
        from fsspec.implementations.local import LocalFileSystem

        if isinstance(self.files, LocalFileSystem):
            return _put_locally(path, Path(name))
        try:
            # The server decides which of two writers is first: a conditional write.
            self.files.put_file(str(path), name, mode="create")
        except FileExistsError:
            return False
        return True

    @contextmanager
    def _using(self, verb: str) -> Iterator[None]:
        """Give every error of a file system one type and a sentence.

        The packages behind fsspec raise errors of their own, which have no common class.
        """
        try:
            yield
        except ImportError as error:
            scheme = self.url.partition("://")[0]
            package = PACKAGES.get(scheme, error.name or "its package")
            raise SharedStoreError(
                f"The shared store {self.url} needs a package: pip install {package}."
            ) from error
        except Exception as error:
            reason = brief(str(error) or type(error).__name__).rstrip(".")
            raise SharedStoreError(
                f"The shared store {self.url} cannot be {verb} ({reason})."
            ) from error


def _put_locally(path: Path, target: Path) -> bool:
    """Copy a file into a folder under a name that no other file has yet."""
    if target.exists():
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{uuid.uuid4().hex}.part")
    try:
        shutil.copyfile(path, part)
        write_through(part)
        if not _link(part, target):
            os.replace(part, target)
    except FileExistsError:
        return False
    finally:
        part.unlink(missing_ok=True)
    return True


def _link(path: Path, target: Path) -> bool:
    """Give a file a second name that is new. False on a file system without such links.

    On one of those, such as a network drive, two writers at the same time may both write: each of
    them a complete archive of the same stage. Raises `FileExistsError`.
    """
    try:
        os.link(path, target)
    except OSError as error:
        if error.errno in WITHOUT_LINKS:
            return False
        raise
    return True
