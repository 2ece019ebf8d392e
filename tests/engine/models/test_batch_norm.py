"""Recalibration of batch norm: the statistics of the final weights."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pruning_core.engine.data.augment import normalize
from pruning_core.engine.data.loading import ImageSet
from pruning_core.engine.models.batch_norm import recalibrate
from tests.helpers.models import module_of

DATA: dict[str, Any] = {"image_size": 8, "mean": [0.5] * 3, "std": [0.25] * 3}


def images(count: int) -> ImageSet:
    pixels = np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    return ImageSet(pixels, torch.zeros(count, dtype=torch.long), np.arange(count))


def net() -> nn.Sequential:
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Flatten()
    return nn.Sequential(*layers, nn.Linear(144, 3))


def recalibrated(model: nn.Module, count: int = 40, batch: int = 20, seed: int = 0) -> None:
    generator = torch.Generator().manual_seed(seed)
    recalibrate(model, images(40), DATA, "cpu", count, batch, generator)


def statistics(model: nn.Sequential) -> tuple[Tensor, Tensor]:
    norm = module_of(model, "1", nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    return norm.running_mean, norm.running_var


def test_the_statistics_are_those_of_the_images() -> None:
    """The mean over all images, and the mean of the batches' variances, by hand."""
    model = net()
    recalibrated(model)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        pixels = normalize(images(40).batch(order), DATA["mean"], DATA["std"])
        actual = model[0](pixels)
    mean, variance = statistics(model)
    torch.testing.assert_close(mean, actual.mean((0, 2, 3)))
    parts = torch.stack([part.var((0, 2, 3)) for part in actual.split(20)])
    torch.testing.assert_close(variance, parts.mean(0))


def test_nothing_else_changes() -> None:
    model = net()
    before = copy.deepcopy(model.state_dict())
    recalibrated(model)
    changed = {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    assert changed == {"1.running_mean", "1.running_var", "1.num_batches_tracked"}
    norm = module_of(model, "1", nn.BatchNorm2d)
    assert norm.momentum == 0.1


def test_the_same_seed_gives_the_same_bits() -> None:
    one, other = net(), net()
    torch.manual_seed(1)
    recalibrated(one, count=30)
    torch.manual_seed(2)
    recalibrated(other, count=30)
    assert all(map(torch.equal, statistics(one), statistics(other)))


@pytest.mark.parametrize("count", [0, 1])
def test_without_images_the_running_statistics_stay(count: int) -> None:
    model = net()
    before = copy.deepcopy(model.state_dict())
    recalibrated(model, count=count)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_a_channel_with_collapsed_variance_is_recalibrated() -> None:
    """After a large pruning step the running variance holds the old one for a long time."""
    model = net()
    model.train()
    conv = module_of(model, "0", nn.Conv2d)
    pixels = normalize(images(40).batch(np.arange(40)), DATA["mean"], DATA["std"])
    with torch.no_grad():
        for _ in range(50):
            model(pixels)
        conv.weight.mul_(1e-3)
        for _ in range(50):
            model(pixels)
        true = conv(pixels).var((0, 2, 3))
    assert bool((statistics(model)[1] > 10 * true).all())
    recalibrated(model)
    torch.testing.assert_close(statistics(model)[1], true, rtol=0.1, atol=0)


def test_a_model_without_batch_norm_stays_as_it_is() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 3))
    before = copy.deepcopy(model.state_dict())
    recalibrated(model)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
