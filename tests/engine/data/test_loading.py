"""Decoded images as training, validation and test sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pruning_core.common.errors import SpecError
from pruning_core.engine.data.loading import read_splits

SETTINGS = {
    "image_size": 28,
    "train_size": 0,
    "test_size": 0,
    "validation_split": 0.1,
    "split_seed": 0,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """200 training and 60 test images of 4 classes; the first pixel is the image's number."""
    for name, count in (("train", 200), ("test", 60)):
        images = np.zeros((count, 28, 28, 3), np.uint8)
        images[:, 0, 0, 0] = np.arange(count)
        np.save(tmp_path / f"{name}_images.npy", images)
        np.save(tmp_path / f"{name}_labels.npy", np.arange(count, dtype=np.int64) % 4)
    return tmp_path


def with_settings(**changes: Any) -> dict[str, Any]:
    return {**SETTINGS, **changes}


def test_validation_images_are_taken_from_the_training_images(folder: Path) -> None:
    splits = read_splits(folder, SETTINGS)
    assert [len(images) for images in (splits.train, splits.validation, splits.test)] == [
        180,
        20,
        60,
    ]
    assert torch.bincount(splits.validation.labels).tolist() == [5, 5, 5, 5]
    rows = [*splits.train.indices.tolist(), *splits.validation.indices.tolist()]
    assert sorted(rows) == list(range(200))
    assert splits.train.images is splits.validation.images


@pytest.mark.parametrize("kind", [torch.tensor, np.array])
def test_a_batch_holds_the_rows_of_its_set(folder: Path, kind: Any) -> None:
    validation = read_splits(folder, SETTINGS).validation
    batch = validation.batch(kind([3, 0, 19]))
    assert (batch.dtype, tuple(batch.shape)) == (torch.uint8, (3, 28, 28, 3))
    assert batch[:, 0, 0, 0].tolist() == validation.indices[[3, 0, 19]].tolist()
    assert (validation.indices % 4 == validation.labels.numpy()).all()
    assert validation.labels.dtype == torch.int64


def test_the_arrays_are_shared_and_read_only(folder: Path) -> None:
    test = read_splits(folder, SETTINGS).test
    assert isinstance(test.images, np.memmap)
    assert not test.images.flags.writeable
    test.batch(torch.arange(5)).fill_(255)
    assert read_splits(folder, SETTINGS).test.batch(torch.tensor([0])).max() == 0


def test_subsets_are_the_same_whether_decoded_or_loaded(folder: Path, tmp_path: Path) -> None:
    settings = with_settings(train_size=50, test_size=8, split_seed=4)
    splits = read_splits(folder, settings)
    assert (len(splits.train) + len(splits.validation), len(splits.test)) == (50, 8)
    small = tmp_path / "small"
    small.mkdir()
    for subset, sets in (("train", (splits.train, splits.validation)), ("test", (splits.test,))):
        rows = np.sort(np.concatenate([images.indices for images in sets]))
        for name in ("images", "labels"):
            np.save(small / f"{subset}_{name}.npy", np.load(folder / f"{subset}_{name}.npy")[rows])
    again = read_splits(small, settings)
    for name in ("train", "validation", "test"):
        first, second = getattr(splits, name), getattr(again, name)
        positions = torch.arange(len(first))
        assert torch.equal(first.batch(positions), second.batch(positions))
        assert torch.equal(first.labels, second.labels)


def test_another_seed_validates_on_other_images(folder: Path) -> None:
    one, other = (read_splits(folder, with_settings(split_seed=seed)).validation for seed in (0, 1))
    assert one.indices.tolist() != other.indices.tolist()


def test_every_class_has_an_image_in_each_part(folder: Path) -> None:
    splits = read_splits(folder, with_settings(train_size=8, validation_split=0.01))
    assert torch.bincount(splits.validation.labels).tolist() == [1, 1, 1, 1]
    assert torch.bincount(splits.train.labels).tolist() == [1, 1, 1, 1]


def test_a_rare_class_is_trained_on_and_validated_with(folder: Path) -> None:
    labels = np.repeat(np.arange(2, dtype=np.int64), [190, 10])
    np.save(folder / "train_labels.npy", labels)
    splits = read_splits(folder, with_settings(train_size=20))
    assert torch.bincount(splits.train.labels).tolist() == [17, 1]
    assert torch.bincount(splits.validation.labels).tolist() == [1, 1]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"train_size": 201}, "data.train_size"),
        ({"test_size": 61}, "data.test_size"),
        ({"train_size": 5}, "data.train_size"),
        ({"image_size": 32}, "data.image_size"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(
    folder: Path, changes: dict[str, int], field: str
) -> None:
    with pytest.raises(SpecError) as caught:
        read_splits(folder, with_settings(**changes))
    assert caught.value.field == field
