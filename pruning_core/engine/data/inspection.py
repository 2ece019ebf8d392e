"""Inspects a data set: its classes, its broken images, and examples as the model sees them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pruning_core.common.errors import SpecError
from pruning_core.common.formatting import format_count, join_first
from pruning_core.engine.data.dataset import OpenDataset, Progress, rescaled
from pruning_core.engine.data.decoding import ImagePool, fitting
from pruning_core.engine.data.image_files import (
    HIGHEST_VALUE,
    RawImage,
    UnreadableImage,
    check_image,
    decode_image,
    image_facts,
    largest_crop,
    value_counts,
)
from pruning_core.methods.datasets import DATASETS
from pruning_core.planning.inspection_types import (
    MOST_EXAMPLES,
    ExampleImagesResult,
    ExampleImagesSettings,
    InspectDatasetResult,
    InspectDatasetSettings,
    example_file,
)

# Where 16-bit images use less than this of their range, the upper 8 bits would lose too much.
FULL_RANGE = 2**15
# Of the values, the lowest and the highest of this share are left out to see how many gray levels
# the others keep; below `FEW_LEVELS` of 256 a note says so.
OUTLIERS, FEW_LEVELS = 0.005, 64
# No larger image size can be chosen.
LARGEST_SIZE = 224
# A note names this many of the files that are left out.
MOST_NAMES = 5


def inspect_dataset(
    settings: InspectDatasetSettings, hints: dict[str, Any], downloads: Path, progress: Progress
) -> InspectDatasetResult:
    """Classes, counts, a digest of the content, and the images that cannot be decoded.

    `hints` holds the `path` of the user's images, all of which are decoded once. A published data
    set is downloaded if it is not in `downloads`. `classes` is sorted for the user's images;
    published data sets keep their order, so that checkpoints trained on them fit. With
    `leave_out_broken` the result is that of the data set without its broken images. Raises
    `SpecError` where the data set cannot be opened.
    """
    opened = DATASETS.load(settings.name)(
        hints.get("path", ""), settings.split_seed, downloads, progress
    )
    user_images = DATASETS[settings.name].user_images
    with opened as dataset:
        facts = _facts(dataset, progress, user_images)
        if facts.broken and settings.leave_out_broken:
            rest = _facts(_without(dataset, facts.broken), progress, check=False)
            notes = [_left_out_note(facts.broken), *rest.notes]
            facts = replace(rest, left_out=facts.broken, notes=notes)
    if user_images:
        facts = replace(facts, images=sum(facts.train_counts) + sum(facts.test_counts))
    progress(1.0, "All images read")
    return facts


def _facts(dataset: OpenDataset, progress: Progress, check: bool) -> InspectDatasetResult:
    """The result for an open data set; with `check` every image is decoded."""
    counts = {
        name: np.bincount(images.labels, minlength=len(dataset.classes)).tolist()
        for name, images in dataset.subsets.items()
    }
    survey, total = _Survey(), sum(map(sum, counts.values()))
    pool = ImagePool(total, "Checking images", progress)

    def visit(subset: str, row: int, raw: RawImage) -> None:
        name = dataset.subsets[subset].name(row)
        survey.visit(subset, name, raw)
        if check:
            pool.add(name, raw, check_image)

    with pool:
        digest = dataset.read(visit)
    return InspectDatasetResult(
        digest=digest,
        classes=list(dataset.classes),
        train_counts=counts["train"],
        test_counts=counts["test"],
        split=dataset.split,
        notes=[*dataset.notes, *survey.notes()],
        flip=dataset.flip,
        not_square=survey.not_square or None,
        value_range=survey.value_range(),
        broken=dict(sorted(pool.unreadable.items())),
        largest_crops=dict(sorted(survey.largest_crops.items())) or None,
    )


def _without(dataset: OpenDataset, broken: dict[str, str]) -> OpenDataset:
    """The data set without its broken images. Raises `SpecError` where too few are left."""
    if dataset.without is None:
        raise TypeError(f"{dataset.location} cannot leave out files.")
    try:
        return dataset.without(broken)
    except SpecError as error:
        raise SpecError(
            error.field,
            "{count} cannot be read. Without them the data set cannot be used: {reason}",
            count=format_count(len(broken), "image"),
            reason=error.message,
        ) from None


def _left_out_note(broken: dict[str, str]) -> str:
    names = join_first(list(broken), "file", MOST_NAMES)
    return f"Images that cannot be read, left out: {len(broken):,} ({names})."


def example_images(
    settings: ExampleImagesSettings,
    hints: dict[str, Any],
    folder: Path,
    downloads: Path,
    progress: Progress,
) -> ExampleImagesResult:
    """Write training images, at most `MOST_EXAMPLES`, as the model sees them: PNG of S x S pixels.

    The first readable image of each class, then the second ones, as long as there is room.
    `hints` holds `name`, `path` and the names in `left_out`. Raises `SpecError` where the data set
    cannot be opened.
    """
    opened = DATASETS.load(hints["name"])(
        hints.get("path", ""), settings.split_seed, downloads, rescaled(progress, 0, 0.5)
    )
    examples: list[tuple[int, str, np.ndarray]] = []
    with opened as dataset:
        if dataset.without and hints.get("left_out"):
            dataset = dataset.without(hints["left_out"])
        train = dataset.subsets["train"]
        for row in _one_of_each_class(train.labels):
            try:
                raw = dataset.image("train", row)
                pixels = decode_image(raw, settings.image_size, *fitting(settings))
            except UnreadableImage:
                continue  # the inspection of the data set names it
            examples.append((int(train.labels[row]), train.name(row), pixels))
            if len(examples) == MOST_EXAMPLES:
                break
    examples.sort(key=lambda example: example[0])
    for number, (_, _, pixels) in enumerate(examples):
        Image.fromarray(pixels).save(folder / example_file(number), optimize=True)
    return ExampleImagesResult(
        [label for label, _, _ in examples], [name for _, name, _ in examples]
    )


def _one_of_each_class(labels: np.ndarray) -> Iterator[int]:
    """The rows of labels (N,): the first of each class, then the second ones, and so on."""
    order = np.argsort(labels, kind="stable")
    first = np.searchsorted(labels[order], labels[order])
    place = np.empty(len(labels), np.int64)
    place[order] = np.arange(len(labels)) - first  # the number of the image in its class
    yield from np.lexsort((labels, place)).tolist()


class _Survey:
    """What the headers of image files say, and the values of 16-bit training images."""

    def __init__(self) -> None:
        self.largest_crops: dict[str, int] = {}
        self.not_square = self.sixteen_bits = self.frames = 0
        self.counts = np.zeros(HIGHEST_VALUE + 1, np.int64)

    def visit(self, subset: str, name: str, raw: RawImage) -> None:
        """Add an image; arrays and damaged files have no header."""
        if not isinstance(raw, bytes):
            return
        facts = image_facts(raw)
        self.not_square += not facts.square
        if (size := largest_crop(facts)) < LARGEST_SIZE:
            self.largest_crops[name] = size
        self.sixteen_bits += facts.sixteen_bits
        self.frames += facts.frames
        if facts.sixteen_bits and subset == "train":
            counts = value_counts(raw)
            self.counts += 0 if counts is None else counts

    def value_range(self) -> list[int] | None:
        """The lowest and highest value of all training images; None where most bits are used."""
        used = np.flatnonzero(self.counts)
        if not len(used):
            return None
        low, high = int(used[0]), int(used[-1])
        return [low, high] if low < high < low + FULL_RANGE else None

    def notes(self) -> list[str]:
        notes = []
        if self.frames:
            notes.append(
                f"Images with several pages or frames: {self.frames:,}. Only the first one of "
                "each is used."
            )
        if not self.sixteen_bits:
            return notes
        note = f"Images with 16 bits per channel, scaled to 8 bits: {self.sixteen_bits:,}."
        if limits := self.value_range():
            low, high = limits
            note += (
                f" The training images use the values {low:,} to {high:,} of 0 to 65,535. In all "
                f"images {low:,} becomes 0 and {high:,} becomes 255; values outside are clipped."
            )
        return [*notes, note + self._few_levels(limits)]

    def _few_levels(self, limits: list[int] | None) -> str:
        """A sentence where a few very low or high values leave few gray levels to the others."""
        total = np.cumsum(self.counts)
        if not total[-1]:
            return ""
        inner = (OUTLIERS, 1 - OUTLIERS)
        low, high = (int(np.searchsorted(total, share * total[-1])) for share in inner)
        lowest, highest = limits or (0, HIGHEST_VALUE)
        levels = int((high - low) * 256 / (highest - lowest)) + 1
        used = np.flatnonzero(self.counts)
        if levels >= FEW_LEVELS or low == high or (used[0], used[-1]) == (low, high):
            return ""
        return (
            f" 99 % of the values are between {low:,} and {high:,} and become about {levels} of "
            "256 gray levels. To keep more, clip the highest and lowest values of the images."
        )
