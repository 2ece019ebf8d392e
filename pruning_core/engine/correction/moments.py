"""Mean and standard deviation of a layer's output channels, and their correction.

Nagel et al. 2019 ("Data-Free Quantization", section 4.2, https://arxiv.org/abs/1906.04721) and
Finkelstein et al. 2019 ("Fighting Quantization Bias with Bias", https://arxiv.org/abs/1906.03193)
correct the mean of each output channel in this way. Here its standard deviation is corrected too,
as recalibrated batch norm does after pruning (Li et al. 2020, EagleEye,
https://arxiv.org/abs/2007.02491).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pruning_core.engine.models.modes import temporary_hooks
from pruning_core.engine.models.traced_layers import TracedLayer

# A channel whose standard deviation is below this share of its size is constant up to rounding.
CONSTANT = 1e-6


@dataclass(frozen=True)
class Moments:
    """Mean and standard deviation (over n) of each output channel, (O,) in float64."""

    mean: Tensor
    std: Tensor


def channel_rows(module: nn.Module, output: Tensor) -> Tensor:
    """A layer's output (N, O, H, W) or (..., O) as rows (n, O), in float64 on the CPU."""
    last = output.movedim(1, -1) if isinstance(module, nn.Conv2d) else output
    return last.reshape(-1, last.shape[-1]).cpu().double()


@dataclass
class MomentSums:
    """Sums over rows (n, O) and their squares, from which the moments follow."""

    count: int = 0
    total: Tensor | float = 0.0
    squares: Tensor | float = 0.0

    def add(self, rows: Tensor) -> None:
        """Add rows (n, O) in float64."""
        self.count += len(rows)
        self.total = rows.sum(0) + self.total
        self.squares = rows.square().sum(0) + self.squares

    def moments(self) -> Moments:
        """The moments of all added rows."""
        mean = torch.as_tensor(self.total) / self.count
        variance = torch.as_tensor(self.squares) / self.count - mean.square()
        return Moments(mean, variance.clamp(min=0.0).sqrt())


def moments(batches: Iterable[Tensor]) -> Moments:
    """The moments of all rows, in batches (n, O) in float64; one batch at a time is in memory."""
    sums = MomentSums()
    for rows in batches:
        sums.add(rows)
    return sums.moments()


@torch.no_grad()
def layer_moments(
    model: nn.Module, traced: Sequence[TracedLayer], batches: Iterable[Tensor]
) -> dict[str, Moments]:
    """The moments of each layer's output, by name, in one pass over images (N, 3, S, S)."""
    sums: dict[nn.Module, MomentSums] = {layer.module: MomentSums() for layer in traced}

    def add(module: nn.Module, inputs: object, output: Tensor) -> None:
        sums[module].add(channel_rows(module, output))

    hooks = [module.register_forward_hook(add) for module in sums]
    with temporary_hooks(hooks):
        for images in batches:
            model(images)
    return {layer.name: sums[layer.module].moments() for layer in traced}


def scale_and_shift(target: Moments, current: Moments) -> tuple[Tensor, Tensor]:
    """Scale and shift (O,): scale * output + shift has the target's mean and standard deviation.

    Where one of the two is constant, no factor turns one into the other, and the scale is 1.
    """
    size = torch.maximum(target.mean.abs(), target.std)
    constant = (current.std <= CONSTANT * size) | (target.std <= CONSTANT * size)
    scale = torch.where(constant, 1.0, target.std / torch.where(constant, 1.0, current.std))
    return scale, target.mean - scale * current.mean


@torch.no_grad()
def rescale(layer: TracedLayer, dense: TracedLayer, scale: Tensor, shift: Tensor) -> None:
    """Make the output of a layer scale * output + shift, with scale and shift (O,), in place.

    No parameter is added. The weights are scaled, so zeros stay zero; for the shift see
    `set_offset`.
    """
    weight, bias = layer.module.weight, layer.module.bias
    factors = scale.reshape(-1, *[1] * (weight.dim() - 1)).to(weight)
    weight.mul_(factors)
    set_offset(layer, dense, shift if bias is None else scale * bias.cpu().double() + shift)


@torch.no_grad()
def set_offset(layer: TracedLayer, dense: TracedLayer, offset: Tensor) -> None:
    """Set the constant (O,) that is added to each output channel, in place.

    It becomes the bias of the layer; without a bias, it is subtracted from the running mean of the
    batch norm after the layer. That batch norm gets the dense network's values first, because the
    output now resembles the dense network's. Without either, nothing is added.
    """
    bias, norm = layer.module.bias, layer.norm
    if bias is not None:
        bias.copy_(offset)
    if norm is None or dense.norm is None:
        return
    norm.load_state_dict(dense.norm.state_dict())
    if bias is None and norm.running_mean is not None:
        norm.running_mean.sub_(offset.to(norm.running_mean))
