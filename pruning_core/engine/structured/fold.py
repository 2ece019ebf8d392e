"""Removal of channels that are zero wherever they are read; the outputs stay the same.

Masks leave filters of zeros. Where weight and bias of the batch norm after such a filter are zero
too (see `masks.pruning_step`), and so is every other branch that writes into the same channel, the
next layers read only zeros, and the channel can be removed.

Which channels these are is not observed on images, where a value may be zero by chance. A copy of
the model computes with indicators instead: 1 for a weight that is not zero, and 1 for a value
that can differ from 0. A constant that is not zero, such as the bias of batch norm after a zero
filter, is a 1, so its channel stays.
"""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch_pruning.ops import OPTYPE

from pruning_core.common.errors import SpecError
from pruning_core.common.formatting import format_count
from pruning_core.engine.models.layers import layers
from pruning_core.engine.models.modes import temporary_hooks
from pruning_core.engine.models.small_convs import standard_convs
from pruning_core.engine.structured.groups import CLASSES, Graph, Group, remove, trace

READERS = (OPTYPE.CONV, OPTYPE.LINEAR)
PRODUCTS = (_ConvNd, nn.Linear)
# They compute each output from all channels, so removing a channel would change the others.
MIXING = (nn.LayerNorm, nn.GroupNorm, nn.MultiheadAttention)
MIXING_TITLES = {OPTYPE.LN: "layer norm", OPTYPE.GN: "group norm", OPTYPE.MHA: "attention"}


@dataclass(frozen=True)
class FoldResult:
    """The number of removed channels of each group, the zero filters before, and notes."""

    removed: dict[str, int]
    zero_filters: int
    notes: tuple[str, ...]


@torch.no_grad()
def fold(model: nn.Module, image_size: int, round_to: int = 1, block: int = 1) -> FoldResult:
    """Remove from a model, in place, the channels that are zero wherever they are read.

    Its outputs in evaluation mode stay the same, except for the order of sums. The model keeps its
    modes. Every group keeps at least one channel, and groups that lose channels keep a multiple of
    `round_to`. With a `block`, only whole blocks of so many consecutive channels are removed, so
    that the zeros of the remaining channels stay in blocks.
    """
    zeros = zero_filters(model)
    try:
        graph = trace(model, image_size)
    except SpecError as error:
        return FoldResult({}, zeros, (f"No zero channel was removed: {error.message}",))
    needed = _needed_inputs(model, image_size)
    removable = {group.name: _removable(group, needed) for group in graph.groups}
    removed = {
        group.name: _rounded(group, _whole_blocks(removable[group.name], block), round_to, block)
        for group in graph.groups
    }
    # Before the removal, because the notes count filters of the model as it was.
    kept_notes = list(_notes_on_kept(model, graph, removed, removable, round_to, block))
    remove(model, graph, removed)
    counts = {name: len(channels) for name, channels in removed.items() if channels}
    return FoldResult(counts, zeros, (*_notes_on_removed(counts, zeros), *kept_notes))


def zero_filters(model: nn.Module) -> int:
    """The number of output channels whose weights are all zero, without the classifier's."""
    return sum(int(_zero_rows(weight).sum()) for weight in _weights(model).values())


def _removable(group: Group, needed: dict[str, np.ndarray]) -> list[int]:
    """The channels of a group that nothing needs; none where they are mixed or in parts."""
    if group.reason or group.parts > 1 or _mixing(group):
        return []
    readers = [m for m in group.members if not m.outputs and m.kind in READERS]
    if not readers or any(m.name not in needed for m in readers):
        return []
    unneeded = np.ones(group.width, dtype=bool)
    for member in readers:
        unneeded[member.roots[needed[member.name][member.channels]]] = False
    return [int(i) for i in np.flatnonzero(unneeded)]


def _whole_blocks(channels: list[int], block: int) -> list[int]:
    """The channels whose whole block is among them."""
    counts = Counter(channel // block for channel in channels)
    return [channel for channel in channels if counts[channel // block] == block]


def _rounded(group: Group, channels: list[int], round_to: int, block: int) -> list[int]:
    """The channels to remove, so that a multiple of `round_to`, but at least one, remains.

    They are whole blocks, also where the width of the group is no multiple of `round_to`.
    """
    remaining = max(group.width - len(channels), 1)
    count = max(group.width - math.ceil(remaining / round_to) * round_to, 0)
    return channels[: count - count % block]


def _mixing(group: Group) -> str:
    """The operation that mixes the channels of a group; empty where none does."""
    return next((MIXING_TITLES[m.kind] for m in group.members if m.kind in MIXING_TITLES), "")


@torch.no_grad()
def _needed_inputs(model: nn.Module, image_size: int) -> dict[str, np.ndarray]:
    """The input channels (I,) of each convolution and linear layer that are needed (True).

    These can differ from 0, and the layer has a weight for them that is not zero.
    """
    indicator = _indicator_model(model)
    needed: dict[str, np.ndarray] = {}
    like = next(indicator.parameters())
    with standard_convs(indicator), _indicator_hooks(indicator, needed):
        indicator(torch.ones(1, 3, image_size, image_size, dtype=like.dtype, device=like.device))
    return needed


def _indicator_model(model: nn.Module) -> nn.Module:
    """A copy with 1 for each weight that is not zero, whose batch norm passes indicators on.

    No value is negative, so two indicators can never cancel out to 0.
    """
    indicator = copy.deepcopy(model).eval()
    for parameter in indicator.parameters():
        parameter.copy_((parameter != 0).to(parameter.dtype))
    for module in indicator.modules():
        if isinstance(module, _BatchNorm) and module.running_mean is not None:
            assert module.running_var is not None
            # A subtracted mean turns 0 into another value, as an added bias does; so it is added.
            module.running_mean.copy_(-(module.running_mean != 0).to(module.running_mean.dtype))
            module.running_var.fill_(1.0)
    return indicator


@contextmanager
def _indicator_hooks(indicator: nn.Module, needed: dict[str, np.ndarray]) -> Iterator[None]:
    """Hooks that make the output of each layer 0 or 1 and record the inputs that are needed."""
    hooks = []
    for name, module in indicator.named_modules():
        if isinstance(module, PRODUCTS):
            hooks.append(module.register_forward_pre_hook(_recorder(name, needed)))
        if isinstance(module, (*PRODUCTS, *MIXING, _BatchNorm)):
            hooks.append(module.register_forward_hook(_to_indicator))
    with temporary_hooks(hooks):
        yield


def _recorder(
    name: str, needed: dict[str, np.ndarray]
) -> Callable[[Any, tuple[Tensor, ...]], None]:
    """A hook that records the needed inputs of a layer; a second call of the layer adds to them."""

    def record(module: Any, inputs: tuple[Tensor, ...]) -> None:
        dimension = 1 if isinstance(module, _ConvNd) else -1
        live = (inputs[0] != 0).transpose(0, dimension).flatten(1).any(1)
        if getattr(module, "groups", 1) == 1:
            live &= module.weight.transpose(0, 1).flatten(1).any(1)
        needed[name] = live.cpu().numpy() | needed.get(name, np.zeros(len(live), dtype=bool))

    return record


def _to_indicator(module: nn.Module, inputs: Any, output: Any) -> Any:
    """A hook that makes an output 0 or 1; all 1 where the module mixes its channels."""
    if not isinstance(module, MIXING):
        return (output != 0).to(output.dtype)
    if isinstance(output, tuple):
        return (torch.ones_like(output[0]), *output[1:])
    return torch.ones_like(output)


def _weights(model: nn.Module) -> dict[str, Tensor]:
    """The prunable weights (O, I, *K) by name, without the classifier's."""
    parameters = dict(model.named_parameters())
    prunable = (layer for layer in layers(model) if layer.role != "classifier")
    return {layer.name: parameters[layer.name] for layer in prunable}


def _zero_rows(weight: Tensor) -> Tensor:
    """The filters of a weight (O, I, *K) that are all zero, (O,)."""
    return ~weight.detach().flatten(1).any(1)


def _notes_on_removed(removed: dict[str, int], zeros: int) -> list[str]:
    if not removed:
        if not zeros:
            return ["No channel was removed: there are no zero filters."]
        filters = format_count(zeros, "zero filter")
        reason = "no channel is zero for all layers that read it"
        return [f"No channel was removed: {reason} ({filters})."]
    channels = format_count(sum(removed.values()), "zero channel")
    return [f"Removed {channels} ({format_count(len(removed), 'dependency group')})."]


def _notes_on_kept(
    model: nn.Module,
    graph: Graph,
    removed: dict[str, list[int]],
    removable: dict[str, list[int]],
    round_to: int,
    block: int,
) -> Iterator[str]:
    """Why zero filters are kept: a sentence for each reason, with their number."""
    weights, counts = _weights(model), Counter[str]()
    rounding = f"the width stays a multiple of {round_to}"
    if block > 1:
        rounding = f"only whole blocks of {block} are removed, and {rounding}"
    for group in graph.groups:
        removed_channels = set(removed[group.name])
        rounded = set(removable[group.name]) - removed_channels
        for member in group.members:
            weight = weights.get(f"{member.name}.weight")
            if weight is None or not member.outputs:
                continue
            zero = _zero_rows(weight).cpu().numpy()[member.channels]
            kept = [root for root in member.roots[zero].tolist() if root not in removed_channels]
            counts.update(rounding if root in rounded else _reason_to_keep(group) for root in kept)
    for reason, count in counts.items():
        yield f"{format_count(count, 'zero filter')} kept: {reason}."


def _reason_to_keep(group: Group) -> str:
    if group.reason and group.reason != CLASSES:
        return group.reason
    if group.reason:
        return "they are outputs of classes"
    if group.parts > 1:
        return f"the group has {group.parts} parts, which must lose the same channels"
    if mixing := _mixing(group):
        return f"{mixing} mixes all channels"
    return "another branch or a nonzero constant reaches the channel"
