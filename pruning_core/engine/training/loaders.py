"""Loaders of any kind: their batches as images and labels, and how many make a training.

A loader is a DataLoader or another iterable of batches. N is the number of images of a batch.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pruning_core.common.errors import SpecError, shortened
from pruning_core.common.formatting import format_count
from pruning_core.engine.models.computed_weights import FLOATS

Loader = Iterable[Any]
# Names of images and of labels in any case of letters. The second row counts where no name of the
# first is there.
IMAGE_NAMES = (
    ("pixel_values", "images", "image", "imgs", "img", "inputs", "input", "x"),
    ("data", "features", "pixels", "jpg", "jpeg", "png", "webp"),
)
LABEL_NAMES = (
    ("labels", "label", "targets", "target", "y"),
    ("fine_label", "fine_labels", "classes", "class", "cls", "class_id", "category"),
)
PAIRS = (
    "A loader must yield pairs of (images, labels), longer tuples that begin with them, or "
    "mappings with the names pixel_values or images, and labels"
)
LABELS = "Labels must be the numbers of the classes, of shape (N,) or (N, 1), or one-hot (N, C)"


def batches_of(loader: Loader, field: str) -> Iterator[Any]:
    """The batches of a loader.

    Raises `SpecError` for what cannot be iterated over, where a batch cannot be loaded, and for
    more batches than the loader's length: some loaders never end.
    """
    if isinstance(loader, itertools.cycle):
        raise SpecError(
            field, "itertools.cycle never ends. Pass a DataLoader or a list of batches."
        )
    if isinstance(loader, Tensor | str | dict) or not (
        hasattr(loader, "__iter__") or hasattr(loader, "__getitem__")
    ):
        kind = type(loader).__name__
        raise SpecError(field, f"It is of type {kind}. Pass a DataLoader or a list of batches.")
    number, length = 0, length_of(loader)
    try:
        for number, batch in enumerate(loader, start=1):
            if number > length > 0:
                raise SpecError(
                    field,
                    f"It yields more batches than its length, {length:,}. Either it never ends, or "
                    "several workers read the same images of an iterable data set.",
                )
            yield batch
    except (SpecError, GeneratorExit):
        raise
    except Exception as error:
        # A worker process sends its traceback as the message; the error is its last line.
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = (lines[-1] if lines else type(error).__name__).rstrip(".")
        raise SpecError(
            field,
            f"It cannot load batch {number + 1}: {reason}. The error is in the data set, its "
            "transforms or the function that collates a batch.",
        ) from error


def length_of(loader: Loader) -> int:
    """The number of batches; 0 where it is not known."""
    with suppress(TypeError, NotImplementedError, ValueError, RuntimeError, AttributeError):
        return len(loader)  # type: ignore[arg-type]
    return 0


def steps_of(field: str, length: int, epochs: float, done: float) -> int | None:
    """The number of steps of fractional `epochs` after `done` epochs; None for whole epochs.

    The end is rounded and not the share, so that equal sums of epochs are equal steps.
    """
    if float(epochs).is_integer() and float(done).is_integer():
        return None
    if not length:
        raise SpecError(field, f"{epochs:g} epochs need a loader with a length.")
    first, last = (math.floor(round(x * length, 6) + 0.5) for x in (done, done + epochs))
    if first == last:
        batches = format_count(length, "batch", "batches")
        raise SpecError(field, f"{epochs:g} epochs of {batches} are less than one training step.")
    return last - first


def why_no_batch(loader: Loader, epoch: int) -> str:
    """Why an epoch, counted from 0, has no batch, in a sentence or two."""
    if epoch:
        return (
            f"It yields no batch in epoch {epoch + 1}: it can be read only once. Pass a "
            "DataLoader or a list of batches."
        )
    if getattr(loader, "drop_last", False):
        return "It yields no batch: with drop_last=True it needs at least batch_size images."
    return "It yields no batch, so nothing can be trained."


def read_batch(batch: Any) -> tuple[Tensor, Tensor]:
    """The images (N, ...) and labels (N, ...) of a batch.

    A batch is a tuple or list that begins with both (further parts are ignored), or a mapping,
    dataclass, named tuple or other object with one of IMAGE_NAMES and one of LABEL_NAMES, alone
    or in a list. Images and labels are tensors or arrays; labels may also be a list of numbers.
    Raises `SpecError` for any other batch, for a number of labels that is not the number of
    images, and for images that are not finite.
    """
    images, labels = _parts(batch)
    images, labels = _tensor(images, "images"), _tensor(labels, "labels")
    if not images.ndim or not labels.ndim:
        raise SpecError(
            "loader",
            f"It yields images of shape {shape_of(images)} and labels of shape {shape_of(labels)}, "
            "which are no batches. Wrap the data set in a DataLoader.",
        )
    labels = without_ones(labels)
    if len(images) != len(labels):
        raise SpecError(
            "loader",
            f"A batch has {_count(images, 'image')} and {_count(labels, 'label')} (shapes "
            f"{shape_of(images)} and {shape_of(labels)}). {PAIRS}.",
        )
    if labels.ndim > 2:
        raise SpecError("loader", f"The labels have the shape {shape_of(labels)}. {LABELS}.")
    if labels.is_complex():
        raise SpecError("loader", f"The labels are complex numbers. {LABELS}.")
    if images.dtype in FLOATS and not bool(images.isfinite().all()):
        raise SpecError(
            "loader",
            "An image has a value that is not finite (NaN or infinite). Check the image files and "
            "the transforms of the data set, such as a division by 0.",
        )
    return images, labels


def _parts(batch: Any) -> tuple[Any, Any]:
    while isinstance(batch, list | tuple) and len(batch) == 1 and not isinstance(batch[0], Tensor):
        batch = batch[0]  # NVIDIA DALI yields a list with a dict for each pipeline.
    named = named_values(batch)
    image_names, label_names = (_names_in(named, names) for names in (IMAGE_NAMES, LABEL_NAMES))
    if len(image_names) == len(label_names) == 1:
        return named[image_names[0]], named[label_names[0]]
    if isinstance(batch, tuple | list) and len(batch) >= 2:
        return batch[0], batch[1]
    kind = type(batch).__name__
    if named:
        names = ", ".join(map(str, named))
        raise SpecError("loader", f"A batch is of type {kind} with the names {names}. {PAIRS}.")
    size = f" and length {len(batch)}" if isinstance(batch, tuple | list) else ""
    raise SpecError("loader", f"A batch is of type {kind}{size}. {PAIRS}.")


def _names_in(named: Mapping[Any, Any], tiers: Iterable[Sequence[str]]) -> list[Any]:
    """The names of the first tier that has one."""
    matches = ([name for name in named if str(name).lower() in names] for names in tiers)
    return next((names for names in matches if names), [])


def named_values(value: Any) -> Mapping[Any, Any]:
    """The values of a mapping, a dataclass, a named tuple or an object by name.

    Empty for anything else, such as a tensor, a list and a tuple.
    """
    if isinstance(value, Mapping):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
        return {name: getattr(value, name, None) for name in names}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return dict(value._asdict())
    if isinstance(value, Tensor | list | tuple) or not hasattr(value, "__dict__"):
        return {}
    return {name: item for name, item in vars(value).items() if not name.startswith("_")}


def _tensor(value: Any, noun: str) -> Tensor:
    if isinstance(value, Tensor):
        if value.is_meta or value.layout is not torch.strided:
            kind = "has no values (device meta)" if value.is_meta else "is a sparse tensor"
            raise SpecError("loader", f"The tensor of {noun} {kind}. Pass a dense tensor.")
        return value
    if isinstance(value, list | tuple) or hasattr(value, "__array__"):
        with suppress(TypeError, ValueError, RuntimeError):
            # Torch takes no arrays that are flipped, of another byte order or read-only.
            array = np.array(value, order="C")
            if array.dtype == np.longdouble:
                array = array.astype(np.float64)
            return torch.as_tensor(array.astype(array.dtype.newbyteorder("="), copy=False))
    raise SpecError(
        "loader",
        f"The {noun} of a batch must be a tensor or an array of numbers; they are of type "
        f"{type(value).__name__}: {shortened(value)}. {PAIRS}.",
    )


def without_ones(value: Tensor) -> Tensor:
    """The tensor without its last dimensions of size 1: (N, 1) and (N, 1, 1) become (N,)."""
    while value.ndim > 1 and value.shape[-1] == 1:
        value = value.squeeze(-1)
    return value


def _count(value: Tensor, noun: str) -> str:
    return format_count(len(value), noun)


def shape_of(value: Tensor) -> str:
    """The shape of a tensor as text."""
    return str(tuple(value.shape))
