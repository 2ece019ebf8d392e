"""The paths of the project and of the cache folder. No other file builds a path of the cache."""

from __future__ import annotations

import errno
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
CACHE_VARIABLE = "PRUNING_LAB_CACHE"


class CacheError(OSError):
    """The cache folder cannot be used."""


@dataclass(frozen=True)
class Cache:
    """The cache folder `root`, and the paths in it."""

    root: Path

    @property
    def queue(self) -> Path:
        return self.root / "queue.sqlite"

    @property
    def stages(self) -> Path:
        return self.root / "stages"

    @property
    def downloads(self) -> Path:
        return self.root / "downloads"

    @property
    def building(self) -> Path:
        return self.root / "building"

    @property
    def damaged(self) -> Path:
        return self.root / "damaged"

    @property
    def uploads(self) -> Path:
        return self.root / "uploads"

    @property
    def home(self) -> Path:
        return self.root / "home_folder"

    @property
    def benchmark(self) -> Path:
        return self.root / "benchmark.json"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def worker_log(self) -> Path:
        return self.logs / "worker.log"

    def upload(self, digest: str, suffix: str) -> Path:
        return self.uploads / f"{digest}.{suffix}"

    def stage(self, key: str) -> Path:
        return self.stages / key[:2] / key

    def checkpoint(self, key: str) -> Path:
        return self.root / "checkpoints" / f"{key}.ckpt"

    def log(self, key: str) -> Path:
        return self.logs / f"{key}.log"

    def prepare(self) -> None:
        """Make the folders. Raises `CacheError` where they cannot be written."""
        folders = (self.stages, self.building, self.logs, self.checkpoint("x").parent)
        try:
            for folder in folders:
                folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.building, buffering=0) as probe:
                probe.write(b"x")
        except OSError as error:
            reason = error.strerror or str(error)
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            raise CacheError(
                f"The cache folder {self.root} cannot be written ({reason}). "
                f"{'Free disk space' if full else 'Make it writable'}, or give another folder with "
                "--cache-dir."
            ) from error

    def set_home(self) -> None:
        """Give this process and those it starts a home folder, if the user has none.

        Libraries look for their settings there, and fail for a user without a name. The folder is
        inside the cache, because others could put code into a shared one.
        """
        if os.path.isabs(os.path.expanduser("~")):
            return
        self.home.mkdir(mode=0o700, exist_ok=True)
        os.environ["HOME"] = str(self.home)


def cache_at(folder: str | Path | None = None) -> Cache:
    """The cache in `folder`, else in $PRUNING_LAB_CACHE, else in the folder `cache` here."""
    path = folder or os.environ.get(CACHE_VARIABLE) or PROJECT / "cache"
    return Cache(Path(os.path.realpath(os.path.expanduser(path))))
