"""Image files decoded to arrays on disk, once for each image size."""

from __future__ import annotations

import errno
import logging
import os
import shutil
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pruning_core.common.errors import SpecError
from pruning_core.common.terminal import one_line
from pruning_core.engine.data.dataset import OpenDataset, Progress, rescaled
from pruning_core.engine.data.image_files import (
    RawImage,
    UnreadableImage,
    ValueRange,
    decode_image,
    image_facts,
)
from pruning_core.engine.data.split import MIN_PER_CLASS, stratified_subset
from pruning_core.methods.datasets import CENTER_CROP, DATASETS, not_square_note
from pruning_core.planning.inspection_types import DatasetResult, DatasetSettings

CHUNK_IMAGES = 64
CHUNK_BYTES = 32 * 1024**2
# A message names this many unreadable images; the log of the stage names all.
MOST_NAMES = 20
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RawRow:
    """The content of an image, and its row in the array `out`. `name` is for messages."""

    out: np.ndarray
    row: int
    name: str
    raw: RawImage


class ImagesChanged(SpecError):
    """The images are not those that were inspected."""


def decode_dataset(
    settings: DatasetSettings,
    hints: dict[str, Any],
    folder: Path,
    downloads: Path,
    progress: Progress,
) -> DatasetResult:
    """Write `train_` and `test_images.npy` (uint8, (N, S, S, 3)) and `_labels.npy` (int64, (N,)).

    `hints` holds `name` and `path`. Each file is read once, and the bytes that are decoded are
    those that enter the digest. The order of the images does not depend on the number of threads.
    Raises `ImagesChanged` where the content does not match `digest`, `SpecError` where images
    cannot be read, and `OSError` where the disk is too small.
    """
    opened = DATASETS.load(hints["name"])(
        hints.get("path", ""), settings.split_seed, downloads, rescaled(progress, 0, 0.3)
    )
    with opened as dataset:
        rows = _rows(dataset, settings)
        size = settings.image_size
        _check_disk_space(folder, sum(map(len, rows.values())) * size * size * 3)
        arrays = {name: _new_array(folder, name, rows[name], size) for name in rows}
        decoder = _Decoder(dataset, settings, rows, arrays, rescaled(progress, 0.3, 1))
        with decoder:
            digest = dataset.read(decoder.visit)
        if digest != settings.digest:
            raise _changed(dataset)
        _check_readable(dataset, decoder.unreadable)
        for name, images in dataset.subsets.items():
            arrays[name].flush()
            np.save(folder / f"{name}_labels.npy", images.labels[rows[name]])
    counts = {f"{name}_images": len(chosen) for name, chosen in rows.items()}
    return DatasetResult(**counts, classes=list(dataset.classes), notes=decoder.notes())


def _rows(dataset: OpenDataset, settings: DatasetSettings) -> dict[str, np.ndarray]:
    """The rows of each subset that are decoded."""
    sizes = {"train": settings.train_size, "test": settings.test_size}
    try:
        return {
            name: stratified_subset(
                images.labels,
                sizes[name],
                settings.split_seed,
                f"data.{name}_size",
                MIN_PER_CLASS[name],
            )
            for name, images in dataset.subsets.items()
        }
    except SpecError:
        # The sizes were checked against the images that were inspected.
        if dataset.read(lambda subset, row, raw: None) != settings.digest:
            raise _changed(dataset) from None
        raise


def fitting(settings: DatasetSettings) -> tuple[str, ValueRange]:
    """The resize method of a decoded data set, and the range of its 16-bit values."""
    limits = settings.value_range
    return settings.resize or CENTER_CROP, (limits[0], limits[1]) if limits else None


def _changed(dataset: OpenDataset) -> ImagesChanged:
    return ImagesChanged(
        dataset.field,
        "The images in {location} have changed since they were inspected. Run it again.",
        location=dataset.location,
    )


def _check_readable(dataset: OpenDataset, unreadable: dict[str, str]) -> None:
    """Refuse a data set with images that cannot be decoded; names all of them, as far as possible.

    `unreadable` holds the reason by the name of the image.
    """
    if not unreadable:
        return
    unreadable = dict(sorted(unreadable.items()))
    for name, reason in unreadable.items():
        log.error("%s is not a readable image (%s).", one_line(name), reason)
    names = list(unreadable)
    (first, reason), more = next(iter(unreadable.items())), len(names) - MOST_NAMES
    if len(names) == 1:
        raise SpecError(
            dataset.field,
            "{location}: {name} is not a readable image ({reason}). Replace or remove it.",
            location=dataset.location,
            name=first,
            reason=reason,
        )
    raise SpecError(
        dataset.field,
        "{location}: {count} images cannot be read: {names}. The first of them is not a readable "
        "image ({reason}). Replace or remove them.",
        location=dataset.location,
        count=f"{len(names):,}",
        names=", ".join(names[:MOST_NAMES])
        + (f" and {more:,} more, which the log of this stage names" if more > 0 else ""),
        reason=reason,
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


def _new_array(folder: Path, name: str, rows: np.ndarray, size: int) -> np.memmap[Any, Any]:
    """The array file of a subset, uint8 (N, S, S, 3), with its space on the disk."""
    path = folder / f"{name}_images.npy"
    shape = (len(rows), size, size, 3)
    out = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    # Other processes write at the same time, so the space is reserved now. macOS cannot do that.
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return out


class _Decoder:
    """Decodes the chosen images in threads, in chunks of limited size, which bounds the memory.

    `rows` are the chosen rows of each subset, `arrays` their images. `unreadable` holds the reason
    by the name of each image that cannot be decoded.
    """

    def __init__(
        self,
        dataset: OpenDataset,
        settings: DatasetSettings,
        rows: dict[str, np.ndarray],
        arrays: Mapping[str, np.ndarray],
        progress: Progress,
    ) -> None:
        self.dataset, self.settings, self.arrays = dataset, settings, arrays
        self.progress, self.decoded, self.total = progress, 0, sum(map(len, rows.values()))
        self.places = {
            name: dict(zip(chosen.tolist(), range(len(chosen)), strict=True))
            for name, chosen in rows.items()
        }
        self.unreadable: dict[str, str] = {}
        self.not_square = 0
        self.threads = min(8, os.cpu_count() or 1)
        self.pool = ThreadPoolExecutor(self.threads)
        self.waiting: deque[Future[int]] = deque()
        self.chunk: list[RawRow] = []
        self.bytes = 0

    def __enter__(self) -> _Decoder:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        if error is None:
            self._submit()
            while self.waiting:
                self._count()
        self.pool.shutdown(cancel_futures=True)

    def visit(self, subset: str, row: int, raw: RawImage) -> None:
        """Decode an image if it is one of the chosen."""
        place = self.places[subset].get(row)
        if place is None:
            return
        if isinstance(raw, bytes):
            self.not_square += not image_facts(raw).square
        name = self.dataset.subsets[subset].name(row)
        self.chunk.append(RawRow(self.arrays[subset], place, name, raw))
        self.bytes += len(raw)
        if len(self.chunk) == CHUNK_IMAGES or self.bytes > CHUNK_BYTES:
            self._submit()

    def notes(self) -> list[str]:
        """How images that are not square became square."""
        if not self.not_square:
            return []
        return [not_square_note(self.not_square, self.settings.resize or CENTER_CROP)]

    def _submit(self) -> None:
        self.waiting.append(self.pool.submit(self._decode, self.chunk))
        self.chunk, self.bytes = [], 0
        if len(self.waiting) > 2 * self.threads:
            self._count()

    def _count(self) -> None:
        self.decoded += self.waiting.popleft().result()
        share = self.decoded / max(self.total, 1)
        self.progress(share, f"Decoding images, {self.decoded:,} of {self.total:,}")

    def _decode(self, chunk: list[RawRow]) -> int:
        settings = self.settings
        for image in chunk:
            try:
                image.out[image.row] = decode_image(
                    image.raw,
                    settings.image_size,
                    *fitting(settings),
                )
            except UnreadableImage as error:
                self.unreadable[image.name] = str(error)
        return len(chunk)
