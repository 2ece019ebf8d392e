"""The last finished epoch of a stage on disk, so that a killed stage continues from it.

The file holds 32 bytes (the SHA-256 of the rest), then what `torch.save` wrote. It is replaced in
one step; a damaged file is renamed and counts as missing.
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


class CheckpointWriter:
    """Writes the checkpoint of one epoch while the next epoch trains, and counts the checkpoints.

    When the context ends, the last one is on disk. An error in writing is raised when the next
    one is saved, or at the end.
    """

    def __init__(self, path: Path, progress: Progress) -> None:
        self.path, self.progress = path, progress
        self.thread = ThreadPoolExecutor(max_workers=1)
        self.pending: Future[None] | None = None

    def __enter__(self) -> CheckpointWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.thread.shutdown(wait=True)
        self.wait()

    def save(self, state: dict[str, Any]) -> None:
        """Write a copy of the state in the background, once the one before it is written."""
        self.wait()
        self.pending = self.thread.submit(self._publish, copy.deepcopy(state))

    def wait(self) -> None:
        """Wait until all saved states are on disk. Raises the error of a write that failed."""
        pending, self.pending = self.pending, None
        if pending:
            pending.result()

    def _publish(self, state: dict[str, Any]) -> None:
        save(self.path, state)
        self.progress.published += 1


def save(path: Path, state: dict[str, Any]) -> None:
    """Publish a checkpoint: tensors, numbers, texts, and lists and dicts of them."""
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
    """The bytes that `torch.save` writes.

    In memory, because an error of `torch.save` on a file does not say why writing failed.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getbuffer()


def load(path: Path) -> dict[str, Any] | None:
    """The last published checkpoint; None where it is missing or damaged."""
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
