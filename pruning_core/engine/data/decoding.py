"""Image files decoded to arrays on disk, once for each image size."""

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
from pruning_core.planning.stage_types import DatasetResult, DatasetSettings

CHUNK_IMAGES = 64
CHUNK_BYTES = 32 * 1024**2

# Row in the output array, name for messages, and content of each image.
Chunk = list[tuple[int, str, RawImage]]


def decode_dataset(
    settings: DatasetSettings,
    hints: dict[str, Any],
    folder: Path,
    downloads: Path,
    progress: Progress,
) -> DatasetResult:
    """Write `train_` and `test_images.npy` (uint8, (N, S, S, 3)) and `_labels.npy` (int64, (N,)).

    `hints` holds `name` and `path`. The order of the images does not depend on the number of
    threads. Raises `SpecError` where the content does not match `digest` or an
    image cannot be read, and `OSError` where the disk is too small.
    """
    seed, size = settings.split_seed, settings.image_size
    sizes = {"train": settings.train_size, "test": settings.test_size}
    opened = DATASETS.load(hints["name"])(
        hints.get("path", ""), seed, downloads, rescaled(progress, 0, 0.3)
    )
    with opened as dataset:
        _check_digest(dataset, settings.digest)
        rows = {
            name: stratified_subset(
                images.labels,
                sizes[name],
                seed,
                f"data.{name}_size",
                MIN_PER_CLASS[name],
            )
            for name, images in dataset.subsets.items()
        }
        total = sum(map(len, rows.values()))
        _check_disk_space(folder, total * size * size * 3)
        count_decoded = _counter(total, rescaled(progress, 0.3, 1))
        for name, images in dataset.subsets.items():
            np.save(folder / f"{name}_labels.npy", images.labels[rows[name]])
            path = folder / f"{name}_images.npy"
            _write(dataset, images, rows[name], path, size, count_decoded)
    counts = {f"{name}_images": len(chosen) for name, chosen in rows.items()}
    return DatasetResult(**counts, classes=list(dataset.classes))


def _check_digest(dataset: OpenDataset, digest: str) -> None:
    if dataset.digest != digest:
        raise SpecError(
            dataset.field,
            "The images in {location} have changed since they were inspected. Run it again.",
            location=dataset.location,
        )


def _check_disk_space(folder: Path, needed: int) -> None:
    # Writing to a memory map on a full disk kills the process without a message.
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(
            errno.ENOSPC,
            f"{os.strerror(errno.ENOSPC)}: the decoded images need {needed / 1e9:,.2f} GB, "
            f"{free / 1e9:,.2f} GB are free",
            str(folder),
        )


def _reserve(path: Path) -> None:
    # Other processes write at the same time, so the space is reserved now. macOS cannot do that.
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def _counter(total: int, progress: Progress) -> Callable[[int], None]:
    """A function that adds to the number of decoded images and reports the progress."""
    done = 0

    def add(count: int) -> None:
        nonlocal done
        done += count
        progress(done / total, f"Decoding images, {done:,} of {total:,}")

    return add


def _write(
    dataset: OpenDataset,
    images: LabeledImages,
    rows: np.ndarray,
    path: Path,
    size: int,
    count_decoded: Callable[[int], None],
) -> None:
    """Decode these rows of a subset into the array file at `path`."""
    shape = (len(rows), size, size, 3)
    out = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    _reserve(path)
    threads = min(8, os.cpu_count() or 1)
    waiting: deque[Future[int]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for chunk in _chunks(images, rows):
            waiting.append(pool.submit(_decode_chunk, dataset, chunk, out, size))
            if len(waiting) > 2 * threads:
                count_decoded(waiting.popleft().result())
        for future in waiting:
            count_decoded(future.result())
    out.flush()


def _chunks(images: LabeledImages, rows: np.ndarray) -> Iterator[Chunk]:
    """The raw images in order, in chunks of limited size, which bounds the memory in use."""
    chunk: Chunk = []
    size = 0
    for position, row in enumerate(rows.tolist()):
        raw = images.read(row)
        chunk.append((position, images.name(row), raw))
        size += len(raw)
        if len(chunk) == CHUNK_IMAGES or size > CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _decode_chunk(dataset: OpenDataset, chunk: Chunk, out: np.ndarray, size: int) -> int:
    for position, name, raw in chunk:
        try:
            out[position] = decode_image(raw, size)
        except UnreadableImage as error:
            raise SpecError(
                dataset.field,
                "{location}: {name} is not a readable image ({error}). Replace or remove it.",
                location=dataset.location,
                name=name,
                error=error,
            ) from None
    return len(chunk)
