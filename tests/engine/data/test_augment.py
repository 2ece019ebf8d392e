"""Data augmentation, and the normalization of a batch."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms.functional import normalize as reference_normalize

from pruning_core.engine.data.augment import normalize, random_crop, random_flip
from pruning_core.methods.datasets import AUGMENTATIONS, IMAGENET_MEAN, IMAGENET_STD

IMPLEMENTED = {name: AUGMENTATIONS.load(name) for name in AUGMENTATIONS if name != "auto"}


def batch(count: int, size: int = 32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randint(1, 256, (count, size, size, 3), dtype=torch.uint8, generator=generator)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(st.integers(1, 9), st.integers(0, 6), st.integers(0, 1000))
@settings(deadline=None, max_examples=30)
def test_a_crop_is_a_window_of_the_padded_image(count: int, padding: int, seed: int) -> None:
    images = batch(count, 9)
    padded = torch.zeros(count, 9 + 2 * padding, 9 + 2 * padding, 3, dtype=torch.uint8)
    padded[:, padding : padding + 9, padding : padding + 9] = images
    cropped = random_crop(images, seeded(seed), padding)
    for i in range(count):
        assert any(
            torch.equal(cropped[i], padded[i, top : top + 9, left : left + 9])
            for top in range(2 * padding + 1)
            for left in range(2 * padding + 1)
        )
    assert cropped.is_contiguous()


def test_all_offsets_are_equally_likely() -> None:
    images = torch.zeros(20_000, 5, 5, 3, dtype=torch.uint8)
    images[:, 2, 2] = 1
    cropped = random_crop(images, seeded(), 2)
    counts = cropped[..., 0].sum(0, dtype=torch.int64)
    assert counts.sum() == 20_000
    assert (counts - 800).abs().max() < 150


def test_a_flip_mirrors_about_half_of_the_images() -> None:
    images = batch(2000, 4)
    flipped = random_flip(images, seeded())
    mirrored = (flipped == images.flip(2)).flatten(1).all(1)
    same = (flipped == images).flatten(1).all(1)
    assert (mirrored | same).all()
    assert 900 < mirrored.sum() < 1100


@pytest.mark.parametrize("name", IMPLEMENTED)
def test_augmentations_keep_shape_and_follow_the_generator(name: str) -> None:
    images = batch(16)
    before = images.clone()
    first, again = (IMPLEMENTED[name](images, seeded(3)) for _ in range(2))
    other = IMPLEMENTED[name](images, seeded(4))
    assert torch.equal(first, again)
    assert torch.equal(first, other) == (name == "none")
    assert (first.shape, first.dtype) == (images.shape, torch.uint8)
    assert torch.equal(images, before)


@pytest.mark.parametrize(("size", "padding"), [(28, 3), (32, 4), (64, 8)])
def test_the_padding_follows_the_image_size(size: int, padding: int) -> None:
    cropped = IMPLEMENTED["crop"](batch(400, size), seeded())
    empty_rows = (cropped == 0).all(-1).all(-1).sum(1)
    assert empty_rows.max() == padding


@pytest.mark.parametrize("count", [1, 7])
def test_normalize_is_torchvisions_in_channels_last_memory(count: int) -> None:
    images = batch(count)
    scaled = normalize(images, IMAGENET_MEAN, IMAGENET_STD)
    expected = reference_normalize(images.permute(0, 3, 1, 2) / 255, IMAGENET_MEAN, IMAGENET_STD)
    torch.testing.assert_close(scaled, expected)
    assert scaled.dtype == torch.float32
    assert scaled.is_contiguous(memory_format=torch.channels_last)
