"""Every form of batch is read, or refused with a sentence; and how many steps a training has."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pruning_core.common.errors import SpecError
from pruning_core.engine.training.loaders import batches_of, read_batch, steps_of

N = 6
IMAGES = torch.randn(N, 2, 4, 4, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2, 0, 1, 2])
FLIPPED = np.ascontiguousarray(IMAGES.numpy()[..., ::-1])


class NamedBatch(NamedTuple):
    label: Tensor
    image: Tensor


@dataclass
class Batch:
    pixel_values: Tensor
    labels: Tensor


@pytest.mark.parametrize(
    "batch",
    [
        (IMAGES, LABELS),
        [IMAGES, LABELS, ["a.png"] * N],
        (IMAGES, LABELS, torch.ones(N), "more"),
        {"pixel_values": IMAGES, "labels": LABELS},
        {"path": ["a.png"] * N, "label": LABELS, "image": IMAGES},
        OrderedDict(x=IMAGES, y=LABELS),
        Batch(IMAGES, LABELS),
        NamedBatch(LABELS, IMAGES),
        (IMAGES.numpy(), LABELS.numpy()),
        (IMAGES, LABELS.tolist()),
        {"img": IMAGES, "fine_label": LABELS, "coarse_label": LABELS * 2},
        {"__key__": ["a"] * N, "jpg": IMAGES, "cls": LABELS},
        {"X": IMAGES, "Y": LABELS},
        {"image": IMAGES, "label": LABELS, "class": ["cat"] * N},
        [{"data": IMAGES, "label": LABELS}],
        [(IMAGES, LABELS)],
        SimpleNamespace(images=IMAGES, targets=LABELS),
        (FLIPPED[..., ::-1], LABELS),
        (IMAGES.numpy().astype(">f4"), LABELS.numpy().astype(">i8")),
        (np.frombuffer(IMAGES.numpy().tobytes(), np.float32).reshape(IMAGES.shape), LABELS),
        (IMAGES, pd.Series(LABELS.tolist(), index=range(5, 5 + N))),
    ],
)
def test_batches_are_read(batch: Any) -> None:
    images, labels = read_batch(batch)
    assert torch.equal(images, IMAGES)
    assert torch.equal(labels, LABELS)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (IMAGES[:2], "of type Tensor"),
        ([IMAGES], "length 1"),
        (None, "NoneType"),
        ({"image": IMAGES}, "with the names image"),
        ({"image": IMAGES, "x": IMAGES, "label": LABELS}, "with the names image, x, label"),
        ({"input_ids": IMAGES, "attention_mask": LABELS, "labels": LABELS}, "attention_mask"),
        ((IMAGES, LABELS[:-1]), "6 images and 5 labels"),
        ((IMAGES, LABELS[:1]), "6 images and 1 label "),
        ((IMAGES, ["cat"] * N), "array of numbers"),
        (("cat", LABELS), "array of numbers"),
        ((IMAGES, IMAGES), r"labels have the shape \(6, 2, 4, 4\)"),
        ((IMAGES[0], LABELS[0]), "Wrap the data set in a DataLoader"),
        ((IMAGES, LABELS.to(torch.complex64)), "labels are complex numbers"),
        ((IMAGES / 0, LABELS), "An image has a value that is not finite"),
        ((IMAGES, LABELS.to("meta")), "labels has no values"),
        ((IMAGES.to_sparse(), LABELS), "images is a sparse tensor. Pass a dense"),
        (SimpleNamespace(images=IMAGES), "of type SimpleNamespace with the names images"),
    ],
)
def test_other_batches_are_refused(batch: Any, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        read_batch(batch)


def test_arrays_may_be_of_any_number_type() -> None:
    images, labels = read_batch((np.ones((N, 3)), np.arange(N, dtype=np.uint16)))
    assert images.dtype == torch.float64
    assert labels.tolist() == list(range(N))


@pytest.mark.parametrize("epochs", [0.2, 0.25, 0.5, 0.7, 1.1, 1.5])
@pytest.mark.parametrize("length", [5, 7, 45])
def test_fractions_of_epochs_add_up(length: int, epochs: float) -> None:
    count = 20
    steps = [steps_of("x", length, epochs, i * epochs) or epochs * length for i in range(count)]
    assert sum(steps) == round(count * epochs * length)
    assert max(steps) - min(steps) <= 1


class Broken(Dataset[Any]):
    """A data set whose images differ in size, or whose second image is missing."""

    def __init__(self, missing: bool) -> None:
        self.missing = missing

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        if self.missing and index:
            raise FileNotFoundError("no file cat.png")
        return torch.zeros(3, 4, 4 + index), 0


@pytest.mark.parametrize(
    ("missing", "size", "message"),
    [
        (
            True,
            1,
            "train_loader: It cannot load batch 2: no file cat.png. The error is",
        ),
        (False, 2, "cannot load batch 1: stack expects each tensor to be equal size"),
    ],
)
def test_an_error_of_the_data_set_names_the_batch(missing: bool, size: int, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        list(batches_of(DataLoader(Broken(missing), batch_size=size), "train_loader"))


def test_an_error_of_the_reader_of_batches_is_its_own() -> None:
    def read() -> None:
        for _ in batches_of([1], "loader"):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        read()


class Endless:
    def __len__(self) -> int:
        return 2

    def __iter__(self) -> Iterator[Any]:
        return itertools.repeat((IMAGES, LABELS))


@pytest.mark.parametrize(
    ("loader", "message"),
    [(Endless(), "more batches than its length, 2"), (itertools.cycle([1]), "never ends")],
)
def test_a_loader_that_never_ends_is_refused(loader: Any, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        list(batches_of(loader, "loader"))
