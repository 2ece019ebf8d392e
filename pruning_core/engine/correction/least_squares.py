"""The surviving weights of a layer, so that its output comes nearest to the dense network's.

He et al. 2017 ("Channel Pruning for Accelerating Very Deep Neural Networks") solve this for
whole channels, with the pruned network's inputs and the dense network's outputs. Here it is
solved for the surviving weights of each output channel by themselves, as Hubara et al. 2021
(AdaPrune) ask for by gradient descent, and Frantar and Alistarh 2022 (Optimal Brain Compression)
together with the choice of the weights. The masks are given and stay.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from pruning_core.engine.models.sites import Layer

# Of the mean diagonal of the Gram matrix, as the dampening of Frantar et al. 2022 (GPTQ).
RIDGE = 0.01
# Output positions of an image's map: its neighbours tell nearly the same.
POSITIONS = 16


def refit(
    weight: Tensor, kept: Tensor, gram: Tensor, cross: Tensor, ridge: float = RIDGE
) -> Tensor:
    """The weights (O, d) that minimize, for each row by itself, a quadratic where `kept` is True.

    It is |Y - X w|^2 + n s |w - weight|^2 with `gram` = X'X / n (d, d), `cross` = Y'X / n (O, d)
    and s = ridge times the mean diagonal of `gram`. So what the inputs do not tell of stays as
    it is, and what is not kept is 0. All in double precision.
    """
    found = torch.where(kept, weight, 0.0)
    size = gram.diagonal().mean()
    wanted = cross - found @ gram
    patterns, which = torch.unique(kept, dim=0, return_inverse=True)
    for number, pattern in enumerate(patterns):
        rows, there = torch.where(which == number)[0], torch.where(pattern)[0]
        if len(there) and size > 0:
            part = gram[there][:, there]
            part.diagonal().add_(ridge * size)
            step = torch.cholesky_solve(wanted[rows][:, there].T, torch.linalg.cholesky(part))
            found[rows[:, None], there] += step.T
    return found


def refit_rows(
    weight: Tensor, kept: Tensor, gram: Tensor, cross: Tensor, ridge: float = RIDGE
) -> Tensor:
    """The same for rows with a matrix each, all at once: `gram` is (O, d, d).

    Fit for the few weights of a depthwise channel.
    """
    found = torch.where(kept, weight, 0.0)
    size = gram.diagonal(dim1=1, dim2=2).mean(1, keepdim=True)
    wanted = torch.where(kept, cross - (found[:, None] @ gram)[:, 0], 0.0)
    both = kept[:, :, None] & kept[:, None, :]
    own = torch.where(kept & (size > 0), ridge * size, 1.0)
    part = torch.where(both & (size[:, :, None] > 0), gram, 0.0) + torch.diag_embed(own)
    step = torch.cholesky_solve(wanted[:, :, None], torch.linalg.cholesky(part))[:, :, 0]
    return torch.where(kept, found + step, 0.0)


@dataclass
class Sums:
    """Sums over samples, for each of g groups: of x (g, d), y (g, o) and their products."""

    count: int
    x: Tensor
    y: Tensor
    xx: Tensor
    yx: Tensor

    @classmethod
    def nothing(cls, groups: int, inputs: int, outputs: int) -> Sums:
        shapes = ((inputs,), (outputs,), (inputs, inputs), (outputs, inputs))
        return cls(0, *(torch.zeros(groups, *shape, dtype=torch.float64) for shape in shapes))

    def add(self, x: Tensor, y: Tensor) -> None:
        """Samples (g, n, d) and (g, n, o) in double precision."""
        self.count += x.shape[1]
        self.x += x.sum(1)
        self.y += y.sum(1)
        self.xx += x.transpose(1, 2) @ x
        self.yx += y.transpose(1, 2) @ x

    def solve(self, module: Layer, kept: Tensor, offset: bool) -> tuple[Tensor, Tensor]:
        """The new weight, of the module's shape, and what to add to each output channel (O,).

        Without `offset` nothing can be added, and the second is 0.
        """
        groups, outputs, inputs = self.yx.shape
        weight = module.weight.detach().cpu().double().reshape(groups, outputs, inputs)
        mask = kept.cpu().reshape(weight.shape)
        xx, yx = self.xx / self.count, self.yx / self.count
        x, y = self.x / self.count, self.y / self.count
        if offset:
            xx, yx = xx - x[:, :, None] * x[:, None], yx - y[:, :, None] * x[:, None]
        if outputs == 1:
            new = refit_rows(weight[:, 0], mask[:, 0], xx, yx[:, 0])[:, None]
        else:
            parts = zip(weight, mask, xx, yx, strict=True)
            new = torch.stack([refit(*part) for part in parts])
        left = y - (new @ x[:, :, None])[:, :, 0]
        return new.reshape(module.weight.shape), left.flatten() if offset else 0 * left.flatten()


def samples(
    module: Layer, inputs: Tensor, output: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """What meets the weights and what should come out: (g, n, d) and (g, n, o), in double.

    `inputs` are the layer's in one network, `output` is that of the same layer in another, of
    the same images. Of a map, or of the tokens, at most `POSITIONS` are drawn, the same in all
    images of the batch.
    """
    if isinstance(module, nn.Linear):
        x, y = (part.reshape(len(part), -1, 1, part.shape[-1]) for part in (inputs, output))
        places = _drawn(x.shape[1], generator).to(x.device)
        return _rows(x[:, places]), _rows(y[:, places])
    places = _drawn(output.shape[2] * output.shape[3], generator).to(output.device)
    down, right = places // output.shape[3], places % output.shape[3]
    seen = windows(module, inputs)[:, :, down, right]  # (N, C, P, K, L)
    x = seen.movedim(2, 1).flatten(2).unflatten(2, (module.groups, -1))
    y = output[:, :, down, right].movedim(2, 1).unflatten(2, (module.groups, -1))
    return _rows(x), _rows(y)


def windows(module: nn.Conv2d, inputs: Tensor) -> Tensor:
    """A view (N, C, H', W', K, L) of what each output pixel sees of the padded inputs."""
    mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
    padded = functional.pad(inputs, module._reversed_padding_repeated_twice, mode=mode)
    kernel, steps, gaps = module.kernel_size, module.stride, module.dilation
    sides = zip(padded.shape[2:], kernel, steps, gaps, strict=True)
    size = [(n - gap * (k - 1) - 1) // step + 1 for n, k, step, gap in sides]
    own = padded.stride()
    strides = (*own[:2], *(s * n for s, n in zip(own[2:], steps, strict=True)))
    taps = tuple(s * n for s, n in zip(own[2:], gaps, strict=True))
    return padded.as_strided((*padded.shape[:2], *size, *kernel), (*strides, *taps))


def _drawn(size: int, generator: torch.Generator) -> Tensor:
    return torch.randperm(size, generator=generator)[:POSITIONS]


def _rows(values: Tensor) -> Tensor:
    """(N, P, g, d) to (g, N * P, d) in double precision on the CPU."""
    return values.flatten(0, 1).transpose(0, 1).cpu().double()
