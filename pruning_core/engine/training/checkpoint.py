"""A stage's last finished epoch on disk, so that a killed stage goes on from there.

The file is 32 bytes (the SHA-256 of the rest), then what `torch.save` wrote. It is replaced
in one step; a damaged one is put aside and counts as missing.
"""

from __future__ import annotations

import copy
import hashlib
import io
import logging
import os
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from pruning_core.storage.stage_context import Progress

log = logging.getLogger(__name__)
DIGEST_BYTES = 32


class Writer:
    """Publishes the checkpoint of one epoch while the next one trains, and counts them.

    At its end the last one is on disk. An error in writing is raised where the next one is
    saved, or at the end.
    """

    def __init__(self, path: Path, progress: Progress) -> None:
        self.path, self.progress = path, progress
        self.thread = ThreadPoolExecutor(max_workers=1)
        self.pending: Future[None] | None = None

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self.thread.shutdown(wait=True)
        self.wait()

    def save(self, state: dict[str, Any]) -> None:
        """Have a copy of the state written, after the one before it."""
        self.wait()
        self.pending = self.thread.submit(self._publish, copy.deepcopy(state))

    def wait(self) -> None:
        """Return when all that was saved is on disk. Raises what went wrong."""
        pending, self.pending = self.pending, None
        if pending:
            pending.result()

    def _publish(self, state: dict[str, Any]) -> None:
        save(self.path, state)
        self.progress.published += 1


def save(path: Path, state: dict[str, Any]) -> None:
    """Publish a checkpoint: tensors, numbers, texts, lists and dicts of them."""
    content = serialized(state)
    temporary = path.with_suffix(f".{os.getpid()}.part")
    try:
        with temporary.open("wb") as file:
            file.write(hashlib.sha256(content).digest())
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def serialized(state: dict[str, Any]) -> memoryview:
    """What `torch.save` would write. Its own way to a file does not say why it fails."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getbuffer()


def load(path: Path) -> dict[str, Any] | None:
    """The last published checkpoint, or None where there is none that is whole."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    digest, body = content[:DIGEST_BYTES], content[DIGEST_BYTES:]
    if hashlib.sha256(body).digest() != digest:
        os.replace(path, path.with_suffix(".damaged"))
        log.warning("The checkpoint %s was damaged; the stage starts again.", path.name)
        return None
    state: dict[str, Any] = torch.load(io.BytesIO(body), map_location="cpu", weights_only=True)
    return state
