"""Image files decoded to arrays on disk, once for each image size."""

from __future__ import annotations

import errno
import logging
import os
import shutil
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
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
from pruning_core.planning.inspection_types import (
    DatasetResult,
    DatasetSettings,
    ExampleImagesSettings,
)
from pruning_core.planning.inspections import broken_images

CHUNK_IMAGES = 64
CHUNK_BYTES = 32 * 1024**2
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RawRow:
    """The name of an image for messages, its content, and what decodes it."""

    name: str
    raw: RawImage
    decode: Callable[[RawImage], None]


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

    `hints` holds `name`, `path` and, in `left_out`, the names of files that are not used. Each
    file is read once, and the bytes that are decoded are those that enter the digest. The order of
    the images does not depend on the number of threads. Raises `ImagesChanged` where the content
    does not match `digest`, `SpecError` where images cannot be read, and `OSError` where the disk
    is too small.
    """
    opened = DATASETS.load(hints["name"])(
        hints.get("path", ""), settings.split_seed, downloads, rescaled(progress, 0, 0.3)
    )
    with opened as dataset:
        if dataset.without and hints.get("left_out"):
            dataset = _as_inspected(dataset, hints["left_out"])
        rows = _rows(dataset, settings)
        size = settings.image_size
        _check_disk_space(folder, sum(map(len, rows.values())) * size * size * 3)
        arrays = {name: _new_array(folder, name, rows[name], size) for name in rows}
        decoder = _Decoder(dataset, settings, rows, arrays, rescaled(progress, 0.3, 1))
        with decoder.pool as pool:
            digest = dataset.read(decoder.visit)
        if digest != settings.digest:
            raise _changed(dataset)
        _check_readable(dataset, pool.unreadable)
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


def _as_inspected(dataset: OpenDataset, left_out: list[str]) -> OpenDataset:
    """The data set without these files. Raises `ImagesChanged` where it would be refused now."""
    if dataset.without is None:
        return dataset
    try:
        return dataset.without(left_out)
    except SpecError:
        raise _changed(dataset) from None


def fitting(settings: DatasetSettings | ExampleImagesSettings) -> tuple[str, ValueRange]:
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
    """Refuse a data set with images that cannot be decoded.

    `unreadable` holds the reason by the name of the image. The inspection has found the broken
    ones; at this image size, one that is very long may become too large.
    """
    if not unreadable:
        return
    unreadable = dict(sorted(unreadable.items()))
    for name, reason in unreadable.items():
        log.error("%s is not a readable image (%s).", one_line(name), reason)
    raise broken_images(dataset.field, dataset.location, unreadable)


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


class ImagePool:
    """Decodes images in threads, in chunks of limited size, which bounds the memory.

    `unreadable` holds the reason by the name of each image that cannot be decoded. `message`
    begins the report on the progress, of `total` images.
    """

    def __init__(self, total: int, message: str, progress: Progress) -> None:
        self.total, self.message, self.progress = total, message, progress
        self.unreadable: dict[str, str] = {}
        self.decoded = 0
        self.threads = min(8, os.cpu_count() or 1)
        self.pool = ThreadPoolExecutor(self.threads)
        self.waiting: deque[Future[int]] = deque()
        self.chunk: list[RawRow] = []
        self.bytes = 0

    def __enter__(self) -> ImagePool:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        if error is None:
            self._submit()
            while self.waiting:
                self._count()
        self.pool.shutdown(cancel_futures=True)

    def add(self, name: str, raw: RawImage, decode: Callable[[RawImage], None]) -> None:
        """Call `decode` with an image in one of the threads; it raises `UnreadableImage`."""
        self.chunk.append(RawRow(name, raw, decode))
        self.bytes += 0 if isinstance(raw, UnreadableImage) else len(raw)
        if len(self.chunk) == CHUNK_IMAGES or self.bytes > CHUNK_BYTES:
            self._submit()

    def _submit(self) -> None:
        if not self.chunk:
            return
        self.waiting.append(self.pool.submit(self._decode, self.chunk))
        self.chunk, self.bytes = [], 0
        if len(self.waiting) > 2 * self.threads:
            self._count()

    def _count(self) -> None:
        self.decoded += self.waiting.popleft().result()
        share = self.decoded / max(self.total, 1)
        self.progress(share, f"{self.message}, {self.decoded:,} of {self.total:,}")

    def _decode(self, chunk: list[RawRow]) -> int:
        for image in chunk:
            try:
                image.decode(image.raw)
            except UnreadableImage as error:
                self.unreadable[image.name] = str(error)
        return len(chunk)


class _Decoder:
    """Decodes the chosen images into arrays.

    `rows` are the chosen rows of each subset, `arrays` their images.
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
        self.places = {
            name: dict(zip(chosen.tolist(), range(len(chosen)), strict=True))
            for name, chosen in rows.items()
        }
        self.not_square = 0
        self.pool = ImagePool(sum(map(len, rows.values())), "Decoding images", progress)

    def visit(self, subset: str, row: int, raw: RawImage) -> None:
        """Decode an image if it is one of the chosen."""
        place = self.places[subset].get(row)
        if place is None:
            return
        if isinstance(raw, bytes):
            self.not_square += not image_facts(raw).square
        name = self.dataset.subsets[subset].name(row)
        self.pool.add(name, raw, partial(self._decode, self.arrays[subset], place))

    def _decode(self, out: np.ndarray, place: int, raw: RawImage) -> None:
        out[place] = decode_image(raw, self.settings.image_size, *fitting(self.settings))

    def notes(self) -> list[str]:
        """How images that are not square became square."""
        if not self.not_square:
            return []
        return [not_square_note(self.not_square, self.settings.resize or CENTER_CROP)]
