"""The paths of the project and of the cache folder. No other file builds a path of the cache."""

from __future__ import annotations

import errno
import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
CACHE_VARIABLE = "PRUNING_LAB_CACHE"
MARKER_TEXT = (
    "This folder is a cache of Pruning Lab. The command `cache clean` removes files in it.\n"
)
KEY = "[0-9a-f]{64}"
# An uploaded file up to its name. The path begins where a word does, and may contain spaces.
ROOT = r"(?:[/~]|[A-Za-z]:[/\\])"
UPLOAD = re.compile(rf"(?<![^\s'\"(=]){ROOT}(?:(?!\s{ROOT}).)*?[/\\]uploads[/\\]{KEY}[/\\]")
LONGEST_NAME = 120  # characters of a name, of which each takes at most four bytes


def shown_path(text: str) -> str:
    """A path, or a sentence with paths, in which an upload has only its name.

    An upload is stored under the digest of its content, which means nothing to its user.
    """
    return UPLOAD.sub("", text) if "uploads" in text else text


def is_upload(path: str) -> bool:
    """Whether a path is that of an uploaded file."""
    return UPLOAD.match(path) is not None


def upload_name(name: str) -> str:
    """The name of an uploaded file as the name of a file here: no folders, and not too long.

    A name that is too long keeps its end, with the ending of the file.
    """
    last = re.split(r"[/\\]", name)[-1]
    visible = "".join(c for c in last if c.isprintable()).strip().lstrip(".")
    return visible[-LONGEST_NAME:].strip() or "file"


class CacheError(OSError):
    """The cache folder cannot be used."""


@dataclass(frozen=True)
class Cache:
    """The cache folder `root`, and the paths in it."""

    root: Path

    @property
    def marker(self) -> Path:
        """The file that marks the folder as a cache."""
        return self.root / ".pruning-lab-cache"

    @property
    def queue(self) -> Path:
        return self.root / "queue.sqlite"

    @property
    def stages(self) -> Path:
        return self.root / "stages"

    @property
    def downloads(self) -> Path:
        return self.root / "downloads"

    def dataset_download(self, name: str) -> Path:
        """The folder with the downloaded files of a data set."""
        return self.downloads / name

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
    def gpu_benchmark(self) -> Path:
        return self.root / "gpu_benchmark.json"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def worker_log(self) -> Path:
        return self.logs / "worker.log"

    def upload(self, digest: str, name: str) -> Path:
        """The place of an uploaded file, by its content and the name that it had."""
        return self.uploads / digest / name

    def upload_part(self, digest: str, part: str) -> Path:
        """The temporary file of an upload; `part` is a unique text."""
        return self.uploads / f"{digest}.{part}.part"

    def stage(self, key: str) -> Path:
        return self.stages / key[:2] / key

    @property
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"

    def checkpoint(self, key: str) -> Path:
        return self.checkpoints / f"{key}.ckpt"

    def log(self, key: str) -> Path:
        return self.logs / f"{key}.log"

    def names(self) -> dict[Path, str]:
        """The names that the project gives to what it makes in each folder, as patterns.

        Nothing with another name is ever removed: it belongs to the user.
        """
        return {
            self.stages: rf"[0-9a-f]{{2}}/{KEY}",
            self.checkpoints: rf"{KEY}\.(ckpt|damaged|\d+\.part)",
            self.building: rf"{KEY}\.(\d+\.)?[0-9a-f]{{32}}",
            self.damaged: rf"{KEY}\.[0-9a-f]{{8}}",
            self.logs: rf"({KEY}|worker)\.log",
            self.uploads: rf"{KEY}(/[^/]+|\.[0-9a-f]{{32}}\.part)",
        }

    def made(self, path: Path) -> bool:
        """Whether the project made this file or folder: by its name, and reached by no link."""
        for folder, pattern in self.names().items():
            if path.is_relative_to(folder):
                name = path.relative_to(folder).as_posix()
                steps = [path, *path.parents]
                linked = any(map(os.path.islink, steps[: steps.index(self.root)]))
                return bool(re.fullmatch(pattern, name)) and not linked
        return False

    def prepare(self) -> None:
        """Make the folders and mark the folder as a cache. Raises `CacheError` where that fails."""
        folders = (self.stages, self.building, self.logs, self.checkpoints)
        self._check_other_files()
        try:
            for folder in folders:
                folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.building, buffering=0) as probe:
                probe.write(b"x")
            if not self.marker.is_file():
                self.marker.write_text(MARKER_TEXT)
        except OSError as error:
            reason = error.strerror or str(error)
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            raise CacheError(
                f"The cache folder {self.root} cannot be written ({reason}). "
                f"{'Free disk space' if full else 'Make it writable'}, or give another folder with "
                "--cache-dir."
            ) from error

    def _exists(self) -> bool:
        """Whether the folder is a cache. One of an earlier version has no marker."""
        files = (self.marker, self.queue)
        return any(map(os.path.isfile, files)) or any(self.stages.glob(f"??/{'?' * 64}"))

    def check(self) -> None:
        """Raise `CacheError` where the folder is no cache; nothing is written."""
        if not self._exists():
            raise CacheError(f"{self.root} is not a cache of Pruning Lab.")

    def _check_other_files(self) -> None:
        """Refuse a folder that is no cache and has a folder of the same name with other files."""
        if self._exists():
            return
        for folder in self.names():
            try:
                names = sorted(os.listdir(folder))
            except OSError:
                continue
            if names and not any(self.made(folder / name) for name in names):
                raise CacheError(
                    f"The folder {self.root} cannot be the cache: {folder} holds other files "
                    f"({names[0]}). Give another folder with --cache-dir."
                )

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
