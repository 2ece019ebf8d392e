"""Image files to arrays on disk, once for each image size."""

from __future__ import annotations

import errno
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from pruning_core.common.errors import SpecError
from pruning_core.engine.data.dataset import (
    LabeledImages,
    OpenDataset,
    Progress,
    RawImage,
    rescaled,
)
from pruning_core.engine.data.image_files import UnreadableImage, decode_image
from pruning_core.engine.data.split import MIN_PER_CLASS, stratified_subset
from pruning_core.methods.datasets import DATASETS

CHUNK_IMAGES = 64
CHUNK_BYTES = 32 * 1024**2

Chunk = list[tuple[int, str, RawImage]]


def decode_dataset(
    settings: dict[str, Any],
    hints: dict[str, Any],
    folder: Path,
    downloads: Path,
    progress: Progress,
) -> dict[str, Any]:
    """Write `train_` and `test_` `images.npy` (uint8, N x S x S x 3), `labels.npy` (int64).

    `settings` holds `digest`, `image_size`, `train_size`, `test_size` (0 = all) and
    `split_seed`; `hints` holds `name` and `path`. The order of the images does not depend on
    the number of threads. Raises `SpecError` where the content is no longer that of `digest`
    or an image cannot be read, and `OSError` where the disk is too small.
    """
    seed, size = settings["split_seed"], settings["image_size"]
    opened = DATASETS.load(hints["name"])(
        hints.get("path", ""), seed, downloads, rescaled(progress, 0, 0.3)
    )
    with opened as source:
        _check_digest(source, settings["digest"])
        rows = {
            name: stratified_subset(
                part.labels,
                settings[f"{name}_size"],
                seed,
                f"data.{name}_size",
                MIN_PER_CLASS[name],
            )
            for name, part in source.parts.items()
        }
        _check_room(folder, sum(map(len, rows.values())) * size * size * 3)
        tick = _ticker(sum(map(len, rows.values())), rescaled(progress, 0.3, 1))
        for name, part in source.parts.items():
            np.save(folder / f"{name}_labels.npy", part.labels[rows[name]])
            _write(source, part, rows[name], folder / f"{name}_images.npy", size, tick)
    counts = {f"{name}_images": len(chosen) for name, chosen in rows.items()}
    return {**counts, "classes": list(source.classes)}


def _check_digest(source: OpenDataset, digest: str) -> None:
    if source.digest != digest:
        raise SpecError(
            source.field,
            f"the images have changed since they were inspected ({source.where}); run it again.",
        )


def _check_room(folder: Path, needed: int) -> None:
    # A memory map on a full disk ends the process without a word, so it is asked for first.
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(
            errno.ENOSPC,
            f"{os.strerror(errno.ENOSPC)}: the decoded images need {needed / 1e9:,.2f} GB, "
            f"{free / 1e9:,.2f} GB are free",
            str(folder),
        )


def _reserve(path: Path) -> None:
    # Others write meanwhile, so the room is taken at once; macOS cannot.
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def _ticker(count: int, progress: Progress) -> Callable[[int], None]:
    done = 0

    def tick(more: int) -> None:
        nonlocal done
        done += more
        progress(done / count, f"Decoding images, {done:,} of {count:,}")

    return tick


def _write(
    source: OpenDataset,
    part: LabeledImages,
    rows: np.ndarray,
    path: Path,
    size: int,
    tick: Callable[[int], None],
) -> None:
    shape = (len(rows), size, size, 3)
    out = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    _reserve(path)
    threads = min(8, os.cpu_count() or 1)
    waiting: deque[Future[int]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for chunk in _chunks(part, rows):
            waiting.append(pool.submit(_render_chunk, source, chunk, out, size))
            if len(waiting) > 2 * threads:
                tick(waiting.popleft().result())
        for future in waiting:
            tick(future.result())
    out.flush()


def _chunks(part: LabeledImages, rows: np.ndarray) -> Iterator[Chunk]:
    """A few images at a time, read in order: how much waits in memory is bounded."""
    chunk: Chunk = []
    held = 0
    for position, row in enumerate(rows.tolist()):
        raw = part.read(row)
        chunk.append((position, part.name(row), raw))
        held += len(raw)
        if len(chunk) == CHUNK_IMAGES or held > CHUNK_BYTES:
            yield chunk
            chunk, held = [], 0
    if chunk:
        yield chunk


def _render_chunk(source: OpenDataset, chunk: Chunk, out: np.ndarray, size: int) -> int:
    for position, name, raw in chunk:
        try:
            out[position] = decode_image(raw, size)
        except UnreadableImage as error:
            raise SpecError(
                source.field,
                f"in {source.where}, {name} is not a readable image ({error}). "
                "Replace or remove it.",
            ) from None
    return len(chunk)
