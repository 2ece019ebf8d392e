"""The layers of a model in the order in which it computes, each with its input and output."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pruning_core.storage.stage_context import StageError

Layer = nn.Conv2d | nn.Linear


@dataclass(frozen=True)
class Site:
    """A layer, and the batch norm that takes its output as it is; None where none does."""

    name: str
    module: Layer
    norm: _BatchNorm | None

    @property
    def weight_name(self) -> str:
        """The name of its weight among the model's parameters."""
        return f"{self.name}.weight"

    @property
    def takes_offset(self) -> bool:
        """Whether a constant can be added to each output channel."""
        return self.module.bias is not None or self.norm is not None


class _Reached(Exception):
    """Ends a forward pass at the layer that was looked for."""

    def __init__(self, inputs: Tensor, output: Tensor) -> None:
        super().__init__()
        self.inputs, self.output = inputs, output


@torch.no_grad()
def sites(model: nn.Module, images: Tensor) -> list[Site]:
    """The convolutions and linear layers that `images` go through, in their order.

    A layer that is called more than once, or whose weight is used without calling it, is not
    among them. The model is in evaluation mode afterwards.
    """
    names = {m: name for name, m in model.named_modules() if isinstance(m, Layer)}
    calls, made, norms = Counter[Layer](), dict[int, Any](), dict[nn.Module, _BatchNorm]()

    def called(module: Layer, inputs: Any, output: Tensor) -> None:
        calls[module] += 1
        made[id(output)] = (module, output, output._version)

    def normed(norm: _BatchNorm, inputs: Any) -> None:
        module, output, version = made.get(id(inputs[0]), (None, None, 0))
        # A change in place, such as an activation, keeps the tensor but not its version.
        if output is inputs[0] and inputs[0]._version == version and norm.track_running_stats:
            norms[module] = norm

    hooks: list[Any] = [module.register_forward_hook(called) for module in names]
    norm_modules = [m for m in model.modules() if isinstance(m, _BatchNorm)]
    hooks += [m.register_forward_pre_hook(normed) for m in norm_modules]
    try:
        model.eval()(images)
    finally:
        for hook in hooks:
            hook.remove()
    return [Site(names[m], m, norms.get(m)) for m, n in calls.items() if n == 1]


@torch.no_grad()
def reach(model: nn.Module, module: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """A layer's input and output; nothing after it is computed."""

    def stop(_: nn.Module, inputs: Any, output: Tensor) -> None:
        raise _Reached(inputs[0], output)

    hook = module.register_forward_hook(stop)
    try:
        model(images)
    except _Reached as found:
        return found.inputs, found.output
    finally:
        hook.remove()
    raise StageError("A layer that was there in one pass over the images is not in another.")
