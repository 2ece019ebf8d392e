"""What every data set looks like to the rest: two parts of labelled images and a digest."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Progress = Callable[[float, str], None]
Raw = bytes | np.ndarray


@dataclass(frozen=True)
class Part:
    """Training or test images, in an order that depends on their content and paths only.

    `labels` is int64 of shape (N,). `read(i)` gives image `i` as a file's bytes or as a uint8
    array (H, W) or (H, W, 3); it is called from one thread. `name(i)` is for people.
    """

    labels: np.ndarray
    read: Callable[[int], Raw]
    name: Callable[[int], str]


@dataclass(frozen=True)
class Source:
    """An opened data set. `field` is the setting that an unreadable image puts in question.

    `where` names the set in messages; `flip` tells whether a mirrored image still belongs to
    its class; `split` is "given" or "seeded".
    """

    field: str
    where: str
    digest: str
    classes: tuple[str, ...]
    parts: dict[str, Part]
    split: str
    flip: bool
    notes: tuple[str, ...] = ()


def array_part(images: np.ndarray, labels: np.ndarray) -> Part:
    """A part that is in memory already: images (N, H, W) or (N, H, W, 3), labels (N,)."""
    return Part(labels, lambda i: images[i], lambda i: f"image {i}")


def array_digest(classes: Sequence[str], *arrays: np.ndarray) -> str:
    """SHA-256 of class names and of each array's type, shape and bytes."""
    seen = hashlib.sha256("\0".join(classes).encode())
    for array in arrays:
        seen.update(f"\n{array.dtype.str} {array.shape}\n".encode())
        seen.update(np.ascontiguousarray(array).data)
    return seen.hexdigest()


def within(progress: Progress, low: float, high: float) -> Progress:
    """The same report, its fraction mapped from [0, 1] to [low, high]."""
    return lambda fraction, text: progress(low + fraction * (high - low), text)
