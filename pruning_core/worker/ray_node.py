"""What runs on the nodes of a Ray cluster: a stage in a process of its own, in a cache of its own.

Ray copies this package to the nodes. Nothing that arrives is used before it was checked against its
digest: stages by their manifests, checkpoints and weights by the SHA-256 of the file.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import logging
import os
import re
import shutil
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pruning_core.common.machine import CORES_VARIABLE
from pruning_core.common.paths import Cache
from pruning_core.storage.archive import pack, unpack
from pruning_core.storage.stage_context import Progress
from pruning_core.storage.stage_queue import Row
from pruning_core.storage.store import Damaged, Store
from pruning_core.worker.execute import BEAT_SECONDS, Outcome, attempt, processor
from pruning_core.worker.stage_process import output_to

# Packages whose versions change the bits of results.
VERSIONED_PACKAGES = ("torch", "torchvision", "numpy")
PRIVATE = 0o700
NODE_DIGITS, NODE_NAME = 16, re.compile("[0-9a-f]{16}")
KEPT_SECONDS = 7 * 24 * 3600.0
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Order:
    """A stage that a node runs.

    `owner` is a name for the cache that wants it: each has its own cache on a node. `inputs` are
    the seals of the stages that this one reads, by key, parents first. `files` are the names and
    SHA-256 digests of the files that its hints name, by hint. Ray references to archives, files
    and a checkpoint come beside the order, so that a node gets only what it lacks.
    """

    owner: str
    row: Row
    inputs: dict[str, str]
    files: dict[str, tuple[str, str]]


@dataclass(frozen=True)
class Ended:
    """How a stage ended on a node: its outcome, its archive if it is done, and its log."""

    outcome: Outcome
    archive: bytes = b""
    log: str = ""


class Board:
    """An actor to which the running stages report, and which the Ray process of a worker reads."""

    def __init__(self) -> None:
        self.reports: dict[str, tuple[dict[str, Any], bytes]] = {}

    def report(self, token: str, progress: dict[str, Any], checkpoint: bytes) -> None:
        """Store the progress of a stage, and its checkpoint if it has a new one."""
        earlier = self.reports.get(token)
        self.reports[token] = progress, checkpoint or (earlier[1] if earlier else b"")

    def take(self) -> dict[str, tuple[dict[str, Any], bytes]]:
        """All reports since the last call, by token."""
        reports, self.reports = self.reports, {}
        return reports


def describe() -> dict[str, Any]:
    """What a node is: its processor and its versions of packages.

    Removes the caches of nodes that have not been used here for a week.
    """
    _remove_old_caches()
    versions = {name: version(name) for name in VERSIONED_PACKAGES}
    return {"processor": processor(), "versions": versions}


def run_stage(order: Order, parts: dict[str, Any], board: Any) -> Ended:
    """Run a stage. `parts` are Ray references: archives by key, files by digest, a checkpoint."""
    cache = node_cache(order.owner)
    path = cache.log(order.row.key)
    start = path.stat().st_size if path.exists() else 0
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    with output_to(path):
        ended = _run(cache, order, parts, board)
    with path.open("rb") as file:
        file.seek(start)
        text = file.read().decode(errors="replace")
    return dataclasses.replace(ended, log=text)


def _run(cache: Cache, order: Order, parts: dict[str, Any], board: Any) -> Ended:
    store, row, progress = Store(cache), order.row, Progress()
    missing = [key for key, seal in order.inputs.items() if not _install(store, key, seal, parts)]
    if missing:
        return Ended(Outcome(missing=missing[0]))
    hints = {**row.hints, **_received_files(cache, order, parts)}
    row = dataclasses.replace(row, hints=hints)
    if not cache.checkpoint(row.key).exists() and "checkpoint" in parts:
        cache.checkpoint(row.key).write_bytes(_value(parts["checkpoint"]))
    os.environ[CORES_VARIABLE] = str(_assigned_cores())
    with Reports(board, cache, row, progress):
        outcome = attempt(cache, row, progress)
    if outcome != Outcome():
        return Ended(outcome)
    pack(store, row.key, archive := io.BytesIO())
    return Ended(outcome, archive.getvalue())


def _install(store: Store, key: str, seal: str, parts: dict[str, Any]) -> bool:
    """Make sure that the cache of the node has the very stage that the owner has."""
    present = store.seal(key)
    if present == seal:
        return True
    if key not in parts:
        return False
    if present:  # a stage of the same key that the owner does not have any more
        store.remove(key)
    unpack(store, key, io.BytesIO(_value(parts[key])))
    if store.seal(key) != seal:
        raise Damaged(f"Stage {key[:12]} is not the one that was sent.")
    return True


def _received_files(cache: Cache, order: Order, parts: dict[str, Any]) -> dict[str, str]:
    """The paths on this node of the files that the hints name, by hint."""
    paths = {}
    for hint, (name, digest) in order.files.items():
        path = cache.upload(digest, name)
        if not path.exists():
            content = _value(parts[digest])
            if hashlib.sha256(content).hexdigest() != digest:
                raise Damaged(f"The file {name} does not match its digest.")
            path.parent.mkdir(parents=True, exist_ok=True)
            part = cache.upload_part(digest, os.urandom(16).hex())
            part.write_bytes(content)
            os.replace(part, path)
        paths[hint] = str(path)
    return paths


def _value(reference: Any) -> bytes:
    import ray

    content: bytes = ray.get(reference)
    return content


def _assigned_cores() -> int:
    """The cores of the node that Ray has given to this task."""
    import ray

    return int(ray.get_runtime_context().get_assigned_resources().get("CPU", 1))


def node_cache(owner: str) -> Cache:
    """The cache of this node for the stages of an owner."""
    import ray

    folder = _node_caches() / ray.get_runtime_context().get_node_id()[:NODE_DIGITS]
    cache = Cache(folder / owner)
    cache.root.mkdir(parents=True, exist_ok=True)
    os.utime(folder)  # the time of its last use
    cache.prepare()
    return cache


def _node_caches() -> Path:
    """The folder with the caches of all nodes that have been on this machine.

    It is in the temporary folder, where other users may write: a folder of theirs is refused.
    """
    base = Path(tempfile.gettempdir()) / f"pruning-lab-nodes-{os.getuid()}"
    base.mkdir(mode=PRIVATE, exist_ok=True)
    if base.is_symlink() or base.stat().st_uid != os.getuid():
        raise PermissionError(f"{base} belongs to another user.")
    return base


def _remove_old_caches() -> None:
    for folder in _node_caches().iterdir():
        unused = time.time() - folder.lstat().st_mtime > KEPT_SECONDS
        if unused and not folder.is_symlink() and NODE_NAME.fullmatch(folder.name):
            shutil.rmtree(folder, ignore_errors=True)


class Reports:
    """A thread that reports a stage's progress once a second, and each new checkpoint."""

    def __init__(self, board: Any, cache: Cache, row: Row, progress: Progress) -> None:
        self.board, self.cache, self.row, self.progress = board, cache, row, progress
        self.end, self.sent = threading.Event(), 0
        self.thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Reports:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end.set()
        self.thread.join()

    def _run(self) -> None:
        while not self.end.wait(BEAT_SECONDS):
            progress, checkpoint = self.progress.as_dict(), b""
            if progress["published"] > self.sent:
                self.sent = progress["published"]
                with suppress(FileNotFoundError):  # the stage has just been published
                    checkpoint = self.cache.checkpoint(self.row.key).read_bytes()
            self.board.report.remote(self.row.token, progress, checkpoint)
