"""An opened data set: labeled training and test images with a digest of their content."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np

from pruning_core.engine.data.image_files import RawImage

Progress = Callable[[float, str], None]
# Takes the subset, the row in it, and the content of an image.
Visit = Callable[[str, int, RawImage], None]


@dataclass(frozen=True)
class LabeledImages:
    """The training or the test images. Their order depends on content and paths only.

    `labels` is int64 of shape (N,). `name(i)` is for messages.
    """

    labels: np.ndarray
    name: Callable[[int], str]


@dataclass(frozen=True)
class OpenDataset:
    """A data set whose images can be read.

    `read(visit)` reads every image once, passes it to `visit`, and returns the digest of what was
    read: an image is the bytes of its file, or uint8 of shape (H, W) or (H, W, 3). `field` is the
    setting that an error about an image names, `location` the name of the data set in messages.
    `subsets` holds "train" and "test". `split` is "given", or "seeded" where the split seed chose
    the test images. `flip` is true where a mirrored image keeps its class. `image` reads the image
    of a subset and a row alone. `without` opens the data set as if the files with these names were
    not in it; it raises `SpecError` where it would be refused then.
    """

    field: str
    location: str
    read: Callable[[Visit], str]
    image: Callable[[str, int], RawImage]
    classes: tuple[str, ...]
    subsets: dict[str, LabeledImages]
    split: str
    flip: bool
    notes: tuple[str, ...] = ()
    without: Callable[[Collection[str]], OpenDataset] | None = None


def numbered(labels: np.ndarray) -> LabeledImages:
    """The labels (N,) of images in memory, which have numbers for names."""
    return LabeledImages(labels, lambda i: f"image {i}")


def array_reader(digest: str, images: dict[str, np.ndarray]) -> Callable[[Visit], str]:
    """The function `read` for images in memory, (N, H, W) or (N, H, W, 3), with a known digest."""

    def read(visit: Visit) -> str:
        for subset, array in images.items():
            for row in range(len(array)):
                visit(subset, row, array[row])
        return digest

    return read


def array_image(images: dict[str, np.ndarray]) -> Callable[[str, int], RawImage]:
    """The function `image` for images in memory."""
    return lambda subset, row: images[subset][row]


def array_digest(classes: Sequence[str], *arrays: np.ndarray) -> str:
    """SHA-256 of the class names and of each array's type, shape and bytes."""
    digest = hashlib.sha256("\0".join(classes).encode())
    for array in arrays:
        digest.update(f"\n{array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def rescaled(progress: Progress, low: float, high: float) -> Progress:
    """A progress report whose fraction is mapped from [0, 1] to [low, high]."""
    return lambda fraction, text: progress(low + fraction * (high - low), text)
