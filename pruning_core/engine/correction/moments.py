"""Mean and deviation of a layer's output channels, and what makes them those of another.

Nagel et al. 2019 ("Data-Free Quantization", section 4.2) and Finkelstein et al. 2019 ("Fighting
Quantization Bias with Bias") correct the mean of each output channel this way; here its standard
deviation is corrected too, as batch norm's re-estimation after pruning does (Li et al. 2020,
EagleEye).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pruning_core.engine.models.sites import Site

# A channel that varies by less than this share of the other's is constant but for rounding.
CONSTANT = 1e-6


@dataclass(frozen=True)
class Moments:
    """Mean and standard deviation (over n) of each output channel, (O,) in double precision."""

    mean: Tensor
    std: Tensor


def by_channel(module: nn.Module, output: Tensor) -> Tensor:
    """A layer's output as rows of channels (n, O), in double precision on the CPU."""
    last = output.movedim(1, -1) if isinstance(module, nn.Conv2d) else output
    return last.reshape(-1, last.shape[-1]).cpu().double()


@dataclass
class Adding:
    """Sums over rows of channels, from which their moments follow."""

    count: int = 0
    total: Tensor | float = 0.0
    squares: Tensor | float = 0.0

    def add(self, rows: Tensor) -> None:
        """Rows (n, O) in double precision."""
        self.count += len(rows)
        self.total = rows.sum(0) + self.total
        self.squares = rows.square().sum(0) + self.squares

    def moments(self) -> Moments:
        """Of all rows that were added."""
        mean = torch.as_tensor(self.total) / self.count
        variance = torch.as_tensor(self.squares) / self.count - mean.square()
        return Moments(mean, variance.clamp(min=0.0).sqrt())


def moments(parts: Iterable[Tensor]) -> Moments:
    """Over the rows of all parts, each (n, O) in double precision, of which one is held."""
    adding = Adding()
    for part in parts:
        adding.add(part)
    return adding.moments()


@torch.no_grad()
def moments_of_all(
    model: nn.Module, found: Sequence[Site], batches: Iterable[Tensor]
) -> dict[str, Moments]:
    """Of each layer's output by name, in one pass over the images."""
    sums: dict[nn.Module, Adding] = {site.module: Adding() for site in found}

    def seen(module: nn.Module, inputs: object, output: Tensor) -> None:
        sums[module].add(by_channel(module, output))

    hooks = [module.register_forward_hook(seen) for module in sums]
    try:
        for images in batches:
            model(images)
    finally:
        for hook in hooks:
            hook.remove()
    return {site.name: sums[site.module].moments() for site in found}


def correction(wanted: Moments, found: Moments) -> tuple[Tensor, Tensor]:
    """Scale and shift (O,): scale * found + shift has the wanted mean and deviation.

    Where one of the two does not vary, no factor leads from one to the other: the scale is 1.
    """
    size = torch.maximum(wanted.mean.abs(), wanted.std)
    constant = (found.std <= CONSTANT * size) | (wanted.std <= CONSTANT * size)
    scale = torch.where(constant, 1.0, wanted.std / torch.where(constant, 1.0, found.std))
    return scale, wanted.mean - scale * found.mean


@torch.no_grad()
def rescale(site: Site, dense: Site, scale: Tensor, shift: Tensor) -> None:
    """Give a layer the output scale * output + shift, without any new parameter.

    The scale goes into its weight, where zeros stay zeros; for the shift see `set_offset`.
    """
    weight, bias = site.module.weight, site.module.bias
    factors = scale.reshape(-1, *[1] * (weight.dim() - 1)).to(weight)
    weight.mul_(factors)
    set_offset(site, dense, shift if bias is None else scale * bias.cpu().double() + shift)


@torch.no_grad()
def set_offset(site: Site, dense: Site, offset: Tensor) -> None:
    """Have `offset` (O,) added to each output channel, beside the product with the weight.

    It stands in the layer's own bias; where there is none, in the running mean of the batch norm
    that follows. This one otherwise is the dense network's, since the output is now to be like
    the dense one. Where there is neither, nothing is added.
    """
    bias, norm = site.module.bias, site.norm
    if bias is not None:
        bias.copy_(offset)
    if norm is None or dense.norm is None:
        return
    norm.load_state_dict(dense.norm.state_dict())
    if bias is None and norm.running_mean is not None:
        norm.running_mean.sub_(offset.to(norm.running_mean))
