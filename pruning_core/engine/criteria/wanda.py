"""Wanda: scores from the input activations that each weight is multiplied with."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from pruning_core.engine.criteria.inputs import (
    CriterionInputs,
    Tensors,
    checked_scores,
    criterion_error,
)
from pruning_core.engine.models.modes import evaluation_mode
from pruning_core.engine.models.small_convs import standard_convs

ATTENTION = functional.multi_head_attention_forward
CONVOLUTION = ("images", "weight", "bias", "stride", "padding", "dilation", "groups")
SHOWN = 3


@torch.no_grad()
def wanda(inputs: CriterionInputs) -> Tensors:
    """|w| times the L2 norm of the input activations of the weight, (O, I, *K).

    In a convolution the norm is over all images and all positions at which this tap of the kernel
    meets this input channel, padding included; in a linear layer over all images and tokens. The
    paper compares scores within a row of a layer's matrix; here the sparsity allocation decides
    what is compared. Raises `StageError` for a weight that got no input. Sun et al. 2024,
    https://arxiv.org/abs/2306.11695
    """
    weights = inputs.weights
    with (
        evaluation_mode(inputs.model) as model,
        standard_convs(model),
        InputNorms(weights) as norms,
    ):
        for batch, _ in inputs.batches:
            model(batch)
    if missing := [name for name in weights if name not in norms.squares]:
        raise criterion_error("wanda", f"no input reached {', '.join(missing[:SHOWN])}")
    scores = {name: weights[name].abs() * norms.squares[name].sqrt() for name in weights}
    return checked_scores("wanda", scores)


class InputNorms(TorchFunctionMode):
    """Adds up the squares of the inputs that each weight is multiplied with.

    It intercepts the products, not the modules, because some models pass a module's weight to
    `torch.nn.functional`. `squares` holds a tensor for each weight that was used, of the shape
    (O, I, *K) of the weight or one that broadcasts to it.
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
            self._add_attention(inspect.signature(func).bind(*args, **options).arguments)
        elif func is torch.conv2d and (name := self.names.get(id(args[1]))):
            arguments = {**dict(zip(CONVOLUTION, args, strict=False)), **options}
            self._add(name, convolution_squares(**arguments))
        elif func is functional.linear and (name := self.names.get(id(args[1]))):
            self._add(name, linear_squares(args[0]))
        return func(*args, **options)

    def _add(self, name: str, squares: Tensor) -> None:
        self.squares[name] = self.squares[name] + squares if name in self.squares else squares

    def _add_attention(self, arguments: dict[str, Any]) -> None:
        """The inputs of both projections; torch computes both within this one call."""
        width = arguments["embed_dim_to_check"]
        if name := self.names.get(id(arguments["in_proj_weight"])):
            parts = [linear_squares(arguments[part]) for part in ("query", "key", "value")]
            self._add(name, torch.cat([part.expand(width, -1) for part in parts]))
        if name := self.names.get(id(arguments["out_proj_weight"])):
            # With the identity as output projection, the call returns the projection's input.
            identity = torch.eye(width).to(arguments["out_proj_weight"])
            unprojected = {**arguments, "out_proj_weight": identity, "out_proj_bias": None}
            self._add(name, linear_squares(ATTENTION(**unprojected)[0]))


def linear_squares(inputs: Tensor) -> Tensor:
    """The sums of squares (1, I) of inputs (..., I)."""
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
    """The sum of squares of the inputs of each weight (O, I / groups, K, L).

    `images` are feature maps (N, I, H, W). The squares are summed over the images first, so each
    tap of the kernel takes one sum over a strided slice of the map.
    """
    kernel = tuple(weight.shape[2:])
    strides, dilations = _pair(stride), _pair(dilation)
    squares = functional.pad(images.square().sum(0), _margins(padding, kernel, dilations))
    taps = [(row, column) for row in range(kernel[0]) for column in range(kernel[1])]
    sums = [_tap_squares(squares, tap, kernel, strides, dilations) for tap in taps]
    grouped = torch.stack(sums, 1).reshape(groups, 1, -1, *kernel)
    # All outputs of a group read the same inputs.
    repeated = grouped.expand(-1, len(weight) // groups, -1, -1, -1)
    return repeated.reshape(weight.shape)


def _tap_squares(
    squares: Tensor,
    tap: tuple[int, int],
    kernel: tuple[int, ...],
    strides: tuple[int, int],
    dilations: tuple[int, int],
) -> Tensor:
    """The sum (I,) of padded maps (I, H, W) over the positions that one tap of the kernel meets."""
    sides = zip(tap, squares.shape[1:], kernel, strides, dilations, strict=True)
    rows, columns = (
        slice(position * dilation, size - (length - 1 - position) * dilation, stride)
        for position, size, length, stride, dilation in sides
    )
    return squares[:, rows, columns].sum((1, 2))


def _margins(
    padding: Any, kernel: tuple[int, ...], dilations: tuple[int, int]
) -> tuple[int, int, int, int]:
    """The padding on the left, right, top and bottom, as `torch.nn.functional.pad` takes it."""
    if padding == "valid":
        return 0, 0, 0, 0
    if padding == "same":
        total = [d * (length - 1) for d, length in zip(dilations, kernel, strict=True)]
        # torch puts the odd pixel on the right and at the bottom.
        return total[1] // 2, total[1] - total[1] // 2, total[0] // 2, total[0] - total[0] // 2
    rows, columns = _pair(padding)
    return columns, columns, rows, rows


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[-1]))
