"""The layers of a model in the order in which it computes them, each with its batch norm."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pruning_core.engine.models.modes import evaluation_mode, temporary_hooks
from pruning_core.storage.stage_context import StageError

Layer = nn.Conv2d | nn.Linear


@dataclass(frozen=True)
class TracedLayer:
    """A layer, and the batch norm that gets its unchanged output; None where there is none."""

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


class _Stop(Exception):
    """Ends a forward pass at a layer."""

    def __init__(self, inputs: Tensor, output: Tensor) -> None:
        super().__init__()
        self.inputs, self.output = inputs, output


@torch.no_grad()
def traced_layers(model: nn.Module, images: Tensor) -> list[TracedLayer]:
    """The convolutions and linear layers that images (N, 3, S, S) pass through, in order.

    Layers that are called more than once are left out, and so are weights that are used without
    calling their layer. The model runs in evaluation mode and keeps its modes.
    """
    names = {m: name for name, m in model.named_modules() if isinstance(m, Layer)}
    calls, outputs, norms = Counter[Layer](), dict[int, Any](), dict[nn.Module, _BatchNorm]()

    def record_layer(module: Layer, inputs: Any, output: Tensor) -> None:
        calls[module] += 1
        # The output is kept, so that no other tensor can get its id.
        outputs[id(output)] = (module, output, output._version)

    def record_norm(norm: _BatchNorm, inputs: Any) -> None:
        module, output, version = outputs.get(id(inputs[0]), (None, None, 0))
        # An operation in place, such as an activation, keeps the tensor but not its version.
        if output is inputs[0] and inputs[0]._version == version and norm.track_running_stats:
            norms[module] = norm

    hooks: list[Any] = [module.register_forward_hook(record_layer) for module in names]
    norm_modules = [m for m in model.modules() if isinstance(m, _BatchNorm)]
    hooks += [m.register_forward_pre_hook(record_norm) for m in norm_modules]
    with temporary_hooks(hooks), evaluation_mode(model):
        model(images)
    return [TracedLayer(names[m], m, norms.get(m)) for m, n in calls.items() if n == 1]


@torch.no_grad()
def input_and_output(model: nn.Module, module: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """The input and output of a layer for images (N, 3, S, S); later layers are not computed.

    Raises `StageError` where the images do not reach the layer.
    """

    def stop(_: nn.Module, inputs: Any, output: Tensor) -> None:
        raise _Stop(inputs[0], output)

    try:
        with module.register_forward_hook(stop):
            model(images)
    except _Stop as stopped:
        return stopped.inputs, stopped.output
    raise StageError("A layer was computed in one pass over the images but not in another.")
