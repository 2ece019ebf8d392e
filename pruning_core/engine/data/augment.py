"""Data augmentation and normalization of whole batches.

Shapes: N images of S x S pixels. Decoded images are uint8 (N, S, S, 3); the model takes float32
(N, 3, S, S).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator, Tensor
from torch.nn.functional import pad


def random_crop(batch: Tensor, generator: Generator, padding: int = 4) -> Tensor:
    """Shift each image by up to `padding` pixels in both directions; the border is black.

    uint8 (N, S, S, 3) to the same shape. This is torchvision's `RandomCrop(S, padding=padding)`
    with one offset for each image.
    """
    count, size = batch.shape[0], batch.shape[1]
    offsets = torch.randint(
        2 * padding + 1, (2, count), generator=generator, device=generator.device
    ).to(batch.device)
    padded = pad(batch, (0, 0, padding, padding, padding, padding))
    # A view of every S x S window: (N, 2 padding + 1, 2 padding + 1, 3, S, S).
    windows = padded.unfold(1, size, 1).unfold(2, size, 1)
    chosen = windows[torch.arange(count, device=batch.device), offsets[0], offsets[1]]
    return chosen.permute(0, 2, 3, 1).contiguous()


def random_flip(batch: Tensor, generator: Generator) -> Tensor:
    """Mirror each image left to right with probability 1/2. uint8 (N, S, S, 3)."""
    draws = torch.rand(batch.shape[0], generator=generator, device=generator.device)
    mirrored = (draws < 0.5).to(batch.device)[:, None, None, None]
    return torch.where(mirrored, batch.flip(2), batch)


def unchanged(batch: Tensor, generator: Generator) -> Tensor:
    """No augmentation. uint8 (N, S, S, 3)."""
    return batch


def crop(batch: Tensor, generator: Generator) -> Tensor:
    """Random crop with a padding of an eighth of the image, at least 1 pixel. uint8 (N, S, S, 3).

    That is 4 pixels at 32, as usual for CIFAR-10 (He et al. 2016, https://arxiv.org/abs/1512.03385).
    """
    return random_crop(batch, generator, max(1, batch.shape[1] // 8))


def crop_flip(batch: Tensor, generator: Generator) -> Tensor:
    """Random crop and horizontal flip (He et al. 2016). uint8 (N, S, S, 3)."""
    return random_flip(crop(batch, generator), generator)


def normalize(batch: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """uint8 (N, S, S, 3) to float32 (N, 3, S, S) in channels_last memory: (x/255 - mean) / std."""
    means, deviations = (
        torch.tensor(values, dtype=torch.float32, device=batch.device).view(1, 3, 1, 1)
        for values in (mean, std)
    )
    scaled = batch.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.channels_last)
    return scaled.div_(255).sub_(means).div_(deviations)
