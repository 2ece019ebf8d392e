"""Batches of uint8 images, changed at random and scaled for a model, all images at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Generator, Tensor
from torch.nn.functional import pad

Augmentation = Callable[[Tensor, Generator], Tensor]


def random_crop(batch: Tensor, generator: Generator, padding: int = 4) -> Tensor:
    """Each image moved by up to `padding` pixels each way, black where nothing is left.

    uint8 (N, S, S, 3) to the same shape. The same as torchvision's
    `RandomCrop(S, padding=padding)`, with one offset an image.
    """
    count, size = batch.shape[0], batch.shape[1]
    offsets = torch.randint(
        2 * padding + 1, (2, count), generator=generator, device=generator.device
    ).to(batch.device)
    padded = pad(batch, (0, 0, padding, padding, padding, padding))
    windows = padded.unfold(1, size, 1).unfold(2, size, 1)
    chosen = windows[torch.arange(count, device=batch.device), offsets[0], offsets[1]]
    return chosen.permute(0, 2, 3, 1).contiguous()


def random_flip(batch: Tensor, generator: Generator) -> Tensor:
    """Each image mirrored left to right with probability 1/2. uint8 (N, S, S, 3)."""
    draws = torch.rand(batch.shape[0], generator=generator, device=generator.device)
    mirrored = (draws < 0.5).to(batch.device)[:, None, None, None]
    return torch.where(mirrored, batch.flip(2), batch)


def unchanged(batch: Tensor, generator: Generator) -> Tensor:
    return batch


def crop(batch: Tensor, generator: Generator) -> Tensor:
    """Padding of 4 at 32 pixels, as usual for CIFAR-10 (He et al. 2015), in proportion above."""
    return random_crop(batch, generator, max(1, batch.shape[1] // 8))


def crop_flip(batch: Tensor, generator: Generator) -> Tensor:
    return random_flip(crop(batch, generator), generator)


def normalize(batch: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """uint8 (N, S, S, 3) to float32 (N, 3, S, S) in channels_last memory: (x/255 - mean) / std."""
    centre, spread = (
        torch.tensor(values, dtype=torch.float32, device=batch.device).view(1, 3, 1, 1)
        for values in (mean, std)
    )
    scaled = batch.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.channels_last)
    return scaled.div_(255).sub_(centre).div_(spread)
