"""Scores from what training images send into each weight."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from pruning_core.engine.criteria.inputs import Evidence, Tensors, checked, refusal
from pruning_core.engine.criteria.model_modes import at_rest
from pruning_core.engine.models.small_convs import plain

ATTENTION = functional.multi_head_attention_forward
CONVOLUTION = ("images", "weight", "bias", "stride", "padding", "dilation", "groups")


@torch.no_grad()
def wanda(evidence: Evidence) -> Tensors:
    """|w| times the L2 norm of the inputs that meet the weight. Sun et al. 2023.

    The norm is taken over all images and, in a convolution, over all places at which this
    position of the kernel meets this input channel, padding included; in a linear layer over
    all images and tokens. The paper compares scores within a row of a layer's matrix; here the
    scope of the cut decides what is compared. Raises `StageError` for a weight of which no input
    was seen.
    """
    weights = evidence.weights
    with at_rest(evidence.model) as model, plain(model), Inputs(weights) as inputs:
        for batch, _ in evidence.batches:
            model(batch)
    if unseen := [name for name in weights if name not in inputs.squares]:
        raise refusal("wanda", f"it saw no input of {', '.join(unseen[:3])}")
    found = {name: weights[name].abs() * inputs.squares[name].sqrt() for name in weights}
    return checked("wanda", found)


class Inputs(TorchFunctionMode):
    """Adds up the squares of the inputs that each weight is multiplied with.

    It listens to the products themselves, not to modules, because some models hand a module's
    weight to `torch.nn.functional`. `squares` holds a tensor for each weight seen, of its shape
    or one that broadcasts to it.
    """

    def __init__(self, weights: Tensors) -> None:
        super().__init__()
        self.names = {id(weight): name for name, weight in weights.items()}
        self.squares: Tensors = {}

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        options = dict(kwargs or {})
        if func is ATTENTION:
            self._attention(inspect.signature(func).bind(*args, **options).arguments)
        elif func is torch.conv2d and (name := self.names.get(id(args[1]))):
            given = {**dict(zip(CONVOLUTION, args, strict=False)), **options}
            self._add(name, convolution_squares(**given))
        elif func is functional.linear and (name := self.names.get(id(args[1]))):
            self._add(name, linear_squares(args[0]))
        return func(*args, **options)

    def _add(self, name: str, squares: Tensor) -> None:
        self.squares[name] = self.squares[name] + squares if name in self.squares else squares

    def _attention(self, given: dict[str, Any]) -> None:
        """The inputs of both projections: within this one call torch makes its own products."""
        if name := self.names.get(id(given["in_proj_weight"])):
            parts = [linear_squares(given[part]) for part in ("query", "key", "value")]
            rows = given["embed_dim_to_check"]
            self._add(name, torch.cat([part.expand(rows, -1) for part in parts]))
        if name := self.names.get(id(given["out_proj_weight"])):
            eye = torch.eye(given["embed_dim_to_check"]).to(given["out_proj_weight"])
            bare = {**given, "out_proj_weight": eye, "out_proj_bias": None}
            self._add(name, linear_squares(ATTENTION(**bare)[0]))


def linear_squares(inputs: Tensor) -> Tensor:
    """Inputs (..., I) to the sums of their squares, (1, I)."""
    return inputs.reshape(-1, inputs.shape[-1]).square().sum(0, keepdim=True)


def convolution_squares(
    images: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """Images (N, I, H, W) to the sum of squares that meets each weight (O, I / groups, K, L)."""
    kernel = tuple(weight.shape[2:])
    steps, gaps = _pair(stride), _pair(dilation)
    squares = functional.pad(images.square().sum(0), _margins(padding, kernel, gaps))
    met = torch.stack([_met(squares, tap, kernel, steps, gaps) for tap in _taps(kernel)], 1)
    grouped = met.reshape(groups, 1, -1, *kernel)
    wide = grouped.expand(-1, len(weight) // groups, -1, -1, -1)
    return wide.reshape(weight.shape)


def _met(
    squares: Tensor,
    tap: tuple[int, int],
    kernel: tuple[int, ...],
    steps: tuple[int, int],
    gaps: tuple[int, int],
) -> Tensor:
    """Of padded maps (I, H, W), the sum (I,) over the places that one tap of the kernel meets."""
    spans = [
        slice(at * gap, size - (length - 1 - at) * gap, step)
        for at, size, length, step, gap in zip(
            tap, squares.shape[1:], kernel, steps, gaps, strict=True
        )
    ]
    return squares[:, spans[0], spans[1]].sum((1, 2))


def _taps(kernel: tuple[int, ...]) -> list[tuple[int, int]]:
    return [(row, column) for row in range(kernel[0]) for column in range(kernel[1])]


def _margins(padding: Any, kernel: tuple[int, ...], gaps: tuple[int, int]) -> tuple[int, ...]:
    """Left, right, top and bottom, as `pad` takes them."""
    if padding == "valid":
        return 0, 0, 0, 0
    if padding == "same":
        both = [gap * (length - 1) for gap, length in zip(gaps, kernel, strict=True)]
        return both[1] // 2, both[1] - both[1] // 2, both[0] // 2, both[0] - both[0] // 2
    rows, columns = _pair(padding)
    return columns, columns, rows, rows


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[-1]))
